"""One topic's ordered, idempotent writer that says when each record is durable.

librdkafka's producer is used and not Faust's: Faust's is idempotent only inside its own transactions, and it
compresses and frames on the event loop, where the agents need the time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from confluent_kafka import KafkaError, Message

from connector.settings import Settings
from topologies import kafka

log = logging.getLogger(__name__)

ROOM = 32 * 1024 * 1024  # bytes on their way; beyond them senders wait


def nothing_to_do() -> None:
    """Called where nobody waits for the delivery."""


class Outlet:
    """Writes records to partition 0 of a topic, in their order, waiting for a broker that is away.

    `lost` is called, on the outlet's thread, with a reason when a record can never be written: the topic is gone,
    or the broker refuses it. A hole would follow, so the caller ends its process.
    """

    def __init__(self, settings: Settings, topic: str, lost: Callable[[str], None]) -> None:
        self._topic = topic
        self._lost = lost
        self._where = settings.kafka
        self._away = False
        self._writer = kafka.producer(
            settings, **{"linger.ms": 1, "message.timeout.ms": 0, "error_cb": self._on_client_error}
        )
        self._waiting = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="outlet", daemon=True)
        self._thread.start()

    @property
    def has_room(self) -> bool:
        return self._waiting < ROOM

    def send(self, value: bytes, delivered: Callable[[], object] = nothing_to_do) -> None:
        """Append a record; `delivered` is called on the outlet's thread once it is durable."""
        size = len(value)

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                self._lost(f"record for {self._topic} cannot be written: {error.str()}")
                return
            with self._lock:
                self._waiting -= size
            if self._away:
                self._away = False
                log.info("the broker at %s answers again", self._where)
            delivered()

        with self._lock:
            self._waiting += size
        self._writer.produce(self._topic, value=value, partition=0, on_delivery=on_delivery)

    def flush(self, timeout: float) -> bool:
        """True when everything sent is durable within `timeout` seconds."""
        return self._writer.flush(timeout) == 0

    def close(self) -> None:
        """Give up what is not durable yet: the next process writes it again."""
        self._stopped.set()
        self._thread.join(2.0)

    def _on_client_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN and not self._away:
            self._away = True
            log.warning("the broker at %s is out of reach: waiting", self._where)

    def _poll(self) -> None:
        while not self._stopped.is_set():
            self._writer.poll(0.1)
