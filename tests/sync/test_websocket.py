"""What clients may make a node keep over WebSocket, and how it lets go of them: spoken to byte by byte."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import time
import zlib
from typing import Any

import pytest

from tests.sync.node import Node, eventually
from tests.sync.test_conversation import KEY, UPGRADE, request, setup
from tests.sync.test_endpoint import connected, node
from topologies import conversation, front
from topologies import websocket as topology

__all__ = ["node"]  # the fixture
CONTINUATION, TEXT, BINARY, CLOSE, UNKNOWN, PING = 0, 1, 2, 8, 5, 9
LAST, COMPRESSED, MASKED = 0x80, 0x40, 0x80
NO_MASK = bytes(4)
HUGE = b"\x82\xff" + struct.pack(">Q", 2**40) + NO_MASK
LET_IN = setup({"token": "Token u1"})


def frame(kind: int, content: bytes, *, bits: int = LAST) -> bytes:
    size = len(content)
    if size < 126:
        told = struct.pack(">B", MASKED | size)
    elif size < 65536:
        told = struct.pack(">BH", MASKED | 126, size)
    else:
        told = struct.pack(">BQ", MASKED | 127, size)
    return bytes([bits | kind]) + told + NO_MASK + content


def bomb(content: bytes) -> bytes:
    """A message that is a thousandth of what it says."""
    compressor = zlib.compressobj(9, wbits=-12)
    deflated = compressor.compress(content) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return frame(BINARY, deflated[:-4], bits=LAST | COMPRESSED)


def opened(node: Node, *frames: bytes) -> socket.socket:
    client = connected(node)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    headers = (*UPGRADE, KEY, "sec-websocket-extensions: permessage-deflate", "", "")
    client.sendall("\r\n".join(("GET /sync/stream HTTP/1.1", "host: x", *headers)).encode())
    found = b""
    while b"\r\n\r\n" not in found:
        found += client.recv(1)
    for each in frames:
        client.sendall(frame(BINARY, each))
    return client


def connections(node: Node) -> list[Any]:
    return list(node.front._server.server_state.connections)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def fill(node: Node, *, todos: int) -> None:
    for number in range(todos):
        node.desk.write("public.todos", {"id": f"n{number}", "list_id": "l1", "title": os.urandom(1000).hex()})
    node.checkpoint()
    eventually(lambda: node.hub.view is not None and node.hub.view.exposed.commit == 2)


def test_a_message_is_inflated_when_the_one_before_has_been_taken(node: Node) -> None:
    with opened(node) as client:
        client.sendall(bomb(bytes(topology.MAX_MESSAGE)) * 50)
        (held,) = connections(node)
        for _ in range(20):
            assert held.queue.qsize() <= 2
            time.sleep(0.01)


def test_answers_to_pings_are_not_kept_for_who_reads_nothing(node: Node) -> None:
    with opened(node, LET_IN) as client:
        for _ in range(100):
            client.sendall(frame(PING, b"x" * 125) * 1_000)
        (held,) = connections(node)
        assert held.transport.get_write_buffer_size() < 1_000_000


def test_refused_requests_do_not_pile_up(node: Node) -> None:
    """The client is read no further while it does not read what it is told."""
    with opened(node, LET_IN) as client:
        (held,) = connections(node)
        held.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            for number in range(10_000):
                client.sendall(frame(BINARY, request(b"{bad", stream=1 + 2 * number, path="/" + "x" * 5_000)))
        assert len(asyncio.all_tasks(node.front.loop)) < 10


@pytest.mark.parametrize(
    "sent",
    [
        frame(TEXT, b"\xff\xfe"),
        frame(TEXT, b"hello"),
        frame(UNKNOWN, b""),
        frame(CLOSE, b"\0"),
        HUGE,
        frame(BINARY, b"x", bits=0) + frame(CONTINUATION, b"", bits=0) * (topology.MAX_FRAGMENTS + 1),
    ],
    ids=("no UTF-8", "text", "unknown", "bad close", "huge", "fragments"),
)
def test_what_is_not_spoken_ends_the_connection_without_a_word_in_the_log(
    node: Node, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    with opened(node, LET_IN) as client:
        client.sendall(sent)
        while client.recv(65536):
            pass
    eventually(lambda: not connections(node))
    assert errors(caplog) == []


@pytest.mark.parametrize("how", ["close", "huge", "reset", "half"])
def test_who_leaves_many_streams_leaves_nothing(node: Node, caplog: pytest.LogCaptureFixture, how: str) -> None:
    fill(node, todos=1_000)
    streams = [request(stream=1 + 2 * number) for number in range(conversation.MAX_STREAMS)]
    with opened(node, LET_IN, *streams) as client:
        client.recv(65536)
        if how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == "half":
            client.shutdown(socket.SHUT_WR)
        else:
            client.sendall(HUGE if how == "huge" else frame(CLOSE, struct.pack(">H", 1000)))
    eventually(lambda: not node.hub.seats and not connections(node))
    assert errors(caplog) == []


@pytest.mark.parametrize("way", ["http", "websocket"])
def test_who_reads_nothing_does_not_hold_up_the_end(
    node: Node, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(front, "GRACE", 0.3)
    fill(node, todos=2_000)
    with opened(node, LET_IN, request()) if way == "websocket" else connected(node) as client:
        if way == "http":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(b"POST /sync/stream HTTP/1.1\r\nhost: x\r\nauthorization: Token u1\r\n\r\n")
        eventually(lambda: any(seat.sent_ops > 0 for seat in node.hub.seats))
        time.sleep(0.3)
        node.close()
    assert not node.hub.seats
    assert errors(caplog) == []
