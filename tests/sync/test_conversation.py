"""Sync streams over WebSocket, spoken to frame by frame: lines as HTTP brings them, flow control, refusals, ends."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.sync.client import ClientConnection, connect

from connector.sync import bson, rsocket
from tests.sync.client import Client
from tests.sync.node import Node, eventually
from tests.sync.test_endpoint import connected as raw
from tests.sync.test_endpoint import follow_changes_and_a_deploy, node
from tests.sync.test_http import UPGRADE as HANDSHAKE
from tests.sync.test_http import first_answer
from tests.sync.test_lines import decoded
from tests.sync.test_sessions import U1
from topologies import conversation, reception
from topologies.websocket import MAX_MESSAGE

__all__ = ["node"]  # the fixture
JSON, BSON = "application/json", "application/bson"
STREAM, PAYLOAD, ERROR, KEEPALIVE = 1, 10, 11, 3
SETUP_TYPE, REQUEST_TYPE, MORE_TYPE, CANCEL_TYPE = 1, 6, 8, 9
METADATA, RESPOND = 0x100, 0x80
MUCH = 1_000_000


def head(stream: int, kind: int, flags: int = 0) -> bytes:
    return struct.pack(">IH", stream, kind << 10 | flags)


def beside(content: bytes) -> bytes:
    return len(content).to_bytes(3, "big") + content


def encoded(content: Mapping[str, Any], kind: str) -> bytes:
    return orjson.dumps(content) if kind == JSON else bson.document(content)


def setup(metadata: Mapping[str, Any] | None, *, kind: str = JSON, lifetime: int = 90_000) -> bytes:
    name = bytes([len(kind)]) + kind.encode()
    fixed = struct.pack(">HHII", 1, 0, 20_000, lifetime) + name + name
    if metadata is None:
        return head(0, SETUP_TYPE) + fixed
    return head(0, SETUP_TYPE, METADATA) + fixed + beside(encoded(metadata, kind))


def request(
    body: Mapping[str, Any] | bytes = b"",
    *,
    stream: int = STREAM,
    count: int = MUCH,
    path: str = "/sync/stream",
    kind: str = JSON,
) -> bytes:
    content = body if isinstance(body, bytes) else encoded(body, kind)
    metadata = beside(encoded({"path": path}, kind))
    return head(stream, REQUEST_TYPE, METADATA) + struct.pack(">I", count) + metadata + content


class Socket:
    """A client's end of a connection, and the lines of its stream."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def send(self, *frames: bytes) -> None:
        for each in frames:
            self.connection.send(each)

    def frame(self) -> tuple[int, int, bytes]:
        """The next frame: stream, type, and what is in it."""
        found = self.connection.recv(timeout=20)
        assert isinstance(found, bytes)
        stream, bits = struct.unpack_from(">IH", found)
        return stream, bits >> 10, found[6:]

    def next(self) -> dict[str, Any]:
        stream, kind, content = self.frame()
        assert (stream, kind) == (STREAM, PAYLOAD), content
        return decoded(content)

    def until(self, kind: str) -> list[dict[str, Any]]:
        found = [self.next()]
        while kind not in found[-1]:
            found.append(self.next())
        return found

    def sync(self, client: Client) -> None:
        for line in self.until("checkpoint_complete"):
            client.take(line)

    def error(self) -> tuple[int, int, str]:
        """The next frame, which is an error: stream, code, message."""
        stream, kind, content = self.frame()
        assert kind == ERROR
        return stream, struct.unpack_from(">I", content)[0], content[4:].decode()

    def ended(self) -> bool:
        with pytest.raises(ConnectionClosed):
            while True:
                self.connection.recv(timeout=20)
        return True


@contextmanager
def opened(node: Node, *, compression: str | None = "deflate") -> Iterator[Socket]:
    url = node.url.replace("http://", "ws://") + "/sync/stream"
    with connect(url, compression=compression, max_size=None) as connection:
        yield Socket(connection)


@contextmanager
def connected(node: Node, user: str = "u1", **about: Any) -> Iterator[Socket]:
    with opened(node) as socket:
        socket.send(setup({"token": f"Token {user}"}, **about))
        yield socket


@pytest.mark.parametrize("kind", [JSON, BSON])
def test_changes_come_live_and_a_deploy_goes_on_in_the_stream(node: Node, kind: str) -> None:
    with connected(node, kind=kind) as socket:
        socket.send(request({"client_id": "c"}, kind=kind))
        follow_changes_and_a_deploy(node, socket.sync)
        assert [seat.client.client for seat in node.hub.seats] == ["c"]
    eventually(lambda: not node.hub.seats)


