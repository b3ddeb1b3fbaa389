"""The sync endpoint as an ASGI app: its paths, who may use them, and what they answer (powersync.md section 4)."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connector.errors import RequestRefused, Unavailable
from connector.sync.lines import Line, format_for
from connector.sync.refusals import Refused, full, no_such_path, unavailable
from connector.sync.requests import MAX_BODY, StreamRequest, checkpoint_request, client_id, stream_request
from connector.sync.sessions import Session
from connector.sync.tokens import Token
from connector.sync.write_checkpoints import Client
from topologies.downstream import Downstream
from topologies.encodings import encoder, encoding_for
from topologies.hub import Hub, Seat

MAX_CLIENTS = 10_000
PATIENCE = 5.0  # seconds that a client is waited with for a checkpoint at or past its own (rule V3)
RENEW_AFTER = 30.0  # seconds that a client has been connected
BODY_PATIENCE = 20.0  # seconds for a request's body to come
ALWAYS = [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", b"Content-Type")]
PREFLIGHT = {
    "access-control-allow-methods": "GET, POST, OPTIONS",
    "access-control-allow-headers": "Authorization, Content-Type, User-Agent, X-User-Agent",
    "access-control-max-age": "3600",
}

log = logging.getLogger("serve")


class Admission(Protocol):
    """Who a token is of. Raises Refused."""

    async def admit(self, header: str | None, now: float) -> Token: ...


class Emitter(Protocol):
    """Marks in the source's log that a client has written (rule V4). Raises Refused."""

    async def write_checkpoint(self, client: Client) -> int: ...

    async def checkpoint_request(self, client: Client, wanted: int) -> int: ...

    async def renew(self, client: Client) -> None: ...


Acknowledged = Callable[[Client, int], int | None]  # a client's newest write checkpoint at a position


