"""A client's connection: HTTP as uvicorn reads it, with bounds on what comes before a request is known."""

from __future__ import annotations

import asyncio
import resource
import socket

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from connector.sync.refusals import Refused, full, invalid_http

MAX_HEAD = 64 * 1024  # bytes of a request before its body
PATIENCE = 20.0  # seconds for a request to begin
MOST = 11_000  # connections, also of clients that are not let in (yet)
OWN_FILES = 1_000  # that the store and the broker's client may have open
UNREAD = 60  # seconds that a client may read nothing, or be away without a word
KEY_LENGTH = 24  # characters of a WebSocket's key

_LAST_ANSWER = (
    b"HTTP/1.1 %d Refused\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%s"
)


def bounded(listener: socket.socket) -> socket.socket:
    """The listener, whose connections end when what they are sent is not taken in time."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD * 1000)
    return listener


def most_connections() -> int:
    """As many as leave the store its files: without them the whole node would end."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(MOST, max(files - OWN_FILES, files // 2))


class Connection(HttpToolsProtocol):
    """What is not HTTP gets an answer in JSON; who says nothing is not waited for."""

    _waiting: asyncio.TimerHandle | None = None
    _in_head = True
    _heads = 0  # that have been read whole
    _head_bytes = 0  # of the one that is being read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > most_connections():
            self._refuse(full())

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unwait()

    def data_received(self, data: bytes) -> None:
        heads = self._heads
        super().data_received(data)
        if self._in_head and self._heads == heads:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._refuse(Refused(431, "PSYNC_S2001", "Request header is too large", "ValidationError"))

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        self._heads += 1
        if not self._is_idle():  # a request behind a stream has no answer, and would hide that the client leaves
            self.transport.close()
            return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def _should_upgrade(self) -> bool:
        """What is no handshake of a WebSocket (RFC 6455, 4.1) is a request as any other."""
        given = dict(self.headers)
        return (
            super()._should_upgrade()
            and self.scope["method"] == "GET"
            and given.get(b"sec-websocket-version") == b"13"
            and len(given.get(b"sec-websocket-key", b"")) == KEY_LENGTH
            and not given.keys() & {b"content-length", b"transfer-encoding"}
        )

    def handle_websocket_upgrade(self) -> None:
        self._unwait()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        self._refuse(invalid_http())

    def _refuse(self, refused: Refused) -> None:
        if not self.transport.is_closing():
            if self._is_idle():
                self.transport.write(last_answer(refused))
            self.transport.close()

    def _is_idle(self) -> bool:
        """Whether nothing is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        self._unwait()
        self._waiting = self.loop.call_later(PATIENCE, self._give_up)

    def _unwait(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        if self._is_idle():
            self.transport.close()


def last_answer(refused: Refused) -> bytes:
    """What is written before a connection is closed."""
    body = orjson.dumps(refused.body())
    return _LAST_ANSWER % (refused.status, len(body), body)
