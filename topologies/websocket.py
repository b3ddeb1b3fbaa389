"""A client's WebSocket as uvicorn speaks it, with what uvicorn leaves open: what a node is made to keep, and ends.

A message is inflated when the one before it has been taken, and an answer to a ping is dropped where nothing is read.
"""

from __future__ import annotations

from asyncio.transports import BaseTransport
from typing import Any

from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import CloseCode, Frame

from connector.sync.refusals import invalid_http
from connector.sync.requests import MAX_BODY
from topologies.connection import last_answer

MAX_MESSAGE = MAX_BODY + 64 * 1024  # bytes: a request, what comes beside it, and its head
MAX_FRAGMENTS = 1_000  # of a message
PIECE = 4 * 1024  # bytes that are inflated in one go: each may be a thousand then
# Each message by itself: a client that waits costs no compressor (61 KB, 113 with one).
DEFLATE = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    server_max_window_bits=12,
    client_max_window_bits=12,
    compress_settings={"memLevel": 5, "level": 3},
)


class Socket(WebSocketsSansIOProtocol):
    """One connection, from its handshake on."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.conn.available_extensions = [DEFLATE]

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self._unread = bytearray()

    def data_received(self, data: bytes) -> None:
        self._unread += data
        self._read()

    async def receive(self) -> ASGIReceiveEvent:
        message = await super().receive()
        self._read()
        return message

    def _read(self) -> None:
        """Up to the next whole message."""
        while self._unread and not self.read_paused and not self.transport.is_closing():
            piece = bytes(self._unread[:PIECE])
            del self._unread[:PIECE]
            super().data_received(piece)
            if self.conn.handshake_exc is not None and not self.handshake_initiated:  # uvicorn would wait for ever
                self.transport.write(last_answer(invalid_http()))
                self.transport.close()
            elif len(self.frames) > MAX_FRAGMENTS:
                self._fail(CloseCode.POLICY_VIOLATION, "too many fragments")

    def handle_text(self, event: Frame) -> None:
        self._fail(CloseCode.UNSUPPORTED_DATA, "only binary messages are spoken")

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def shutdown(self) -> None:
        """Who waits to send need not wait any more."""
        super().shutdown()
        self.disconnected = True
        self.writable.set()

    def _fail(self, code: int, reason: str) -> None:
        self.conn.fail(code, reason)
        self.handle_parser_exception()
