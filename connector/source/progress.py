"""The sequencer's progress ↔ the JSON in its progress record (rule S2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from connector.errors import SourceRefused
from connector.source.lane import LaneState
from connector.source.order import Counters, OrderState
from connector.source.tables import TableState

FORMAT = 2
FORMER = (1,)  # formats that are read too: what they lack has a default


@dataclass(frozen=True, slots=True)
class Progress:
    """All that a restart of the sequencer needs, as of the last committed batch."""

    position: int = 0
    change_offset: int = 0
    rows: int = 0
    order: OrderState = field(default_factory=OrderState)
    tables: Mapping[str, TableState] = field(default_factory=dict)
    topics: Mapping[str, str] = field(default_factory=dict)  # CDC topic → its id
    counters: Counters = field(default_factory=Counters)
    rejected: int = 0
    waiting: str | None = None  # what an open transaction waits for, in words (rule S5)
    reads: Mapping[str, str] = field(default_factory=dict)  # table to be read whole → how it goes, in words (rule D3)

    def as_record(self) -> dict[str, Any]:
        """As `schemas/syncline.Progress.avsc` says."""
        return {
            "position": self.position,
            "change_offset": self.change_offset,
            "rows": self.rows,
            "state": orjson.dumps(_state(self)).decode(),
        }


def from_record(record: Mapping[str, Any]) -> Progress:
    """The progress in a decoded record. Raises SourceRefused where a newer release wrote it."""
    state = orjson.loads(record["state"])
    if state["format"] not in (FORMAT, *FORMER):
        raise SourceRefused(
            f"progress record has format {state['format']}, this release reads {FORMAT}", hint="upgrade Syncline"
        )
    return Progress(
        position=record["position"],
        change_offset=record["change_offset"],
        rows=record["rows"],
        order=_order(state["order"]),
        tables={name: _table(table) for name, table in state["tables"].items()},
        topics=state["topics"],
        counters=Counters(**state["counters"]),
        rejected=state["rejected"],
        waiting=state["waiting"],
        reads=state.get("reads", {}),
    )


def table_completeness(record: Mapping[str, Any]) -> dict[str, int | None]:
    """Per table of a decoded progress record the position from which on it is complete; None: not yet (rule D3).

    Refused tables are left out: nothing of them passes, whether somebody waits or not.
    """
    tables = orjson.loads(record["state"])["tables"]
    return {
        name: None if table["holes"] else table["complete"]
        for name, table in tables.items()
        if table["refused"] is None
    }


def refused_tables(record: Mapping[str, Any]) -> dict[str, tuple[str, str | None]]:
    """Reason and hint per refused table of a decoded progress record."""
    tables = orjson.loads(record["state"])["tables"]
    return {name: (table["refused"], table["hint"]) for name, table in tables.items() if table["refused"] is not None}


def known_tables(record: Mapping[str, Any]) -> list[str]:
    """The tables of a decoded progress record: every one that had a row up to its position is among them."""
    return list(orjson.loads(record["state"])["tables"])


def truncates(record: Mapping[str, Any]) -> dict[str, int]:
    """Per table of a decoded progress record the position of its last truncate; 0: never."""
    tables = orjson.loads(record["state"])["tables"]
    return {name: table["truncated"] for name, table in tables.items()}


def _state(progress: Progress) -> dict[str, Any]:
    order = progress.order
    topics: dict[str, dict[str, list[Any]]] = {}
    for (topic, partition), lane in order.lanes.items():
        topics.setdefault(topic, {})[str(partition)] = list(lane)
    counters = progress.counters
    return {
        "format": FORMAT,
        "order": {
            "end_next": order.end_next,
            "closed": order.closed,
            "closed_at": order.closed_at,
            "open": order.open,
            "events": order.events,
            "releases": order.releases,
            "first_end": order.first_end,
            "trimmed": order.trimmed,
            "lanes": topics,
            "begun": dict(order.begun),
            "truncated": dict(order.truncated),
            "given_up": order.given_up,
        },
        "tables": {name: _table_state(table) for name, table in progress.tables.items()},
        "topics": dict(progress.topics),
        "counters": {name: getattr(counters, name) for name in counters.__dataclass_fields__},
        "rejected": progress.rejected,
        "waiting": progress.waiting,
        "reads": dict(progress.reads),
    }


def _order(state: dict[str, Any]) -> OrderState:
    lanes = {
        (topic, int(partition)): _lane(lane)
        for topic, partitions in state["lanes"].items()
        for partition, lane in partitions.items()
    }
    opened = None if state["open"] is None else tuple(state["open"])
    return OrderState(**(state | {"lanes": lanes, "open": opened, "given_up": tuple(state.get("given_up", ()))}))


def _lane(state: list[Any]) -> LaneState:
    lane = LaneState(*state)  # one of before `lsn` and `entry` were kept is shorter
    return lane._replace(unreadable=tuple(lane.unreadable), entry=tuple(lane.entry))


def _table_state(table: TableState) -> dict[str, Any]:
    return {name: getattr(table, name) for name in TableState.__dataclass_fields__}


def _table(state: dict[str, Any]) -> TableState:
    key = state["key"]
    return TableState(**(state | {"key": None if key is None else tuple((name, kind) for name, kind in key)}))
