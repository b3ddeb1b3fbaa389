"""The sync endpoint in a thread of its own: one event loop, and what others tell it from their threads."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from connector.errors import SynclineError
from connector.store.buckets import Changed, View
from connector.sync.write_checkpoints import Client
from topologies.connection import Connection, bounded
from topologies.hub import Hub
from topologies.websocket import MAX_MESSAGE, Socket

GRACE = 3  # seconds for requests under way to end
CANCELLED_AFTER = 2  # seconds more, where the end of its connection did not end one

log = logging.getLogger("serve")

Closing = Callable[[], Awaitable[None]]


class Front:
    """Serves `app` to the clients of `hub`; `closings` are awaited at the end. Every method is for other threads."""

    def __init__(
        self, listener: socket.socket, hub: Hub, app: ASGIApp, *closings: Closing, tls: tuple[str, str] | None = None
    ) -> None:
        """`tls`: the files of a certificate and its key. Raises SynclineError where they cannot be used."""
        shown = tls_settings(tls) if tls is not None else {}
        self._listener, self._hub, self._closings = bounded(listener), hub, closings
        self.loop = asyncio.new_event_loop()
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=Connection,
                ws=Socket,
                ws_max_size=MAX_MESSAGE,
                ws_ping_interval=None,  # clients give signs of life; a slow one's answer to a ping comes too late
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                **shown,
                timeout_graceful_shutdown=GRACE + CANCELLED_AFTER,
            )
        )
        self._thread = threading.Thread(target=self._run, name="endpoint")
        self.failure: Exception | None = None  # why it has ended by itself

    def start(self) -> None:
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive() and self.failure is None

    def told(self, view: View, changed: Changed) -> None:
        """A checkpoint has come."""
        self.loop.call_soon_threadsafe(self._expose, view, changed)

    def acknowledged(self, clients: Iterable[Client]) -> None:
        """Write checkpoints of these are in the newest checkpoint."""
        self.loop.call_soon_threadsafe(self._hub.acknowledged, clients)

    def close(self) -> None:
        """End all streams and wait until they have ended."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._close)
            self._thread.join()
        self._listener.close()
        self.loop.close()

    def _expose(self, view: View, changed: Changed) -> None:
        """A checkpoint that cannot be served ends the endpoint: clients would hear of none after it."""
        try:
            self._hub.exposed(view, changed)
        except Exception as error:
            log.exception("checkpoint %d cannot be served", view.exposed.commit)
            self.failure = error
            self._close()

    def _close(self) -> None:
        self._hub.close()
        self._server.should_exit = True
        self.loop.call_later(GRACE, self._abort)

    def _abort(self) -> None:
        """Who reads nothing would not see the end."""
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()

    def _run(self) -> None:
        try:
            self.loop.run_until_complete(self._serve())
        except Exception as error:
            log.exception("the endpoint has failed")
            self.failure = error

    async def _serve(self) -> None:
        await self._server.serve([self._listener])
        for closing in self._closings:
            await closing()


def tls_settings(files: tuple[str, str]) -> dict[str, Any]:
    """uvicorn's settings for a certificate and its key, once they are known to be a pair. Raises SynclineError."""
    certificate, key = files
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise SynclineError(
            f"certificate and key cannot be used for TLS: {error.strerror or error}",
            where=f"{certificate}, {key}",
            hint="tls_certificate and tls_key name two readable PEM files that belong together",
        ) from error
    return {"ssl_certfile": certificate, "ssl_keyfile": key}
