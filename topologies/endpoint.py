"""The sync endpoint as an ASGI app: its paths, who may use them, and what they answer (powersync.md section 4)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from connector.errors import Unavailable
from connector.sync.lines import format_for
from connector.sync.refusals import Refused, broken, no_such_path
from connector.sync.requests import MAX_BODY, StreamRequest, checkpoint_request, client_id, from_json, stream_request
from connector.sync.tokens import Token
from connector.sync.write_checkpoints import Client
from topologies.conversation import Conversation
from topologies.downstream import beats
from topologies.encodings import encoder, encoding_for
from topologies.hub import Seat
from topologies.reception import Reception

BODY_PATIENCE = 20.0  # seconds for a request's body to come
ALWAYS = [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", b"Content-Type")]
PREFLIGHT = {
    "access-control-allow-methods": "GET, POST, OPTIONS",
    "access-control-allow-headers": "Authorization, Content-Type, User-Agent, X-User-Agent",
    "access-control-max-age": "3600",
}

log = logging.getLogger("serve")


class Endpoint:
    """What the paths do."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception

    def app(self) -> ASGIApp:
        """The ASGI app."""
        routes = [
            WebSocketRoute("/{path:path}", self._converse),
            Route("/sync/stream", self._stream, methods=["POST"]),
            Route("/write-checkpoint2.json", self._answered(self._write_checkpoint), methods=["GET"]),
            Route("/sync/checkpoint-request", self._answered(self._checkpoint_request), methods=["POST"]),
            *(Route(f"/probes/{name}", self._probe, methods=["GET"]) for name in ("startup", "liveness", "readiness")),
        ]
        app = Starlette(
            routes=routes, exception_handlers={404: _no_such_path, 405: _no_such_path, Refused: _refused, 500: _broken}
        )
        return _with_cors(app)

    async def _probe(self, request: Request) -> Response:
        ready, started = self._reception.ready, self._reception.hub.view is not None
        right = ready if request.url.path.endswith("readiness") else started or "liveness" in request.url.path
        touched = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return _json({"ready": ready, "started": started, "touched_at": touched}, 200 if right else 400)

    async def _converse(self, socket: WebSocket) -> None:
        await Conversation(self._reception, socket).run()

    def _answered(self, handler: Callable[[Token, Request], Awaitable[object]]) -> Callable[..., Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            token = await self._token(request)
            return _json({"data": await handler(token, request)})

        return answer

    async def _token(self, request: Request) -> Token:
        return await self._reception.admit(request.headers.get("authorization"))

    async def _write_checkpoint(self, token: Token, request: Request) -> object:
        number = await self._reception.emitter.write_checkpoint(
            Client(token.user_id, client_id(request.query_params.get("client_id")))
        )
        return {"write_checkpoint": str(number)}

    async def _checkpoint_request(self, token: Token, request: Request) -> object:
        asked = checkpoint_request(from_json(await _body(request)))
        number = await self._reception.emitter.checkpoint_request(Client(token.user_id, asked.client_id), asked.number)
        return {"checkpoint_request_id": str(number)}

    async def _stream(self, request: Request) -> Response:
        token = await self._token(request)
        asked = stream_request(from_json(await _body(request)))
        return _StreamResponse(self._reception, token, asked, await self._reception.seat(token, asked))


class _StreamResponse(Response):
    """The stream as Starlette sends it."""

    def __init__(self, reception: Reception, token: Token, asked: StreamRequest, seat: Seat) -> None:
        super().__init__()
        self._reception, self._token, self._raw, self._seat = reception, token, asked.raw_data, seat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Request(scope).headers
        form = format_for(headers.get("accept", ""), raw_data=self._raw)
        encoding = encoding_for(headers.get("accept-encoding", ""))
        encode = encoder(encoding)

        async def write(text: bytes) -> None:
            await send({"type": "http.response.body", "body": encode.chunk(text), "more_body": True})

        sent = [(b"content-type", form.content_type.encode()), (b"x-accel-buffering", b"no")]
        sent += [(b"content-encoding", encoding.encode())] if encoding else []
        with suppress(Unavailable):  # an answer without an end: the client comes again
            async with self._reception.served(self._seat, self._token, form=form, write=write, beats=beats) as run:
                leaving = asyncio.create_task(self._leave(receive))
                try:
                    await send({"type": "http.response.start", "status": 200, "headers": sent})
                    await run()
                    await send({"type": "http.response.body", "body": encode.end(), "more_body": False})
                finally:
                    leaving.cancel()

    async def _leave(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._seat.gone = True
        self._seat.wake()


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
    refused = broken()
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