def test_a_line_is_sent_when_it_is_asked_for(node: Node) -> None:
    with connected(node) as socket:
        socket.send(request(count=2))
        assert [next(iter(socket.next())) for _ in range(2)] == ["checkpoint", "data"]
        with pytest.raises(TimeoutError):
            socket.connection.recv(timeout=0.3)
        socket.send(head(STREAM, MORE_TYPE) + struct.pack(">I", MUCH))
        socket.until("checkpoint_complete")


def test_a_newer_checkpoint_interrupts_what_a_slow_client_has_not_asked_for(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had no time for, it gets at the newer one."""
    monkeypatch.setattr("topologies.downstream.INTERRUPTIBLE_AFTER", 1)
    for number in range(3_000):
        node.desk.write("public.todos", {"id": f"n{number}", "list_id": "l1", "title": "x"})
    node.checkpoint()
    eventually(lambda: node.hub.view is not None and node.hub.view.exposed.commit == 2)
    client = Client()
    with connected(node) as socket:
        socket.send(request(count=4))  # checkpoint, lists, their partial completion, the first 1,000 todos
        for _ in range(4):
            client.take(socket.next())
        node.desk.write("public.todos", {"id": "t3", "list_id": "l1", "title": "z"})
        node.checkpoint()
        eventually(lambda: any(seat.woken.is_set() for seat in node.hub.seats))
        socket.send(head(STREAM, MORE_TYPE) + struct.pack(">I", MUCH))
        lines = socket.until("checkpoint_complete")
        kinds = [next(iter(line)) for line in lines]
        assert "checkpoint_diff" in kinds[:2], "at most the line that was in hand comes first"
        for line in lines:
            client.take(line)
    assert client.applied == node.desk.visible(U1)


def test_who_asks_for_nothing_more_is_let_go(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hold files of the store; one to whom nothing is owed may stay."""
    monkeypatch.setattr(conversation, "UNREAD", 0.1)
    with connected(node) as socket:
        socket.send(request(count=1))
        socket.next()
        assert socket.frame() == (STREAM, PAYLOAD, b"")
        assert not node.hub.seats


def test_a_sign_of_life_is_answered_and_its_absence_ends_the_connection(node: Node) -> None:
    with connected(node, lifetime=1_000) as socket:
        socket.send(request())
        socket.until("checkpoint_complete")
        socket.send(head(0, KEEPALIVE, RESPOND) + bytes(8) + b"here")
        assert socket.frame() == (0, KEEPALIVE, bytes(8) + b"here")
        assert socket.ended()
    eventually(lambda: not node.hub.seats)


def test_a_stream_is_cancelled_and_asked_for_again(node: Node) -> None:
    with connected(node) as socket:
        socket.send(request())
        socket.until("checkpoint_complete")
        socket.send(head(STREAM, CANCEL_TYPE))
        eventually(lambda: not node.hub.seats)
        socket.send(request(stream=3))
        assert socket.frame()[:2] == (3, PAYLOAD)


@pytest.mark.parametrize(
    ("metadata", "kind", "code", "told"),
    [
        (None, JSON, rsocket.REJECTED_SETUP, "[PSYNC_S2106] Authentication required"),
        ({}, JSON, rsocket.REJECTED_SETUP, "[PSYNC_S2106] Authentication required"),
        ({"token": 5}, JSON, rsocket.REJECTED_SETUP, "[PSYNC_S2106] Authentication required"),
        ({"token": "Token"}, BSON, rsocket.REJECTED_SETUP, "[PSYNC_S2106] Authentication required"),
        ({"token": "Token u1"}, "text/plain", rsocket.REJECTED_SETUP, "Expected JSON or BSON request, got text/plain"),
    ],
)
def test_who_is_not_let_in_is_told_why(node: Node, metadata: Any, kind: str, code: int, told: str) -> None:
    with opened(node) as socket:
        socket.send(setup(metadata, kind=kind))
        assert socket.error() == (0, code, told)
        assert socket.ended()


@pytest.mark.parametrize(
    ("frame", "code", "told"),
    [
        (request({"streams": 5}), rsocket.APPLICATION_ERROR, '[PSYNC_S2001] Validation failed\n  ["/streams: type'),
        (request(b"{bad"), rsocket.APPLICATION_ERROR, "[FST_ERR_CTP_INVALID_JSON_BODY]"),
        (request(path="/nope"), rsocket.APPLICATION_ERROR, "[PSYNC_S2002] The path does not exist"),
        (head(STREAM, 4) + b"{}", rsocket.REJECTED, "Only streams are served"),
    ],
)
def test_a_request_that_is_refused_leaves_the_connection(node: Node, frame: bytes, code: int, told: str) -> None:
    with connected(node) as socket:
        socket.send(frame)
        stream, found, message = socket.error()
        assert (stream, found) == (STREAM, code)
        assert message.startswith(told)
        socket.send(request(stream=3))
        assert socket.frame()[:2] == (3, PAYLOAD)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\0\0",
        setup({"token": "Token u1"}),
        head(0, REQUEST_TYPE) + struct.pack(">I", 1) + b"{}",
        head(1, REQUEST_TYPE, 0x80) + struct.pack(">I", 1) + b"{}",
        head(1, REQUEST_TYPE, METADATA) + struct.pack(">I", 1) + b"\xff\xff\xff",
    ],
    ids=("empty", "short", "second setup", "stream 0", "fragment", "cut off"),
)
def test_a_frame_that_cannot_be_read_ends_the_connection(node: Node, frame: bytes) -> None:
    with connected(node) as socket:
        socket.send(frame)
        stream, code, _ = socket.error()
        assert (stream, code) == (0, rsocket.CONNECTION_ERROR)
        assert socket.ended()


