"""Asks the connector to read rows again: whole tables (rule S9) and single keys (rule S10).

Asked through a Kafka topic and read without a signal table (`read.only`): no table of the source is written to, and no
row of ours is among its data. What is asked for, and when again, is decided in `connector/source/wishes.py`.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from connector.crash import crash_point
from connector.deploy.connector import signal_topic
from connector.errors import Unavailable
from connector.settings import Settings
from connector.source.tables import Tables
from connector.source.wishes import Signal, Wishes
from topologies import database, kafka
from topologies.notifications import Notifications

log = logging.getLogger(__name__)


class Rereads:
    """The way of the wishes to the connector.

    A connector that was started again does nothing before the first entry of its log (debezium/dbz#2055), and closes a
    chunk by itself only where that entry is older than the chunk: so one is made before each snapshot is asked for.
    """

    def __init__(self, settings: Settings, tables: Tables, notifications: Notifications) -> None:
        self.wishes = Wishes(tables, notifications.told, lambda: str(uuid.uuid4()))
        self._settings = settings
        self._producer = kafka.producer(settings)
        self._pool = ThreadPoolExecutor(1, "wake")
        self._next: tuple[Signal, Future[None]] | None = None  # it is sent when the connector has been woken

    def tick(self, now: float, hindered: Mapping[str, str]) -> None:
        """Ask for what is missing."""
        if self._next is None:
            signal = self.wishes.next(now, hindered)
            if signal is not None:
                self._next = signal, self._pool.submit(self._wake, signal)
        elif self._next[1].done():
            signal, woken = self._next
            self._next = None
            woken.result()
            self._send(signal)
        self._producer.poll(0)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _wake(self, signal: Signal) -> None:
        """On a thread of its own; where it does not succeed, any row that is written will do."""
        if signal.table:
            try:
                database.wake(self._settings)
            except Unavailable as error:
                log.warning("%s", error.report())

    def _send(self, signal: Signal) -> None:
        crash_point("sequence.before_signal")
        for record in signal.records():
            value = json.dumps(record).encode()
            self._producer.produce(signal_topic(self._settings), value, self._settings.topic_prefix, 0)
        _say(signal)


def _say(signal: Signal) -> None:
    if signal.table:
        log.info("asked the connector to read %s again: %s", signal.table, signal.condition or "all of it")
    else:
        log.warning("nothing heard of snapshot %s, the connector is asked to go on with it", signal.id)
