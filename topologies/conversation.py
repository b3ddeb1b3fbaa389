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
from connector.sync.requests import StreamRequest, from_bson, from_json, stream_request
from connector.sync.tokens import Token
from topologies.connection import UNREAD
from topologies.downstream import warnings
from topologies.reception import Reception, restarting

PATH = "/sync/stream"
MAX_STREAMS = 8  # of one connection; SDKs ask for one
MAX_PATH = 1_000  # characters of one that is told back
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


class Stream(NamedTuple):
    """One that a client has asked for."""

    credit: Credit
    task: asyncio.Task[None]


class Conversation:
    """One connection."""

    def __init__(self, reception: Reception, socket: WebSocket) -> None:
        self._reception, self._socket = reception, socket
        self._streams: dict[int, Stream] = {}

    async def run(self) -> None:
        """To the end of the connection, which is told why where it is not the client's will."""
        with suppress(TimeoutError, WebSocketDisconnect):
            await self._socket.accept()
            try:
                await self._converse()
            except rsocket.Malformed as error:
                await self._end(rsocket.CONNECTION_ERROR, str(error))
            finally:
                tasks = [each.task for each in self._streams.values()]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _converse(self) -> None:
        try:
            setup = await self._next(SETUP_PATIENCE)
        except rsocket.Malformed as error:
            await self._end(rsocket.REJECTED_SETUP, str(error))
            return
        if not isinstance(setup, rsocket.Setup):
            await self._end(rsocket.UNSUPPORTED_SETUP, "The first frame is not SETUP")
            return
        for kind in (setup.metadata_type, setup.data_type):
            if kind not in _READERS:
                await self._end(rsocket.REJECTED_SETUP, f"Expected JSON or BSON request, got {kind}")
                return
        read = Readers(_READERS[setup.data_type], _READERS[setup.metadata_type])
        try:
            token = await self._reception.admit(_text(read.metadata(setup.metadata or b""), "token"))
        except Refused as refused:
            await self._end(rsocket.REJECTED_SETUP, refused.message)
            return
        lifetime = min(max(setup.lifetime / 1000, LIFETIMES[0]), LIFETIMES[1])
        while True:  # what is answered here holds the client back
            await self._take(await self._next(lifetime), token, read)

    async def _next(self, within: float) -> rsocket.Frame:
        async with asyncio.timeout(within):
            message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        return rsocket.frame(message.get("bytes") or b"")

    async def _take(self, frame: rsocket.Frame, token: Token, read: Readers) -> None:
        match frame:
            case rsocket.KeepAlive(content):
                await self._send(rsocket.keep_alive(content))
            case rsocket.More(number, count) if number in self._streams:
                self._streams[number].credit.add(count)
            case rsocket.Cancel(number) if number in self._streams:
                self._streams[number].task.cancel()
            case rsocket.Cancel(rsocket.CONNECTION):
                raise WebSocketDisconnect
            case rsocket.Unserved(number):
                await self._send(rsocket.error(number, rsocket.REJECTED, "Only streams are served"))
            case rsocket.Request():
                await self._begin(frame, token, read)
            case rsocket.Setup():
                raise rsocket.Malformed("a second SETUP")

    async def _begin(self, request: rsocket.Request, token: Token, read: Readers) -> None:
        number, credit = request.stream, Credit(request.count)
        if number in self._streams or number == rsocket.CONNECTION:
            raise rsocket.Malformed(f"stream {number} is asked for twice")
        try:
            if len(self._streams) >= MAX_STREAMS:
                raise full()
            path = _text(read.metadata(request.metadata or b""), "path") or ""
            if path != PATH:
                raise no_such_path("STREAM", path[:MAX_PATH])
            asked = stream_request(read.data(request.data))
        except Refused as refused:
            await self._send(rsocket.error(number, rsocket.APPLICATION_ERROR, refused.message))
            return
        task = asyncio.create_task(self._answer(number, credit, token, asked))
        self._streams[number] = Stream(credit, task)
        task.add_done_callback(lambda _: self._streams.pop(number, None))

    async def _answer(self, number: int, credit: Credit, token: Token, asked: StreamRequest) -> None:
        """One stream, to the frame that ends it."""
        with suppress(WebSocketDisconnect):
            try:
                await self._stream(number, credit, token, asked)
                last = rsocket.complete(number)
            except TimeoutError:  # the client asks for nothing more, and would hold files of the store
                last = rsocket.complete(number)
            except WebSocketDisconnect:
                raise
            except Exception as error:
                last = rsocket.error(number, rsocket.APPLICATION_ERROR, _refusal(error).message)
            await self._send(last)

    async def _stream(self, number: int, credit: Credit, token: Token, asked: StreamRequest) -> None:
        async def write(line: bytes) -> None:
            async with asyncio.timeout(UNREAD):
                await credit.take()
            await self._send(rsocket.element(number, line))

        seat = await self._reception.seat(token, asked)
        async with self._reception.served(seat, token, form=BSON, write=write, beats=warnings) as run:
            await run()

    async def _send(self, frame: bytes) -> None:
        """Raises WebSocketDisconnect where the connection has ended, by whichever side."""
        try:
            await self._socket.send_bytes(frame)
        except RuntimeError as error:  # Starlette's and uvicorn's word for it, from the second time on
            raise WebSocketDisconnect from error

    async def _end(self, code: int, message: str) -> None:
        await self._send(rsocket.error(rsocket.CONNECTION, code, message))
        await self._socket.close()


def _text(content: object, name: str) -> str | None:
    """A field of what came beside a request."""
    found = content.get(name) if isinstance(content, Mapping) else None
    return found if isinstance(found, str) else None


def _refusal(error: Exception) -> Refused:
    """What a client is told of it."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, Unavailable):
        return restarting()
    log.error("a stream over WebSocket failed", exc_info=error)
    return broken()
