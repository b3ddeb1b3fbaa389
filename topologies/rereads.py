"""Asks the connector to read rows again: whole tables (rule S9) and single keys (rule S10), with back-off.

Asked through a Kafka topic and read without a signal table (`read.only`): nothing is written to the source, and no
row of ours is among its data. That channel has no retry, so a wish that was not seen to start is sent again.
"""

from __future__ import annotations

import json
import logging
import uuid
from dataclasses import dataclass

import orjson

from connector.crash import crash_point
from connector.deploy.connector import signal_topic
from connector.settings import Settings
from connector.source.tables import Tables
from topologies import kafka
from topologies.notifications import Notifications

log = logging.getLogger(__name__)

FIRST_PATIENCE = 5.0  # seconds until a wish is sent again; doubles up to LAST_PATIENCE
LAST_PATIENCE = 300.0
KEYS_AT_ONCE = 200


@dataclass(slots=True)
class _Wish:
    """A re-read that was asked for."""

    id: str
    asked_at: float
    patience: float
    spoilt: int  # Tables.spoilt when it was asked for


class Rereads:
    """One wish per table at a time: all of it where it is incomplete, else the keys that are held out."""

    def __init__(self, settings: Settings, tables: Tables, notifications: Notifications) -> None:
        self._settings = settings
        self._tables = tables
        self._notifications = notifications
        self._producer = kafka.producer(settings)
        self._whole: dict[str, _Wish] = {}
        self._keys: dict[str, _Wish] = {}

    def tick(self, now: float) -> None:
        """Ask for what is missing."""
        for table, state in self._tables.states.items():
            if state.refused is not None:
                continue
            if state.incomplete is not None:
                if not self.finished(table):
                    self._ask(self._whole, table, None, now)
            elif state.holes and state.key is not None:
                names = [name for name, _ in state.key]
                self._ask(self._keys, table, _condition(names, list(state.holes)[:KEYS_AT_ONCE]), now)
            else:
                self._keys.pop(table, None)
        self._producer.poll(0)

    def finished(self, table: str) -> bool:
        """Whether the whole table was read again since it was asked for."""
        wish = self._whole.get(table)
        return (
            wish is not None and wish.spoilt == self._tables.spoilt[table] and wish.id in self._notifications.completed
        )

    def forget(self, table: str) -> None:
        """The table is complete: a later wish is a new one."""
        self._whole.pop(table, None)

    def _in_hand(self, wish: _Wish) -> bool:
        """The connector keeps a started snapshot in its offsets, so it survives a restart."""
        return wish.id in self._notifications.started and wish.id not in self._notifications.completed

    def _ask(self, wishes: dict[str, _Wish], table: str, condition: str | None, now: float) -> None:
        wish, spoilt = wishes.get(table), self._tables.spoilt[table]
        if wish is not None and wish.spoilt != spoilt:
            wish = None  # what it reads does not count any more
        if wish is not None and (now - wish.asked_at < wish.patience or self._in_hand(wish)):
            return
        patience = FIRST_PATIENCE if wish is None else min(LAST_PATIENCE, wish.patience * 2)
        fresh = wishes[table] = _Wish(str(uuid.uuid4()), now, patience, spoilt)
        data: dict[str, object] = {"data-collections": [_pattern(table)], "type": "INCREMENTAL"}
        if condition is not None:
            data["additional-conditions"] = [{"data-collection": _pattern(table), "filter": condition}]
        signal = {"id": fresh.id, "type": "execute-snapshot", "data": data}
        crash_point("sequence.before_signal")
        self._producer.produce(
            signal_topic(self._settings), json.dumps(signal).encode(), self._settings.topic_prefix, 0
        )
        log.info("asked the connector to read %s again: %s", table, condition or "all of it")


def _condition(names: list[str], keys: list[str]) -> str:
    """The SQL condition for some source keys; every value as text, which Postgres reads as the column's type."""
    columns = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    rows = (", ".join(map(_literal, orjson.loads(key)[1:])) for key in keys)
    return f"({columns}) IN ({', '.join(f'({row})' for row in rows)})"


def _literal(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return "'" + text.replace("'", "''") + "'" if value is not None else "NULL"


def _pattern(table: str) -> str:
    return table.replace(".", "\\.")
