"""Asks the connector to read rows again: whole tables (rule S9) and single keys (rule S10).

Asked through a Kafka topic and read without a signal table (`read.only`): nothing is written to the source, and no
row of ours is among its data. What is asked for, and when again, is decided in `connector/source/wishes.py`.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping

from connector.crash import crash_point
from connector.deploy.connector import signal_topic
from connector.settings import Settings
from connector.source.tables import Tables
from connector.source.wishes import Signal, Wishes
from topologies import kafka
from topologies.notifications import Notifications

log = logging.getLogger(__name__)


class Rereads:
    """The way of the wishes to the connector."""

    def __init__(self, settings: Settings, tables: Tables, notifications: Notifications) -> None:
        self.wishes = Wishes(tables, notifications.told, lambda: str(uuid.uuid4()))
        self._settings = settings
        self._producer = kafka.producer(settings)

    def tick(self, now: float, hindered: Mapping[str, str]) -> None:
        """Ask for what is missing."""
        signal = self.wishes.next(now, hindered)
        if signal is not None:
            crash_point("sequence.before_signal")
            for record in signal.records():
                value = json.dumps(record).encode()
                self._producer.produce(signal_topic(self._settings), value, self._settings.topic_prefix, 0)
            _say(signal)
        self._producer.poll(0)


def _say(signal: Signal) -> None:
    if signal.table:
        log.info("asked the connector to read %s again: %s", signal.table, signal.condition or "all of it")
    else:
        log.warning("nothing heard of snapshot %s, the connector is asked to go on with it", signal.id)