class Endpoint:
    """What the paths do. `caught_up` tells whether there is no newer checkpoint than the node has."""

    def __init__(
        self,
        hub: Hub,
        admission: Admission,
        emitter: Emitter,
        *,
        acknowledged: Acknowledged,
        caught_up: Callable[[], Awaitable[bool]],
    ) -> None:
        self.hub, self.emitter, self.acknowledged = hub, emitter, acknowledged
        self._admission, self._caught_up = admission, caught_up

    def app(self) -> ASGIApp:
        """The ASGI app."""
        routes = [
            Route("/sync/stream", self._stream, methods=["POST"]),
            Route("/write-checkpoint2.json", self._answered(self._write_checkpoint), methods=["GET"]),
            Route("/sync/checkpoint-request", self._answered(self._checkpoint_request), methods=["POST"]),
            *(Route(f"/probes/{name}", self._probe, methods=["GET"]) for name in ("startup", "liveness", "readiness")),
        ]
        app = Starlette(
            routes=routes, exception_handlers={404: _no_such_path, 405: _no_such_path, Refused: _refused, 500: _broken}
        )
        return _with_cors(app)

    @property
    def ready(self) -> bool:
        """Whether clients can be served."""
        return self.hub.served is not None and not self.hub.closing

    async def _probe(self, request: Request) -> Response:
        started = self.hub.view is not None
        right = self.ready if request.url.path.endswith("readiness") else started or "liveness" in request.url.path
        touched = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return _json({"ready": self.ready, "started": started, "touched_at": touched}, 200 if right else 400)

    def _answered(self, handler: Callable[[Token, Request], Awaitable[object]]) -> Callable[..., Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            token = await self._token(request)
            return _json({"data": await handler(token, request)})

        return answer

    async def _token(self, request: Request) -> Token:
        return await self._admission.admit(request.headers.get("authorization"), time.time())

    async def _write_checkpoint(self, token: Token, request: Request) -> object:
        number = await self.emitter.write_checkpoint(
            Client(token.user_id, client_id(request.query_params.get("client_id")))
        )
        return {"write_checkpoint": str(number)}

    async def _checkpoint_request(self, token: Token, request: Request) -> object:
        asked = checkpoint_request(await _body(request))
        number = await self.emitter.checkpoint_request(Client(token.user_id, asked.client_id), asked.number)
        return {"checkpoint_request_id": str(number)}

    async def _stream(self, request: Request) -> Response:
        token = await self._token(request)
        asked = stream_request(await _body(request))
        self._check_room()
        session = Session(asked, token.claims)
        await self._wait_until_ready(session)
        self._check_room()  # others have come meanwhile
        return _StreamResponse(self, token, asked, session)

    def _check_room(self) -> None:
        if len(self.hub.seats) >= MAX_CLIENTS:
            raise full()

    async def _wait_until_ready(self, session: Session) -> None:
        """A checkpoint at or past the client's, and a deployment to serve (rule V3)."""
        deadline = time.monotonic() + PATIENCE
        while not (self.ready and self._reaches(session)):
            left = deadline - time.monotonic()
            if left <= 0:
                await self._give_up()
                return
            await self.hub.moved(left)
            if self.hub.closing:
                raise _stopping()

    def _reaches(self, session: Session) -> bool:
        return self.hub.view is not None and self.hub.view.exposed.op_id >= session.newest_position

    async def _give_up(self) -> None:
        """A client that is ahead of all there is comes from another life of this app: its buckets fail their checksums
        and are downloaded again. One that is ahead of this node only must wait."""
        caught_up = await self._caught_up()
        if self.hub.closing:
            raise _stopping()
        if not caught_up:
            raise unavailable("PSYNC_S2003", "This node is behind; try again")
        if not self.ready:
            raise Refused(500, "PSYNC_S2302", "No sync config available", "ServiceError")


class _StreamResponse(Response):
    """The stream as Starlette sends it."""

    def __init__(self, endpoint: Endpoint, token: Token, asked: StreamRequest, session: Session) -> None:
        super().__init__()
        self._endpoint, self._expires_at, self._raw = endpoint, token.expires_at, asked.raw_data
        self._hub = endpoint.hub
        self._seat = Seat(session, Client(token.user_id, asked.client_id), time.time())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Request(scope).headers
        form = format_for(headers.get("accept", ""), raw_data=self._raw)
        encoding = encoding_for(headers.get("accept-encoding", ""))
        encode = encoder(encoding)

        async def write(text: bytes) -> None:
            await send({"type": "http.response.body", "body": encode.chunk(text), "more_body": True})

        stream = Downstream(
            self._hub,
            self._seat,
            form=form,
            write=write,
            acknowledged=lambda position: self._endpoint.acknowledged(self._seat.client, position),
            expires_at=self._expires_at,
            clock=time.time,
        )
        self._hub.sit(self._seat)
        beside = [asyncio.create_task(self._leave(receive)), asyncio.create_task(self._renew())]
        try:
            line = _first_line(stream)
            sent = [(b"content-type", form.content_type.encode()), (b"x-accel-buffering", b"no")]
            sent += [(b"content-encoding", encoding.encode())] if encoding else []
            await send({"type": "http.response.start", "status": 200, "headers": sent})
            with suppress(RequestRefused):
                await stream.run(line)
            await send({"type": "http.response.body", "body": encode.end(), "more_body": False})
        except Unavailable as error:
            log.error("%s", error.report())  # the replica sees it too, and ends the node
        finally:
            for task in beside:
                task.cancel()
            self._hub.leave(self._seat)

    async def _renew(self) -> None:
        """A client that waits for a write checkpoint that has got lost gets another (decision 51): of many that came
        at once not all in one moment, and later where the source database is away or busy."""
        renewed = False
        while not renewed:
            await asyncio.sleep(RENEW_AFTER * random.uniform(1.0, 3.0))
            with suppress(Refused):
                await self._endpoint.emitter.renew(self._seat.client)
                renewed = True

    async def _leave(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._seat.gone = True
        self._seat.wake()


def _stopping() -> Refused:
    return unavailable("PSYNC_S2003", "This node is stopping; try again")


def _first_line(stream: Downstream) -> Line:
    try:
        return stream.first_line()
    except Unavailable as error:
        raise unavailable("PSYNC_S2003", "This node has to restart; try again") from error
    except RequestRefused as error:
        raise Refused(400, "PSYNC_S2305", error.message, "ServiceError", error.hint) from error


async def _body(request: Request) -> bytes:
    """The request's body, within bounds of size and time."""
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_PATIENCE):
            async for chunk in request.stream():
                found += chunk
                if len(found) > MAX_BODY:
                    raise Refused(413, "FST_ERR_CTP_BODY_TOO_LARGE", "Request body is too large", "FastifyError")
    except TimeoutError as error:
        raise Refused(408, "PSYNC_S2001", "The request's body did not come in time", "ServiceError") from error
    except ClientDisconnect as error:
        raise Refused(400, "PSYNC_S2001", "The client left", "ServiceError") from error
    return bytes(found)


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json; charset=utf-8")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _json(error.body(), error.status)


async def _no_such_path(request: Request, error: Exception) -> Response:
    refused = no_such_path(request.method, request.url.path)
    return _json(refused.body(), refused.status)


async def _broken(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    refused = Refused(500, "PSYNC_S2001", "Something went wrong", "InternalServerError", severity="error")
    return _json(refused.body(), refused.status)


def _with_cors(app: ASGIApp) -> ASGIApp:
    """Any web page may ask: what counts is the token."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*ALWAYS, *message["headers"]]
            await send(message)

        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            await Response(status_code=204, headers=PREFLIGHT)(scope, receive, told)
        else:
            await app(scope, receive, told)

    return answer
