"""Which re-read to ask the connector for next: whole tables (rule S9) and single keys (rule S10), with back-off.

Debezium takes signals on one thread and streams on another, on one connection, without a lock. So:
- One request at a time; a second one makes it forget whose request it works on.
- A whole table is asked for behind primers, a row of it each: Debezium reads the first chunk of a snapshot on the
  signals' thread, where rows get lost between the two or the task dies, and what is added to a running one on the
  streaming thread alone. A read that was the first of its snapshot after all does not count.
- COMPLETED says only that nothing is left to do. What counts is how the scan of each table ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from connector.source.tables import Tables, TableState

FIRST_PATIENCE = 15.0  # seconds until a wish is sent again; doubles up to LAST_PATIENCE
LAST_PATIENCE = 300.0
SILENCE = 30.0  # seconds without a word of a started snapshot until it is nudged
KEYS_AT_ONCE = 200
IDLE = "where nobody writes, the connector reads on when a row of any captured table changes"
PRIMERS = 4  # so many that the streaming thread is not done with them before the table is added


@dataclass(slots=True)
class Told:
    """What the connector has told of its incremental snapshots, by the id of the request."""

    started: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    first: set[str] = field(default_factory=set)  # began a snapshot: its first chunk is not to be trusted
    scans: dict[str, list[str]] = field(default_factory=dict)  # how the scans of tables ended
    heard: int = 0  # how much was told

    def take(self, request: str, kind: str, status: str | None) -> None:
        """One notification: `kind` is STARTED, IN_PROGRESS, TABLE_SCAN_COMPLETED, COMPLETED, …"""
        self.heard += 1
        self.started.add(request)
        if kind == "STARTED":
            self.first.add(request)
        if kind in ("TABLE_SCAN_COMPLETED", "ABORTED"):
            self.scans.setdefault(request, []).append(status or kind)
        if kind in ("COMPLETED", "ABORTED"):
            self.ended |= self.started  # whatever it worked on: it has nothing left to do

    def completed(self, request: str) -> bool:
        """It is over, and all that it was to read was read, by one thread; nothing can get lost of an empty table."""
        wanted = {"EMPTY"} if request in self.first else {"EMPTY", "SUCCEEDED"}
        return request in self.ended and request in self.scans and wanted.issuperset(self.scans[request])

    def running(self, request: str) -> bool:
        """The connector keeps a started snapshot in its offsets, so it survives a restart."""
        return request in self.started and request not in self.ended

    def failure(self, request: str) -> str | None:
        """Debezium's word for why a table was not read."""
        return next((scan for scan in self.scans.get(request, ()) if scan not in ("EMPTY", "SUCCEEDED")), None)


@dataclass(frozen=True, slots=True)
class Signal:
    """What to ask the connector for: a snapshot of a table, all of it or what meets a condition; or, with an empty
    table, to pause and resume the one that has fallen silent, which makes it read on."""

    id: str
    table: str
    condition: str | None = None

    def records(self) -> list[dict[str, Any]]:
        """As Debezium's signals, to be sent at once."""
        if not self.table:
            return [_signal(self.id, kind, {"type": "INCREMENTAL"}) for kind in ("pause-snapshot", "resume-snapshot")]
        if self.condition is not None:
            return [self._execute(self.id, self.condition)]
        quoted = ".".join(f'"{name}"' for name in self.table.split("."))
        primer = self._execute(f"{self.id}-primer", f"ctid = (SELECT ctid FROM {quoted} LIMIT 1)")
        return [*[primer] * PRIMERS, self._execute(self.id, None)]

    def _execute(self, request: str, condition: str | None) -> dict[str, Any]:
        """By the table's plain name: a regular expression that matches no other plain name, and Debezium looks one that
        came after its start up under just these letters."""
        wanted: dict[str, Any] = {"data-collections": [self.table], "type": "INCREMENTAL"}
        if condition is not None:
            wanted["additional-conditions"] = [{"data-collection": self.table, "filter": condition}]
        return _signal(request, "execute-snapshot", wanted)