def test_the_first_frame_is_a_setup(node: Node) -> None:
    with opened(node) as socket:
        socket.send(request())
        assert socket.error()[:2] == (0, rsocket.UNSUPPORTED_SETUP)
        assert socket.ended()


def test_who_says_nothing_is_not_waited_for(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "SETUP_PATIENCE", 0.1)
    with opened(node) as socket:
        assert socket.ended()


def test_streams_of_a_connection_and_clients_of_a_node_are_bounded(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "MAX_CLIENTS", 3)
    with connected(node) as socket:
        for number in range(4):
            socket.send(request(stream=1 + 2 * number, count=0))
        assert socket.error()[2].startswith("[PSYNC_S2304]")
        assert len(node.hub.seats) == 3
    monkeypatch.undo()
    monkeypatch.setattr(conversation, "MAX_STREAMS", 2)
    with connected(node) as socket:
        for number in range(3):
            socket.send(request(stream=1 + 2 * number, count=0))
        assert socket.error()[2].startswith("[PSYNC_S2304]")


def test_the_token_s_end_ends_the_stream(node: Node) -> None:
    with connected(node, user="u1 1") as socket:
        socket.send(request())
        assert socket.until("token_expires_in")[-1] == {"token_expires_in": 0}
        assert socket.frame() == (STREAM, PAYLOAD, b"")


def test_the_node_s_end_ends_the_stream(node: Node) -> None:
    with connected(node) as socket:
        socket.send(request())
        socket.until("checkpoint_complete")
        node.close()
        assert socket.frame() == (STREAM, PAYLOAD, b"")
        assert socket.ended()


def test_messages_are_bounded_and_compressed_each_by_itself(node: Node) -> None:
    with connected(node) as socket:
        socket.send(request(b" " * (MAX_MESSAGE + 1)))
        assert socket.ended()
    with connected(node) as socket:
        (deflate,) = socket.connection.protocol.extensions
        assert isinstance(deflate, PerMessageDeflate) and deflate.remote_no_context_takeover
        socket.send(request())
        socket.until("checkpoint_complete")


*UPGRADE, KEY = (f"{name}: {value}" for name, value in HANDSHAKE)


@pytest.mark.parametrize(
    ("asked", "headers", "status"),
    [
        ("GET /any/path", (*UPGRADE, KEY), 101),
        ("GET /sync/stream", UPGRADE, 404),
        ("GET /sync/stream", (*UPGRADE, KEY[:-1]), 404),
        ("GET /sync/stream", (*UPGRADE, KEY, "content-length: 0"), 404),
        ("POST /sync/stream", (*UPGRADE, KEY), 401),
        ("GET /sync/stream", (*UPGRADE, KEY, *("x: y",) * 200), 400),
        ("GET /sync/stream", (*UPGRADE, KEY, f"cookie: {'x' * 10_000}"), 400),
    ],
    ids=("handshake", "no key", "short key", "body", "no GET", "many headers", "long header"),
)
def test_what_is_no_handshake_is_answered_as_http(
    node: Node, asked: str, headers: tuple[str, ...], status: int
) -> None:
    with raw(node) as client:
        client.sendall("\r\n".join([f"{asked} HTTP/1.1", "host: x", *headers, "", ""]).encode())
        found = first_answer(client)
    assert found is not None and found[0] == status
    if status != 101:
        assert orjson.loads(found[2])["error"]["status"] == status
