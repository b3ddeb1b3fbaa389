"""A serving node: its replica of the op logs, and beside it the sync endpoint that answers clients from it.

`python -m topologies.serve --settings FILE`. Ends with 0 at SIGTERM, 76 where a server is away (start it again).
The replica has the main thread; the endpoint's event loop has one of its own, in the same process (rule V1).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import signal
import socket
import sys
import threading
from collections.abc import Sequence

import uvicorn

from connector import settings as settings_file
from connector.crash import arm
from connector.errors import SynclineError
from connector.settings import Settings
from connector.store.buckets import Changed, View
from connector.sync import development
from connector.sync.admission import Admission
from schemas.codec import Codec
from topologies.endpoint import Endpoint
from topologies.exits import ended
from topologies.garbage import collect_seldom
from topologies.hub import Hub
from topologies.markers import Emitter, Markers
from topologies.replica import Replica
from topologies.schemas import Schemas

BACKLOG = 2_048
GRACE = 3  # seconds for requests under way to end
SWITCH = 0.001  # seconds after which the replica lets the endpoint have its turn

log = logging.getLogger("serve")


class Node:
    """The endpoint in its thread, and the loop of the replica that tells it what has come."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings, self._listener = settings, listener
        self._admission = Admission(settings)
        self._replica = Replica(settings, self._told)
        self._markers = Markers(settings, Codec(Schemas(settings)))
        self._hub = Hub()
        self._loop = asyncio.new_event_loop()
        self._server: uvicorn.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), name="endpoint")
        self.stopping = False

    def run(self) -> None:
        """Serve until told to stop, or until the endpoint has ended by itself."""
        self._thread.start()
        try:
            self._replica.begin()
            while not self.stopping and self._thread.is_alive():
                self._replica.step()
                self._markers.poll()
                if clients := self._markers.checkpoints.answered(self._replica.store.exposed.position):
                    self._loop.call_soon_threadsafe(self._hub.acknowledged, clients)
        finally:
            self._end()
        if not self.stopping:
            raise SynclineError("the endpoint has ended", where=self._settings.listen)

    def _told(self, view: View, changed: Changed) -> None:
        self._loop.call_soon_threadsafe(self._hub.exposed, view, changed)

    def _end(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._close)
            self._thread.join()
        self._markers.close()
        self._replica.close()

    def _close(self) -> None:
        self._hub.close()
        if self._server is not None:
            self._server.should_exit = True

    async def _serve(self) -> None:
        emitter = Emitter(self._settings, self._markers.checkpoints.known)
        endpoint = Endpoint(
            self._hub,
            self._admission,
            emitter,
            acknowledged=self._markers.checkpoints.acknowledged,
            caught_up=lambda: self._replica.caught_up,
        )
        self._server = uvicorn.Server(
            uvicorn.Config(
                endpoint.app(),
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE,
            )
        )
        await self._server.serve([self._listener])
        await emitter.close()
        await self._admission.close()


def listener(address: str) -> socket.socket:
    """A socket that listens there. Raises SynclineError where that is not possible."""
    host, _, port = address.rpartition(":")
    try:
        return socket.create_server((host.strip("[]"), int(port)), backlog=BACKLOG)
    except OSError as error:
        raise SynclineError(
            f"clients cannot be served there: {error.strerror}", where=address, hint="change `listen` in syncline.yaml"
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or an error; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m topologies.serve", description=__doc__)
    parser.add_argument("--settings", metavar="FILE")
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    sys.setswitchinterval(SWITCH)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a client takes one
    collect_seldom()
    arm()

    def work() -> None:
        settings = settings_file.load(parser.parse_args(argv).settings)
        node = Node(settings, listener(settings.listen))

        def stop(number: int, frame: object) -> None:
            node.stopping = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        log.info("clients at %s", settings.endpoint)
        if (told := development.warning(settings)) is not None:
            log.warning(told)
        node.run()

    return ended(work, log)


if __name__ == "__main__":
    sys.exit(main())
