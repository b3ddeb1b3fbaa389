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
from collections.abc import Sequence

from confluent_kafka import KafkaException

from connector import settings as settings_file
from connector.crash import arm
from connector.errors import SynclineError
from connector.settings import Settings
from connector.store.buckets import Changed, View
from connector.sync import development
from connector.sync.admission import Admission
from schemas.codec import Codec
from topologies.catalog import read_commit
from topologies.endpoint import Endpoint
from topologies.exits import ended
from topologies.front import Front
from topologies.garbage import collect_seldom
from topologies.hub import Hub
from topologies.markers import Emitter, Markers
from topologies.nodes import Announcer
from topologies.reception import Reception
from topologies.replica import Replica
from topologies.schemas import Schemas

BACKLOG = 2_048
SWITCH = 0.001  # seconds after which the replica lets the endpoint have its turn

log = logging.getLogger("serve")


class Node:
    """The endpoint in its thread, and the loop of the replica that tells it what has come."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        admission, hub = Admission(settings), Hub()
        self._replica = Replica(settings, self._told)
        self._markers = Markers(settings, Codec(Schemas(settings)))
        checkpoints = self._markers.checkpoints
        emitter = Emitter(settings, checkpoints.known)
        reception = Reception(
            hub, admission, emitter, acknowledged=checkpoints.acknowledged, caught_up=CaughtUp(settings, self._replica)
        )
        tls = (settings.tls_certificate, settings.tls_key) if settings.tls_certificate else None
        self._front = Front(listener, hub, Endpoint(reception).app(), emitter.close, admission.close, tls=tls)
        self._announcer = Announcer(
            settings, hub, self._front.loop, lambda: (self._replica.newest, self._replica.store.exposed.commit)
        )
        self.stopping = False

    def run(self) -> None:
        """Serve until told to stop, or until the endpoint has ended by itself."""
        self._front.start()
        self._announcer.start()
        try:
            self._replica.begin()
            while not self.stopping and self._front.is_alive:
                self._replica.step()
                self._markers.poll()
                if clients := self._markers.checkpoints.answered(self._replica.store.exposed.position):
                    self._front.acknowledged(clients)
        finally:
            self._announcer.end()
            self._front.close()
            self._markers.close()
            self._replica.close()
        if not self.stopping:
            raise SynclineError(f"the endpoint has ended: {self._front.failure!r}", where=self._settings.listen)

    def _told(self, view: View, changed: Changed) -> None:
        self._front.told(view, changed)


class CaughtUp:
    """Whether the node has the newest checkpoint that there is: asked of the broker, once for all who wait for it."""

    def __init__(self, settings: Settings, replica: Replica) -> None:
        self._settings, self._replica = settings, replica
        self._asked: asyncio.Task[bool] | None = None

    async def __call__(self) -> bool:
        if not self._replica.caught_up:
            return False
        if self._asked is None or self._asked.done():
            self._asked = asyncio.create_task(asyncio.to_thread(self._has_newest))
        return await asyncio.shield(self._asked)

    def _has_newest(self) -> bool:
        try:
            commit = read_commit(self._settings)
        except (SynclineError, KafkaException):
            return False  # nobody knows
        return commit is None or commit["number"] <= self._replica.store.exposed.commit


def listener(address: str) -> socket.socket:
    """A socket that listens there. Raises SynclineError where that is not possible."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SynclineError(
            f"clients cannot be served there: {error.strerror}", where=address, hint="change `listen` in syncline.yaml"
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or an error; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m topologies.serve", description=__doc__)
    parser.add_argument("--settings", metavar="FILE")
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells whole URLs, which may hold a secret
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
