"""What each node says of its clients in `<app>.nodes`, and what is read from there.

A node writes under a key of its own, one for each life of it, and takes it away at a clean end. One that is killed is
forgotten after a while, as it says again what it says even where nothing changes.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import threading
import time
import uuid
from collections.abc import Callable
from itertools import islice
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from connector.errors import SynclineError
from connector.settings import Settings
from connector.sync.connected import BEAT, FORGOTTEN, Rhythm, Standing
from schemas.codec import Codec
from topologies import kafka
from topologies.hub import Hub, Seat
from topologies.schemas import Schemas
from topologies.topics import Topics

MOST = 1_000  # clients, and combinations of versions, that a record names
LONGEST = 100  # characters of a user's or client's id
LOOK = 0.5  # seconds
PATIENCE = 5.0  # seconds for the event loop to tell, for the registry to answer
FAREWELL = 1.0  # seconds for the broker to take the last word

log = logging.getLogger(__name__)


class Announcer:
    """Says what a node's clients are doing, in a thread of its own: neither replica nor event loop waits for it."""

    def __init__(
        self,
        settings: Settings,
        hub: Hub,
        loop: asyncio.AbstractEventLoop,
        checkpoints: Callable[[], tuple[int, int]],
    ) -> None:
        """`checkpoints` gives the numbers of the newest checkpoint known and of the one that the node has."""
        self._settings, self._hub, self._loop, self._checkpoints = settings, hub, loop, checkpoints
        self._topic = Topics(settings.app).nodes
        self._name = uuid.uuid4().hex
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="announcer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Take the node's record away, if the broker answers soon."""
        self._ended.set()
        self._thread.join(2 * FAREWELL)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                codec = Codec(Schemas(self._settings, patience=PATIENCE))
                codec.prepare("Node")
                self._announce(codec, kafka.producer(self._settings, **{"message.timeout.ms": int(BEAT * 1000)}))
            except (SynclineError, KafkaException, TimeoutError) as error:
                log.warning("`syncline clients` is not told of this node's clients: %s", error)
                self._ended.wait(BEAT)

    def _announce(self, codec: Codec, writer: Producer) -> None:
        rhythm, standing = Rhythm(), Standing()
        while not self._ended.wait(LOOK):
            now = time.time()
            behind = standing.behind_since(now, *self._checkpoints())
            if rhythm.is_due(now, (self._hub.moves, behind)):
                record = self._asked(behind)
                writer.produce(self._topic, key=self._name, value=codec.encode("Node", record))
            writer.poll(0)
        writer.produce(self._topic, key=self._name, value=None)
        writer.flush(FAREWELL)

    def _asked(self, behind: float | None) -> dict[str, Any]:
        """What is to be said, told by the event loop: seats are its own."""

        async def tell() -> dict[str, Any]:
            return told(self._hub, self._name, self._settings.endpoint, time.time(), behind)

        return asyncio.run_coroutine_threadsafe(tell(), self._loop).result(PATIENCE)


def told(hub: Hub, name: str, endpoint: str, now: float, behind_since: float | None) -> dict[str, Any]:
    """The Node record. On the event loop: it costs a few ms with any number of clients."""
    frequent = heapq.nlargest(MOST, hub.holdings.items(), key=lambda item: item[1])
    return {
        "node": name,
        "endpoint": endpoint,
        "at": int(now * 1000),
        "behind_since": _ms(behind_since),
        "clients": len(hub.seats),
        "behind": sum(seat.behind_since is not None for seat in hub.seats),
        "holdings": [{"versions": list(versions), "clients": clients} for versions, clients in frequent],
        "listed": [_connected(seat) for seat in islice(hub.seats, MOST)],
    }


def _connected(seat: Seat) -> dict[str, Any]:
    session, (user, client) = seat.session, seat.client
    return {
        "user": _cut(user),
        "client": _cut(client) if client is not None else None,
        "since": _ms(seat.since),
        "buckets": len(session.buckets),
        "op_id": session.complete_op_id,
        "behind_since": _ms(seat.behind_since),
        "sent": session.due - session.left,
        "due": session.due,
        "sent_bytes": seat.sent_bytes,
        "sent_ops": seat.sent_ops,
    }


def _cut(text: str) -> str:
    """What can be written of any text, half a surrogate pair for one."""
    return text[:LONGEST].encode(errors="replace").decode()


def _ms(moment: float | None) -> int:
    return int(moment * 1000) if moment is not None else 0


def read_nodes(settings: Settings, codec: Codec) -> list[dict[str, Any]]:
    """The Node records of the nodes that are there. Raises Unavailable."""
    topic = Topics(settings.app).nodes
    if not kafka.topic_exists(settings, topic):
        return []
    reader = kafka.glance(settings)
    try:
        newest = _newest(reader, topic, int((time.time() - FORGOTTEN) * 1000))
    except KafkaException as error:
        raise kafka.unavailable(settings, error.args[0], f"read {topic}") from error
    finally:
        reader.close()
    return [codec.decode(value) for value in newest.values() if value is not None]


def _newest(reader: Consumer, topic: str, since: int) -> dict[bytes, bytes | None]:
    """The newest value of each key that was written since then (ms)."""
    low, high = kafka.watermarks(reader, topic)
    (found,) = reader.offsets_for_times([TopicPartition(topic, 0, since)], timeout=kafka.PATIENCE)
    start = found.offset if found.offset >= 0 else high
    return {m.key() or b"": m.value() for m in kafka.read_range(reader, topic, 0, max(low, start), high)}
