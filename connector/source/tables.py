"""The captured tables: what passes, what is held out, what is refused (rules S6, S9, S10, S11, D3)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from connector.source import keys
from connector.source.keys import Columns
from connector.source.records import Change, Kind, Rejected, Row, Truncate

_new_change = tuple.__new__  # a NamedTuple's own constructor costs three times as much
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")
NO_KEY = "has no primary key"
ToastPolicy = Literal["refuse", "reread"]


@dataclass(frozen=True, slots=True)
class TableState:
    """What is known of one table.

    `complete` is the position from which on the snapshot topic and the change log hold all of the table; None: not
    (yet). `incomplete` says why a re-snapshot is needed. A refused table passes nothing; its numbers still count. One
    that is stopped is refused for good.
    """

    topic: str
    key: Columns | None = None
    refused: str | None = None
    hint: str | None = None
    stopped: bool = False
    complete: int | None = None
    incomplete: str | None = None
    truncated: int = 0  # position of the last truncate
    holes: Mapping[str, int] = field(default_factory=dict)  # source key → position since which it is held out

    @property
    def ready(self) -> bool:
        return self.refused is None and self.incomplete is None and not self.holes


class Tables:
    """Decides on each row in commit order; changes `states`, and gives what goes into the change log."""

    def __init__(self, states: Mapping[str, TableState], *, toast: str = "refuse") -> None:
        self.states = dict(states)
        self._toast = toast
        self._rejected: list[Rejected] = []
        self._owed: list[Truncate] = []
        self.rejected_count = 0
        self.spoilt: Counter[str] = Counter()  # how often each table has become incomplete since the start

    def settle(self, row: Row, position: int) -> list[Change | Truncate]:
        """What a row becomes; `position` is that of the batch being filled."""
        table = row.table
        if row.op == "m" or not table:
            return []
        state = self.states.get(table)
        if state is None or state.topic != row.partition[0]:
            state = self._meet(table, row.partition[0], state)
        if state.refused is not None:
            return []
        if row.key is None:
            return self._keyless(row, state)
        out: list[Change | Truncate] = []
        key = row.key
        if row.columns != state.key:
            key = self._pin(row, state, out)
        change = self._change(row, key, position)
        if change is not None:
            out.append(change)
        return out

    def is_settled_alone(self, row: Row) -> bool:
        """Whether the row empties its table first, as its key has other columns (rule S9)."""
        state = self.states.get(row.table)
        if state is None or row.columns == state.key or row.key is None:
            return False
        return state.key is not None and sorted(state.key) != sorted(row.columns)

    def owed(self) -> list[Truncate]:
        """Truncates that no row caused: of tables taken up again."""
        owed, self._owed = self._owed, []
        return owed

    @property
    def has_rejected(self) -> bool:
        """Whether there are records that `rejected` has not given yet."""
        return bool(self._rejected)

    def rejected(self) -> list[Rejected]:
        """Records set aside since the last call."""
        found, self._rejected = self._rejected, []
        self.rejected_count += len(found)
        return found

    def refuse(self, table: str, topic: str, reason: str, hint: str | None = None) -> bool:
        """Let nothing of a table pass; whether that is new."""
        state = self.states.get(table) or TableState(topic)
        if state.stopped or (state.refused, state.hint) == (reason, hint):
            return False
        self.states[table] = replace(state, refused=reason, hint=hint, complete=None)
        return True

    def stop(self, table: str, topic: str, reason: str, hint: str) -> None:
        """Refuse a table for good."""
        self.refuse(table, topic, reason, hint)
        self.states[table] = replace(self.states[table], stopped=True)

    def take_up(self, table: str) -> None:
        """A refused table is mended: empty it and read it anew."""
        state = self.states[table]
        if state.key is not None:
            self._owed.append(Truncate(table, state.topic))
        self.states[table] = replace(state, refused=None, hint=None, holes={})
        self.spoiled(table, "was refused before")

    def truncated(self, table: str, position: int) -> None:
        """A truncate of the table is in the log at `position`."""
        self.states[table] = replace(self.states[table], truncated=position, holes={})

    def completed(self, table: str, position: int) -> None:
        """The table is complete from `position` on (rule D3)."""
        self.states[table] = replace(self.states[table], complete=position, incomplete=None)

    def spoiled(self, table: str, reason: str) -> None:
        """The table needs a re-snapshot."""
        self.states[table] = replace(self.states[table], complete=None, incomplete=reason)
        self.spoilt[table] += 1

    def _meet(self, table: str, topic: str, state: TableState | None) -> TableState:
        """A table's first row: nothing else may share its topic."""
        owner = next((name for name, other in self.states.items() if other.topic == topic and name != table), None)
        if owner is not None and self.states[owner].key is not None:
            hint = "rename one of the tables: topic names keep letters, digits, dot, dash and underscore only"
            self.stop(table, topic, f"shares topic {topic} with {owner}", hint)
        elif owner is not None and state is None:
            self.states[table] = self.states.pop(owner)  # was known by its topic's name only
        else:
            self.states[table] = replace(state, topic=topic) if state is not None else TableState(topic)
        if not has_plain_name(table):
            self.stop(table, topic, *name_refusal(table))
        return self.states[table]

    def _keyless(self, row: Row, state: TableState) -> list[Change | Truncate]:
        if row.op == "t":
            return [Truncate(row.table, state.topic)]
        if row.reason:
            self._reject(row, "")
            self.spoiled(row.table, f"a record's key could not be read: {row.reason}")
            return []
        hint = f"ALTER TABLE {row.table} ADD PRIMARY KEY (…), or leave it out of `tables:`"
        self.refuse(row.table, state.topic, NO_KEY, hint)
        return []

    def _pin(self, row: Row, state: TableState, out: list[Change | Truncate]) -> str:
        """The row's key in the pinned order of columns; another set of columns empties the table (rule S9)."""
        key = str(row.key)
        if state.key is None:
            self.states[row.table] = replace(state, key=row.columns)
            return key
        if sorted(state.key) == sorted(row.columns):
            return keys.reordered(key, row.columns, state.key)
        out.append(Truncate(row.table, state.topic))
        self.states[row.table] = replace(state, key=row.columns, holes={})
        self.spoiled(row.table, "its key columns changed")
        return key

    def _change(self, row: Row, key: str, position: int) -> Change | None:
        topic, partition = row.partition
        state = self.states[row.table]
        if row.kind is Kind.UNREADABLE:
            self._reject(row, key)
            return Change(row.table, topic, "UNREADABLE", key, 0, b"", partition, row.offset)
        if row.op == "d" or row.kind is Kind.TOMBSTONE:
            self._fill(row.table, key)
            return Change(row.table, topic, "DELETE", key, 0, b"", partition, row.offset)
        if row.held:
            self._hold(row, key, state, position)
            return None
        if state.holes:
            self._fill(row.table, key)
        return _new_change(Change, (row.table, topic, "UPSERT", key, row.schema, row.row, partition, row.offset))

    def _hold(self, row: Row, key: str, state: TableState, position: int) -> None:
        if self._toast != "reread":
            self.refuse(row.table, state.topic, *toast_refusal(row.table))
            return
        holes = {**state.holes}
        holes.setdefault(key, position)
        self.states[row.table] = replace(state, holes=holes)

    def _fill(self, table: str, key: str) -> None:
        state = self.states[table]
        if key in state.holes:
            self.states[table] = replace(state, holes={k: p for k, p in state.holes.items() if k != key})

    def _reject(self, row: Row, key: str) -> None:
        self._rejected.append(Rejected(row.table, key, row.partition, row.offset, row.reason))


