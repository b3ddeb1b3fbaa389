"""Sync streams over a WebSocket, as RSocket: React Native's way in (powersync.md 4.2).

A client's SETUP brings its token; then each stream that it asks for is sent as it asks for lines, a line a frame, as
BSON. Frames that cannot be read end the connection, requests that cannot be served only their stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from starlette.websockets import WebSocket, WebSocketDisconnect

from connector.errors import Unavailable
from connector.sync import rsocket
from connector.sync.lines import BSON
from connector.sync.refusals import Refused, broken, full, no_such_path
from connector.sync.requests import MAX_BODY, from_bson, from_json, stream_request
from connector.sync.tokens import Token
from topologies.connection import UNREAD
from topologies.downstream import warnings
from topologies.reception import Reception, restarting

PATH = "/sync/stream"
MAX_STREAMS = 8  # of one connection; SDKs ask for one
MAX_MESSAGE = MAX_BODY + 64 * 1024  # bytes: a request, its metadata and its head
SETUP_PATIENCE = 20.0  # seconds for the first frame
LIFETIMES = (1.0, 600.0)  # seconds without a frame that a client may ask for

log = logging.getLogger("serve")

Reader = Callable[[bytes], Any]
_READERS: Mapping[str, Reader] = {"application/json": from_json, "application/bson": from_bson}


class Readers(NamedTuple):
    """Of what comes with a connection's requests."""

    data: Reader
    metadata: Reader


class Credit:
    """How many more lines a client wants."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._more = asyncio.Event()

    def add(self, count: int) -> None:
        self._left += count
        self._more.set()

    async def take(self) -> None:
        """One, as soon as there is one."""
        while self._left <= 0:
            self._more.clear()
            await self._more.wait()
        self._left -= 1


class Conversation:
    """One connection."""

    def __init__(self, reception: Reception, socket: WebSocket) -> None:
        self._reception, self._socket = reception, socket
        self._streams: dict[int, tuple[Credit, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """To the end of the connection, which is told why where it is not the client's will."""
        with suppress(TimeoutError, WebSocketDisconnect):
            await self._socket.accept()
            try:
                await self._converse()
            except rsocket.Malformed as error:
                await self._end(rsocket.CONNECTION_ERROR, str(error))
            finally:
                tasks = [task for _, task in self._streams.values()]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _converse(self) -> None:
        async with asyncio.timeout(SETUP_PATIENCE):
            setup = await self._next()
        if not isinstance(setup, rsocket.Setup):
            await self._end(rsocket.UNSUPPORTED_SETUP, "The first frame is not SETUP")
            return
        if not {setup.data_type, setup.metadata_type} <= _READERS.keys():
            await self._end(rsocket.REJECTED_SETUP, f"Expected JSON or BSON request, got {setup.data_type}")
            return
        read = Readers(_READERS[setup.data_type], _READERS[setup.metadata_type])
        try:
            token = await self._reception.admit(_text(read.metadata(setup.metadata or b""), "token"))
        except Refused as refused:
            await self._end(rsocket.REJECTED_SETUP, refused.message)
            return
        await self._listen(token, read, min(max(setup.lifetime / 1000, LIFETIMES[0]), LIFETIMES[1]))

    async def _listen(self, token: Token, read: Readers, lifetime: float) -> None:
        while True:
            async with asyncio.timeout(lifetime):
                frame = await self._next()
            match frame:
                case rsocket.KeepAlive(content):
                    await self._socket.send_bytes(rsocket.keep_alive(content))
                case rsocket.More(stream, count) if stream in self._streams:
                    self._streams[stream][0].add(count)
                case rsocket.Cancel(stream) if stream in self._streams:
                    self._streams[stream][1].cancel()
                case rsocket.Cancel(rsocket.CONNECTION):
                    return
                case rsocket.Unserved(stream):
                    await self._socket.send_bytes(rsocket.error(stream, rsocket.REJECTED, "Only streams are served"))
                case rsocket.Request():
                    self._begin(frame, token, read)
                case rsocket.Setup():
                    raise rsocket.Malformed("a second SETUP")

    async def _next(self) -> rsocket.Frame:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        return rsocket.frame(message.get("bytes") or b"")

    def _begin(self, request: rsocket.Request, token: Token, read: Readers) -> None:
        if request.stream in self._streams or request.stream == rsocket.CONNECTION:
            raise rsocket.Malformed(f"stream {request.stream} is asked for twice")
        credit = Credit(request.count)
        task = asyncio.create_task(self._answer(request, credit, token, read))
        self._streams[request.stream] = (credit, task)
        task.add_done_callback(lambda _: self._streams.pop(request.stream, None))

    async def _answer(self, request: rsocket.Request, credit: Credit, token: Token, read: Readers) -> None:
        """One stream, from its request to the frame that ends it."""
        with suppress(WebSocketDisconnect):
            try:
                await self._stream(request, credit, token, read)
                last = rsocket.complete(request.stream)
            except Refused as refused:
                last = rsocket.error(request.stream, rsocket.APPLICATION_ERROR, refused.message)
            except Unavailable:
                last = rsocket.error(request.stream, rsocket.APPLICATION_ERROR, restarting().message)
            except TimeoutError:  # the client asks for nothing more, and would hold files of the store
                last = rsocket.complete(request.stream)
            except WebSocketDisconnect:
                raise
            except Exception as error:
                log.error("a stream over WebSocket failed", exc_info=error)
                last = rsocket.error(request.stream, rsocket.APPLICATION_ERROR, broken().message)
            await self._socket.send_bytes(last)

    async def _stream(self, request: rsocket.Request, credit: Credit, token: Token, read: Readers) -> None:
        async def write(line: bytes) -> None:
            async with asyncio.timeout(UNREAD):
                await credit.take()
            await self._socket.send_bytes(rsocket.payload(request.stream, line))

        if len(self._streams) > MAX_STREAMS:
            raise full()
        path = _text(read.metadata(request.metadata or b""), "path")
        if path != PATH:
            raise no_such_path("STREAM", path or "")
        asked = stream_request(read.data(request.data))
        seat = await self._reception.seat(token, asked)
        async with self._reception.served(seat, token, form=BSON, write=write, beats=warnings) as run:
            await run()

    async def _end(self, code: int, message: str) -> None:
        await self._socket.send_bytes(rsocket.error(rsocket.CONNECTION, code, message))
        await self._socket.close()


def _text(content: object, name: str) -> str | None:
    """A field of what came beside a request."""
    found = content.get(name) if isinstance(content, Mapping) else None
    return found if isinstance(found, str) else None
