"""Anything at all over HTTP: a client's input is answered with a code in JSON, and leaves nothing behind."""

from __future__ import annotations

import http.client
import io
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sync.desk import Desk
from tests.sync.node import Node, eventually, serving
from tests.sync.test_sessions import CONFIG
from topologies import connection, endpoint

PATHS = ("/sync/stream", "/sync/checkpoint-request", "/write-checkpoint2.json", "/probes/liveness", "/", "/%00%ff", "*")
HEADERS = (
    ("authorization", "Token u1"),
    ("authorization", "Token"),
    ("authorization", "Bearer u1 -1"),
    ("accept", "application/vnd.powersync.bson-stream"),
    ("accept", "application/vnd.powersync.bson-stream;q=nan,*/*;q=1e999"),
    ("accept-encoding", "zstd"),
    ("accept-encoding", "gzip;q=0,,;q=;"),
    ("content-type", "text/plain"),
    ("expect", "100-continue"),
    ("connection", "close"),
    ("x", "x" * 5_000),
    ("cookie", "\xff\xfe"),
)
UPGRADE = (
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "x3JJHMbDL1EzLkh9GBhXDw=="),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def maybe(valid: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(valid, valid, valid, JSON)


SUBSCRIPTION = st.fixed_dictionaries(
    {
        "stream": maybe(st.sampled_from(("todos", "lists", "nope"))),
        "parameters": maybe(st.none() | st.dictionaries(st.sampled_from(("list", "x")), JSON, max_size=2)),
        "override_priority": maybe(st.none() | st.integers(0, 3)),
    }
)
BUCKET = st.fixed_dictionaries({"name": maybe(st.text(max_size=9)), "after": maybe(st.just("0"))})
BODY = st.fixed_dictionaries(
    {},
    optional={
        "buckets": maybe(
            st.lists(
                st.fixed_dictionaries({"name": maybe(st.text(max_size=9)), "after": maybe(st.just("0"))}), max_size=2
            )
        ),
        "raw_data": maybe(st.booleans()),
        "parameters": maybe(st.dictionaries(st.text(max_size=3), JSON, max_size=2)),
        "client_id": maybe(st.text(max_size=5)),
        "checkpoint_request_id": maybe(st.integers(0, 9)),
        "streams": maybe(
            st.fixed_dictionaries(
                {},
                optional={
                    "include_defaults": maybe(st.booleans()),
                    "subscriptions": maybe(st.lists(maybe(SUBSCRIPTION), max_size=3)),
                },
            )
        ),
    },
)
CONTENT = st.one_of(BODY.map(orjson.dumps), BODY.map(orjson.dumps), JSON.map(orjson.dumps), st.binary(max_size=30))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    desk = Desk(tmp_path_factory.mktemp("desk"))
    desk.write("public.lists", {"id": "l1", "owner_id": "u1"})
    desk.write("public.todos", {"id": "t1", "list_id": "l1", "title": "x"})
    desk.deploy(CONFIG)
    with pytest.MonkeyPatch.context() as patched, serving(desk) as made:
        patched.setattr(endpoint, "BODY_PATIENCE", 0.2)  # some say that more comes, and it never does
        patched.setattr(connection, "PATIENCE", 0.2)
        made.checkpoint()
        eventually(lambda: made.hub.served is not None)
        yield made
    desk.store.close()


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request, right or wrong; its body whole, in chunks, or shorter than it says."""
    method = draw(st.sampled_from(("POST", "POST", "POST", "GET", "HEAD", "PUT", "OPTIONS", "CONNECT", "BREW")))
    lines = [
        f"{method} {draw(st.sampled_from(PATHS[:1] * 5 + PATHS))} HTTP/{draw(st.sampled_from(('1.1', '1.1', '1.0')))}"
    ]
    lines += ["host: x", "authorization: Token u1"] if draw(st.booleans()) else ["host: x"]
    fields = st.lists(st.sampled_from(HEADERS + UPGRADE), max_size=3)
    lines += [f"{name}: {value}" for name, value in draw(fields | fields.map(lambda some: (*some, *UPGRADE)))]
    body, told = draw(CONTENT), draw(st.sampled_from(("length", "chunks", "nothing")))
    if told == "nothing":
        return "\r\n".join([*lines, "", ""]).encode("latin-1")
    if told == "length":
        head = [*lines, f"content-length: {len(body)}", "", ""]
        return "\r\n".join(head).encode("latin-1") + body
    chunks = [body[:5], body[5:]]
    head = [*lines, "transfer-encoding: chunked", "", ""]
    sent = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks if chunk)
    return "\r\n".join(head).encode("latin-1") + sent + b"0\r\n\r\n"


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(requests(), min_size=1, max_size=2), st.data())
def test_whatever_comes_is_answered_and_leaves_nothing(
    node: Node, caplog: pytest.LogCaptureFixture, sent: list[bytes], data: st.DataObject
) -> None:
    """Pipelined, cut off at any byte, one half of the connection closed: never an error of ours."""
    caplog.set_level(logging.ERROR)
    caplog.clear()
    whole = b"".join(sent)
    cut = data.draw(st.none() | st.integers(0, len(whole)), label="cut")
    with socket.create_connection(("127.0.0.1", int(node.url.rpartition(":")[2])), timeout=20) as client:
        client.sendall(whole[:cut])
        if cut is not None:
            if data.draw(st.booleans(), label="half"):
                client.shutdown(socket.SHUT_WR)
        elif not whole.startswith(b"HEAD") and (answer := first_answer(client)) is not None:
            _check(*answer)
    eventually(lambda: not node.hub.seats and not node.hub._index)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def first_answer(client: socket.socket) -> tuple[int, dict[str, str], bytes] | None:
    """Status, headers, body; of a stream its beginning."""
    found = b""
    while b"\r\n\r\n" not in found or found.startswith(b"HTTP/1.1 100"):
        if found.startswith(b"HTTP/1.1 100"):
            found = found.partition(b"\r\n\r\n")[2]
            continue
        if not (chunk := client.recv(65536)):
            return None
        found += chunk
    head, _, body = found.partition(b"\r\n\r\n")
    status, _, fields = head.partition(b"\r\n")
    headers = {
        name.lower(): value for name, value in http.client.parse_headers(io.BytesIO(fields + b"\r\n\r\n")).items()
    }
    while len(body) < int(headers.get("content-length", 0)) and (chunk := client.recv(65536)):
        body += chunk
    return int(status.split()[1]), headers, body


def _check(status: int, headers: dict[str, str], body: bytes) -> None:
    assert status < 500
    if status >= 400 and b"WebSocket connection" in body:  # a handshake that its library refuses
        assert headers["content-type"].startswith("text/plain")
    elif status >= 400 and body:
        (error,) = orjson.loads(body[: int(headers["content-length"])]).values()
        assert error["status"] == status and error["code"] and "Something" not in error["description"]


def test_what_is_cut_off_holds_no_file(node: Node) -> None:
    def held() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = held()
    request = (
        b'POST /sync/stream HTTP/1.1\r\nhost: x\r\nauthorization: Token u1\r\ncontent-length: 15\r\n\r\n{"raw_data": 1}'
    )
    for cut in range(0, len(request), 3):
        with socket.create_connection(("127.0.0.1", int(node.url.rpartition(":")[2])), timeout=20) as client:
            client.sendall(request[:cut])
    eventually(lambda: held() <= before)