def toast_refusal(table: str) -> tuple[str, str]:
    """Reason and hint for a table whose unchanged long values do not arrive (rule S10)."""
    return (
        "has columns that Postgres may store out of line (TOAST) and does not send unchanged",
        f"ALTER TABLE {table} REPLICA IDENTITY FULL, or set `toast: reread`",
    )


def name_refusal(table: str) -> tuple[str, str]:
    """Reason and hint for a table whose name cannot be part of a topic's."""
    return "has a name that no topic can have", f"rename {table}: letters, digits, dashes and underscores"


def topic_table(topic: str, prefix: str) -> str:
    """The table a topic is named after, as long as no row has said its real name."""
    return topic.removeprefix(f"{prefix}.")


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A captured table as its database describes it."""

    table: str
    key: tuple[str, ...]
    identity: Literal["default", "nothing", "full", "index"]
    toastable: tuple[str, ...]  # columns outside the key that may be stored out of line
    odd_names: tuple[str, ...] = ()  # columns whose names Avro cannot hold


def has_plain_name(table: str) -> bool:
    """Whether `schema.table` can be part of a topic's name as it is, and be read back."""
    return _PLAIN_NAME.match(table) is not None


def refusal(facts: TableFacts, toast: str) -> tuple[str, str] | None:
    """Why a table cannot be taken and what mends it; None where it can."""
    if not has_plain_name(facts.table):
        return name_refusal(facts.table)
    if not facts.key:
        return NO_KEY, f"ALTER TABLE {facts.table} ADD PRIMARY KEY (…), or leave it out of `tables:`"
    if facts.identity == "nothing":
        return "has REPLICA IDENTITY NOTHING", f"ALTER TABLE {facts.table} REPLICA IDENTITY FULL"
    if facts.odd_names:
        names = ", ".join(facts.odd_names)
        return f"has columns whose names Avro cannot hold: {names}", "rename them: letters, digits and underscores"
    if facts.toastable and facts.identity != "full" and toast != "reread":
        return toast_refusal(facts.table)
    return None
