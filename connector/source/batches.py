"""Changes → batches of the change log (rule S8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from connector.position import Position
from connector.source.markers import Marker
from connector.source.records import Change, Row, Truncate

MAX_ROWS = 500
MAX_BYTES = 512 * 1024
BETWEEN = 0.030  # seconds from one Kafka transaction to the next: each costs the broker some 6 ms of CPU
_OVERHEAD = 16  # Avro bytes of a change beside key and row


@dataclass(frozen=True, slots=True)
class Batch:
    """One record of the change log, and the markers among its changes."""

    position: Position
    boundary: bool
    committed_at: int
    rows: int  # rows in the change log up to and including this batch
    changes: tuple[Change, ...]
    truncate: Truncate | None = None
    markers: tuple[Marker, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """As `schemas/syncline.Batch.avsc` says."""
        tables: dict[tuple[str, str], int] = {}
        changes = []
        for table, topic, op, key, schema, row, partition, offset in self.changes:
            index = tables.setdefault((table, topic), len(tables))
            changes.append(
                {
                    "table": index,
                    "op": op,
                    "key": key,
                    "schema": schema,
                    "row": row,
                    "partition": partition,
                    "offset": offset,
                }
            )
        return {
            "position": self.position,
            "boundary": self.boundary,
            "committed_at": self.committed_at,
            "rows": self.rows,
            "truncate": None if self.truncate is None else self.truncate.table,
            "tables": [{"table": table, "topic": topic} for table, topic in tables],
            "changes": changes,
        }


class Batcher:
    """Gathers changes until a batch is full; numbers the batches from the position after `position`."""

    def __init__(self, position: Position, rows: int) -> None:
        self.position = position
        self.rows = rows
        self._changes: list[Change] = []
        self._markers: list[Marker] = []
        self._bytes = 0
        self._committed_at = 0

    def __len__(self) -> int:
        return len(self._changes) + len(self._markers)

    def fits(self, row: Row) -> bool:
        """Whether the batch must not be closed before the change that this row becomes."""
        return len(self) < MAX_ROWS and self._bytes + row.size <= MAX_BYTES

    def room(self, rows: int) -> bool:
        """Whether so many more rows fit, as far as their number goes."""
        return not self._changes or len(self._changes) + rows <= MAX_ROWS

    def add(self, change: Change, committed_at: int) -> None:
        self._changes.append(change)
        self._bytes += _size(change)
        self._committed_at = max(self._committed_at, committed_at)

    def mark(self, marker: Marker) -> None:
        """A marker at this place of the order: where nothing else comes, the batch is empty of changes."""
        self._markers.append(marker)
        self._committed_at = max(self._committed_at, marker.at)

    def close(self, *, boundary: bool) -> Batch:
        """The batch so far."""
        self.position = Position(self.position + 1)
        self.rows += len(self._changes)
        changes, found = tuple(self._changes), tuple(self._markers)
        batch = Batch(self.position, boundary, self._committed_at, self.rows, changes, markers=found)
        self._changes, self._markers, self._bytes, self._committed_at = [], [], 0, 0
        return batch

    def truncate(self, table: Truncate, committed_at: int, *, boundary: bool) -> Batch:
        """A truncate is a batch alone."""
        self.position = Position(self.position + 1)
        return Batch(self.position, boundary, committed_at, self.rows, (), table)


def due_in(now: float, wrote: float) -> float:
    """Seconds until a batch that could be written is, where the last Kafka transaction ended at `wrote`: source
    transactions that follow closely share one, and one that comes alone waits for nothing."""
    return max(0.0, wrote + BETWEEN - now)


def _size(change: Change) -> int:
    return len(change.row) + len(change.key) + _OVERHEAD