def _signal(request: str, kind: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": request, "type": kind, "data": wanted}


@dataclass(slots=True)
class _Wish:
    id: str
    table: str
    asked_at: float
    patience: float
    spoilt: int  # Tables.spoilt when it was asked for
    nudged: bool = False


class Wishes:
    """What is wanted of the connector, and what of it is under way."""

    def __init__(self, tables: Tables, told: Told, new_id: Callable[[], str]) -> None:
        self._tables = tables
        self._told = told
        self._new_id = new_id
        self._whole: dict[str, _Wish] = {}
        self._keys: dict[str, _Wish] = {}
        self._latest: _Wish | None = None
        self._heard = (0, 0.0)  # how much was told, and since when no more

    def next(self, now: float, hindered: Mapping[str, str]) -> Signal | None:
        """What to ask for now; nothing while something is under way. `hindered` tables are not to be read yet."""
        if self._told.heard != self._heard[0] or self._latest is None:
            self._heard = (self._told.heard, now)
        if self._latest is not None and self._told.running(self._latest.id):
            return self._nudge(now)
        if self._latest is not None and not self._over(self._latest, now):
            return None
        due = [wanted for wanted in self._wanted() if wanted[0] not in hindered and self._due(*wanted, now)]
        if not due:
            return None
        table, condition = min(due, key=lambda wanted: self._asked_at(*wanted))
        return self._ask(table, condition, now)

    def whole(self) -> list[str]:
        """The tables that are to be read whole."""
        return [table for table, condition in self._wanted() if condition is None]

    def finished(self, table: str) -> bool:
        """Whether the whole table was read again since it was asked for."""
        wish = self._whole.get(table)
        return wish is not None and wish.spoilt == self._tables.spoilt[table] and self._told.completed(wish.id)

    def forget(self, table: str) -> None:
        """The table is complete: a later wish is a new one."""
        self._whole.pop(table, None)

    def waits(self, table: str) -> str:
        """How it goes with a table that is to be read whole, for `status`."""
        wish = self._whole.get(table)
        if wish is None:
            other = self._latest.table if self._latest is not None else ""
            return f"is read after {other}" if other and other != table else "is about to be read"
        if self._told.running(wish.id):
            return "is being read by an incremental snapshot"
        if why := self._told.failure(wish.id):
            return f"could not be read by the connector ({why}), it is asked again"
        if wish.patience > FIRST_PATIENCE:  # asked for again: Debezium closes a chunk's window at a row of the log
            return f"its incremental snapshot was asked for; {IDLE}"
        return "its incremental snapshot was asked for"

    def _wanted(self) -> Iterator[tuple[str, str | None]]:
        """Tables, and the condition for those of which some keys are held out."""
        for table, state in self._tables.states.items():
            if state.refused is not None:
                continue
            if state.incomplete is not None:
                if not self.finished(table):
                    yield table, None
            elif state.holes and state.key is not None:
                yield table, _condition(state)
            else:
                self._keys.pop(table, None)

    def _nudge(self, now: float) -> Signal | None:
        """A snapshot that was started and of which nothing is heard: nudged once, then given up."""
        assert self._latest is not None
        if now - self._heard[1] < SILENCE:
            return None
        self._heard = (self._heard[0], now)
        if self._latest.nudged:
            self._told.ended.add(self._latest.id)
            return None
        self._latest.nudged = True
        self._told.first.add(self._latest.id)  # the nudge makes it read on the signals' thread
        return Signal(self._latest.id, "")

    def _over(self, wish: _Wish, now: float) -> bool:
        return wish.id in self._told.ended or now - wish.asked_at >= wish.patience

    def _due(self, table: str, condition: str | None, now: float) -> bool:
        wish = self._known(table, condition)
        return wish is None or now - wish.asked_at >= wish.patience

    def _asked_at(self, table: str, condition: str | None) -> float:
        wish = self._known(table, condition)
        return wish.asked_at if wish is not None else float("-inf")

    def _known(self, table: str, condition: str | None) -> _Wish | None:
        """The last wish for it, unless what that one reads does not count any more."""
        wish = (self._whole if condition is None else self._keys).get(table)
        return wish if wish is not None and wish.spoilt == self._tables.spoilt[table] else None

    def _ask(self, table: str, condition: str | None, now: float) -> Signal:
        known = self._known(table, condition)
        patience = FIRST_PATIENCE if known is None else min(LAST_PATIENCE, known.patience * 2)
        self._latest = _Wish(self._new_id(), table, now, patience, self._tables.spoilt[table])
        (self._whole if condition is None else self._keys)[table] = self._latest
        self._heard = (self._told.heard, now)
        return Signal(self._latest.id, table, condition)


def _condition(state: TableState) -> str:
    """The SQL condition for source keys; every value as text, which Postgres reads as the column's type."""
    columns = ", ".join('"' + name.replace('"', '""') + '"' for name, _ in state.key or ())
    keys = list(state.holes)[:KEYS_AT_ONCE]
    rows = (", ".join(map(_literal, orjson.loads(key)[1:])) for key in keys)
    return f"({columns}) IN ({', '.join(f'({row})' for row in rows)})"


def _literal(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return "'" + text.replace("'", "''") + "'" if value is not None else "NULL"
