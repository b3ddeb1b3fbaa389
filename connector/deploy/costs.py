"""What a deploy has to read: snapshot topics, and tables of the source that are not complete yet. Pure."""

from __future__ import annotations

from dataclasses import dataclass

# Rows/s from the database into a checkpoint, a guess: 7,600 of changes where nothing else ran (benchmarks.pipeline),
# 1,400 of an incremental snapshot beside six times as much work as the machine has processors for.
SOURCE_RATE = 5_000.0
GUESSED_ROW = 100  # bytes of a row in a table that the database has not counted


@dataclass(frozen=True, slots=True)
class TableSize:
    """What a replay reads of one table: records in its snapshot topic, at least one per row, and their bytes."""

    table: str
    rows: int
    bytes: int

    def part(self, share: float) -> TableSize:
        return TableSize(self.table, round(self.rows * share), round(self.bytes * share))


@dataclass(frozen=True, slots=True)
class PartReplay:
    """What one part has to read, from the source too; parts of one deploy that read the same table read it together."""

    rows: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SourceRead:
    """A table that is not complete yet. A new one is captured and read once, any other is being read already.

    `rows` and `bytes` are the database's own estimate, `rows` None where it has none; `arrived` is what of them is in
    the snapshot topic.
    """

    table: str
    rows: int | None
    new: bool
    bytes: int = 0
    arrived: int = 0

    @property
    def left(self) -> int:
        """Rows that are still to come, about."""
        counted = self.bytes // GUESSED_ROW if self.rows is None else self.rows
        return max(0, counted - self.arrived)

    @property
    def bytes_left(self) -> int:
        return round(self.bytes * self.left / (self.left + self.arrived)) if self.left else 0

    @property
    def seconds(self) -> float:
        return self.left / SOURCE_RATE
