"""A client app for tests and demo: the real PowerSync SDK in a process of its own, asked and told by JSON lines."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from connector.local import npm

HERE = Path(__file__).parent
PATIENCE = 60.0
Event = dict[str, Any]
# Everything that a client holds: rows of tables in its schema, then those of others.
ROWS_OF = 'SELECT id, data FROM "ps_data__{}"'
OTHER_ROWS = "SELECT type, id, data FROM ps_untyped"
HELD = "SELECT DISTINCT row_type, row_id, data FROM ps_oplog WHERE data IS NOT NULL"
BUCKETS = "SELECT name, last_op, last_applied_op FROM ps_buckets WHERE name <> '$local' ORDER BY name"


class ClientFailed(Exception):
    """The client app ended, said no, or did not come to what was waited for; with its last lines."""


class Client:
    """One client from start to end; a context manager that ends it. Its database and its output lie in `folder`.

    `schema` is {table: {column: "text" | "integer" | "real"}}. Options are those of `client.mjs`, with underscores.
    A second client on the same folder resumes with the first one's database.
    """

    def __init__(
        self, url: str, token: str, schema: Mapping[str, Mapping[str, str]], folder: Path, **options: str | bool
    ) -> None:
        npm.installed(HERE)
        folder.mkdir(parents=True, exist_ok=True)
        self.events: list[Event] = []
        self._folder = folder
        self._tables = list(schema)
        self._ids = count(1)
        self._ended = False
        self._news = threading.Condition()
        self._asking = threading.Lock()
        self.use_token(token)
        (folder / "schema.json").write_text(json.dumps(schema))
        files = {"token_file": folder / "token", "schema": folder / "schema.json", "db": folder / "client.db"}
        flags = [_flag(name, value) for name, value in {"url": url, **files, **options}.items() if value is not False]
        with (folder / "stderr.txt").open("w") as stderr:
            self._process = subprocess.Popen(
                [npm.node(), "--no-warnings", HERE / "client.mjs", *flags],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what it is told --

    def use_token(self, token: str) -> None:
        """The token it shows from the next time on that it is asked for one."""
        (self._folder / "token").write_text(token)

    def execute(self, sql: str, *parameters: Any) -> None:
        """A local write, uploaded when the SDK sees fit."""
        self._ask(execute=sql, parameters=parameters)

    def subscribe(self, stream: str, **parameters: Any) -> None:
        """Subscribe to a sync stream; returns once it is synced."""
        self._ask(subscribe=stream, parameters=parameters)

    def close(self) -> None:
        """End it as an app is ended; harmless twice."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()

    def kill(self) -> None:
        """End it as a phone does whose battery is empty."""
        self._process.kill()
        self.close()

    # -- what it holds --

    def query(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        """Rows of its SQLite, local writes included."""
        rows: list[dict[str, Any]] = self._ask(query=sql, parameters=parameters)["rows"]
        return rows

    def value(self, sql: str, *parameters: Any) -> Any:
        """The first column of the first row."""
        return next(iter(self.query(sql, *parameters)[0].values()))

    def rows(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Every row by table and id, as it was downloaded; also those of tables that its schema lacks."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for table in self._tables:
            for row in self.query(ROWS_OF.format(table)):
                found.setdefault(table, {})[row["id"]] = json.loads(row["data"])
        for row in self.query(OTHER_ROWS):
            found.setdefault(row["type"], {})[row["id"]] = json.loads(row["data"])
        return found

    def held(self) -> set[tuple[str, str, str]]:
        """(table, id, JSON text) of every row in any of its buckets: of two with one id `rows` has only the newer."""
        return {(row["row_type"], row["row_id"], row["data"]) for row in self.query(HELD)}

    def buckets(self) -> dict[str, int]:
        """The op id it is at, by bucket name."""
        return {row["name"]: int(row["last_op"]) for row in self.query(BUCKETS)}

    def received(self) -> dict[str, Any]:
        """What came over the sync stream: `requests`, `bytes` after decompression, `statuses`, lines, and by bucket.

        All but the first three is counted with `accept="application/x-ndjson"` only; `received.mjs` names it.
        """
        received: dict[str, Any] = self._ask(received="all")["received"]
        return received

    @property
    def errors(self) -> list[str]:
        """What the SDK complained of, such as checksum mismatches, which it retries in silence."""
        logged = [f"{e.get('message', '')} {e.get('error') or ''}".strip() for e in self.seen("log")]
        return logged + [e[key] for e in self.seen("status") for key in ("download_error", "upload_error") if e[key]]

    def seen(self, event: str) -> list[Event]:
        with self._news:
            return [line for line in self.events if line["event"] == event]

    # -- what is waited for --

    def first_sync(self, patience: float = PATIENCE) -> Event:
        """The event of the first whole checkpoint over this connection; raises ClientFailed where none comes."""
        line = self.wait(lambda line: line["event"] in ("first_sync", "failed"), patience)
        if line["event"] == "failed":
            raise self._failed(line["error"])
        return line

    def wait(self, wanted: Callable[[Event], Any], patience: float = PATIENCE, *, after: int = 0) -> Event:
        """The first line that is wanted, past or to come, but not among the first `after` ones."""
        until = time.monotonic() + patience
        with self._news:
            while True:
                for line in self.events[after:]:
                    if wanted(line):
                        return line
                after = len(self.events)
                left = until - time.monotonic()
                if self._ended or left <= 0:
                    raise self._failed("the client ended" if self._ended else f"nothing came within {patience:g} s")
                self._news.wait(left)

    def until(self, sql: str, *parameters: Any, patience: float = PATIENCE) -> None:
        """Wait until the query's first value is true."""
        end = time.monotonic() + patience
        while not self.value(sql, *parameters):
            if time.monotonic() > end:
                raise self._failed(f"within {patience:g} s never true: {sql}")
            time.sleep(0.02)

    def _ask(self, **ask: Any) -> Event:
        number, before = next(self._ids), len(self.events)
        assert self._process.stdin is not None
        try:
            with self._asking:
                self._process.stdin.write(json.dumps({"id": number, **ask}) + "\n")
                self._process.stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise self._failed("the client has ended") from error
        answer = self.wait(lambda line: line["event"] == "answer" and line["id"] == number, after=before)
        if answer.get("error"):
            raise self._failed(answer["error"])
        return answer

    def _failed(self, what: str) -> ClientFailed:
        said = (self._folder / "stderr.txt").read_text()[-2000:]
        return ClientFailed("\n".join([what, *map(json.dumps, self.events[-10:]), said]))

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.events.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


def _flag(name: str, value: Any) -> str:
    flag = f"--{name.replace('_', '-')}"
    return flag if value is True else f"{flag}={value}"
