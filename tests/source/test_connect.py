"""Kafka Connect's REST interface as it answers while it is busy with connectors, anybody's."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from connector.errors import SourceRefused, Unavailable
from connector.settings import Settings
from schemas.registry import Registry
from topologies.connect import Connect
from topologies.prepare import running

REBALANCE = "Request cannot be completed because a rebalance is expected"
BUSY = [(500, REBALANCE), (409, REBALANCE), (503, "starting")]
FAILED = {"connector": {"state": "RUNNING"}, "tasks": [{"state": "FAILED", "trace": "no such slot"}]}
RUNS = {"connector": {"state": "RUNNING"}, "tasks": [{"state": "RUNNING"}]}

Answers = list[tuple[int, object]]
Serve = Callable[..., Settings]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a Connect that gives these answers one after the other, and the last one for ever; it notes logins."""
    servers = []

    def start(answers: Answers, logins: list[str] | None = None) -> Settings:
        server = ThreadingHTTPServer(("127.0.0.1", 0), answering(answers, [] if logins is None else logins))
        Thread(target=server.serve_forever).start()
        servers.append(server)
        return Settings(
            path=tmp_path, kafka="", registry="", connect=f"http://127.0.0.1:{server.server_port}", postgres=""
        )

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def answering(answers: Answers, logins: list[str]) -> type[BaseHTTPRequestHandler]:
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = left.pop(0) if len(left) > 1 else left[0]
            logins.append(self.headers.get("Authorization", ""))
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    return Handler


@contextmanager
def connect(settings: Settings, patience: float) -> Iterator[Connect]:
    made = Connect(settings, patience=patience)
    try:
        yield made
    finally:
        made.close()


def test_a_login_in_the_url_is_sent_and_never_shown(serve: Serve) -> None:
    seen: list[str] = []
    settings = serve([(200, {"name": "it"}), (409, "busy")], seen)
    settings = replace(settings, connect=settings.connect.replace("://", "://me:p%40ss@"))
    with connect(settings, patience=0) as asked:
        assert asked.config() == {"name": "it"}
        with pytest.raises(Unavailable) as raised:
            asked.config()
    assert "ss@" not in raised.value.report()
    registry = Registry(settings.connect)
    with pytest.raises(SourceRefused) as refused:
        registry.subjects()
    assert "ss@" not in refused.value.report()
    assert seen == [f"Basic {b64encode(b'me:p@ss').decode()}"] * 3


def test_a_command_waits_while_connect_rebalances(serve: Serve) -> None:
    with connect(serve([*BUSY, (200, {"name": "it"})]), patience=60) as asked:
        assert asked.config() == {"name": "it"}


@pytest.mark.parametrize("answer", BUSY)
def test_without_patience_it_is_told_at_once(serve: Serve, answer: tuple[int, object]) -> None:
    with connect(serve([answer]), patience=0) as asked, pytest.raises(Unavailable, match=str(answer[0])):
        asked.config()


def test_what_connect_will_never_do_is_told_at_once(serve: Serve) -> None:
    answers: Answers = [(500, "Failed to find any class"), (200, {})]
    with connect(serve(answers), patience=60) as asked, pytest.raises(Unavailable, match="any class"):
        asked.config()


def test_a_connector_that_starts_again_is_not_told_as_failed(serve: Serve) -> None:
    with connect(serve([(200, FAILED), (200, FAILED), (409, REBALANCE), (200, RUNS)]), patience=0) as asked:
        assert running(asked, "it").outcome == "ok"


def test_a_connector_that_has_failed_is_told_with_its_reason(serve: Serve) -> None:
    with connect(serve([(200, FAILED)]), patience=0) as asked:
        told = running(asked, "it")
    assert (told.outcome, told.detail) == ("wrong", "has failed: no such slot")
