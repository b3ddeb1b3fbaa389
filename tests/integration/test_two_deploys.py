"""Two deploys at once, on two machines, each with a table to capture (decision 41)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Barrier, BrokenBarrierError, Thread

import pytest

from connector.errors import Unavailable
from tests.worlds import Source
from topologies import database
from topologies.capture import capture
from topologies.database import alone

pytestmark = pytest.mark.stack
PUBLICATION = "by_hand"


class FakeConnect(ThreadingHTTPServer):
    """A connector's settings; no change is made before a second one waits too, if one comes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.config = {"publication.name": PUBLICATION, "table.include.list": "public.todos"}
        self.both = Barrier(2)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    server: FakeConnect

    def do_GET(self) -> None:
        answers = {
            "config": self.server.config,
            "status": {"connector": {"state": "RUNNING"}, "tasks": [{"state": "RUNNING"}]},
            "offsets": {"offsets": [{"offset": {"lsn_commit": 1}}]},
        }
        self._answer(answers[self.path.rpartition("/")[2]])

    def do_PUT(self) -> None:
        config = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with suppress(BrokenBarrierError):
            self.server.both.wait(1.0)
        self.server.config = config
        self._answer(config)

    def _answer(self, body: object) -> None:
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def fake_connect() -> Iterator[FakeConnect]:
    server = FakeConnect()
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_neither_takes_back_what_the_other_has_added(source: Source) -> None:
    tables = ("public.a", "public.b")
    with source.connect() as connection:
        for table in tables:
            connection.execute(f"CREATE TABLE {table} (id int PRIMARY KEY)")  # type: ignore[call-overload]
        connection.execute(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE public.a, public.b")  # type: ignore[call-overload]
    with fake_connect() as connect, ThreadPoolExecutor(2) as machines:
        settings = replace(source.settings, connect=connect.url)
        for done in [machines.submit(capture, settings, [table], lambda: None, print) for table in tables]:
            done.result(60)
        assert set(connect.config["table.include.list"].split(",")) == {"public.todos", r"public\.a", r"public\.b"}


def test_one_that_hangs_meanwhile_is_told_of(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_PATIENCE", 1)
    with alone(source.settings, "it"):
        with pytest.raises(Unavailable, match="another process has been changing it"), alone(source.settings, "it"):
            raise AssertionError("two at once")
        with alone(source.settings, "another"):
            pass
    with alone(source.settings, "it"):
        pass
