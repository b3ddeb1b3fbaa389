"""A web page that shows a user's lists changing live, and takes what is checked there. For this machine only.

    python -m examples.todo.page        from the repository, while `syncline run` runs in examples/todo

It hands the page a development token of whichever user it asks for, and writes to Postgres as `backend.py` does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import md5
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from connector import settings
from connector.errors import SynclineError
from connector.settings import Settings
from connector.sync import development
from examples.todo.backend import Uploads, upload

HERE = Path(__file__).parent
PORT = 6482
LIFETIME = 3600  # seconds of a token
FILES = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/sync.js": ("sync.js", "text/javascript"),
}
Session = Callable[[str], Mapping[str, str]]  # of a user's number: endpoint and token


class Page:
    """The page while the block runs, on a free port unless one is named."""

    def __init__(self, session: Session, upload: Callable[[Any], int], port: int = 0) -> None:
        self._server = _Server(("127.0.0.1", port), _Requests)
        self._server.session, self._server.upload = session, upload
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> Page:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    session: Session
    upload: Callable[[Any], int]


class _Requests(Uploads):
    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if not self._is_ours():
            self.reply(403, {"error": "this is for its own page only"})
        elif url.path == "/session":
            self.reply(200, self.server.session(parse_qs(url.query).get("user", ["2"])[0]))
        elif url.path in FILES:
            name, kind = FILES[url.path]
            self.send(200, (HERE / "page" / name).read_bytes(), f"{kind}; charset=utf-8")
        else:
            self.reply(404, {"error": f"there is no {url.path}"})

    def do_POST(self) -> None:
        if self._is_ours():
            super().do_POST()
        else:
            self.reply(403, {"error": "this is for its own page only"})

    def _is_ours(self) -> bool:
        """Other sites' pages in the same browser, also by a name that leads here, get neither tokens nor writes."""
        host = self.headers.get("host", "")
        named = host in {f"{name}:{self.server.server_address[1]}" for name in ("127.0.0.1", "localhost")}
        return named and self.headers.get("origin", f"http://{host}") == f"http://{host}"


def session(known: Settings, user: str) -> dict[str, str]:
    """Endpoint and token for the user of this number. Raises SynclineError where development tokens are off."""
    claims = {"sub": str(UUID(md5(f"user {user}".encode()).hexdigest()))} | ({"role": "admin"} if user == "1" else {})
    return {"endpoint": known.endpoint, "token": development.issue(known, claims, now=time.time(), seconds=LIFETIME)}


def main() -> None:
    try:
        known = settings.load(str(HERE / settings.FILE_NAME))
        session(known, "2")
    except SynclineError as error:
        raise SystemExit(error.report()) from None
    with Page(partial(session, known), partial(upload, known.postgres), PORT) as page:
        print(f"Open {page.url} (another user: {page.url}?user=3); Ctrl-C ends it", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
