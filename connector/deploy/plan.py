"""What a deploy would do, as a value: `syncline plan` prints it, `syncline deploy` asks for it (style.md 1)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.definitions import Part, SyncConfig
from connector.definitions.patterns import expanded, reads
from connector.deploy.diff import Deployed, PartChange, diff
from connector.deploy.rates import Rate

GUESSED = Rate()
REPLAYED = ("new", "reevaluated")  # kinds of change that read the snapshot topics
LONGEST_REPLAY = 300.0  # seconds: half of the snapshot topics' min.compaction.lag.ms (rule T7)


@dataclass(frozen=True, slots=True)
class TableSize:
    """What a replay reads of one table: records in its snapshot topic (at least one per row) and their bytes."""

    table: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class PartReplay:
    """What the replay of one part reads; parts of one deploy that read the same table read it together."""

    rows: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Download:
    """Buckets that clients download again because their part was replaced."""

    definition: str
    buckets: int
    rows: int


@dataclass(frozen=True, slots=True)
class SourceRead:
    """A table that is not complete yet. A new one is captured and read once, any other is being read already.

    `rows` is Postgres' own estimate, None where it has none.
    """

    table: str
    rows: int | None
    new: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """A deploy before it happens. `base` is the active generation (0: none); `supersedes` is the
    generation of the pending deploy that it takes the place of, `follows` of the one that has all of it (0: none)."""

    base: int
    changes: tuple[PartChange, ...]
    replays: tuple[TableSize, ...]
    downloads: tuple[Download, ...]
    rate: Rate
    same_text: bool
    supersedes: int = 0
    follows: int = 0
    max_rate: int = 0  # rows/s; 0: no limit
    reads: tuple[SourceRead, ...] = ()

    @property
    def nothing_to_do(self) -> bool:
        """True where the config's text is deployed already and no other one is on its way."""
        kept = all(change.kind == "unchanged" for change in self.changes)
        return self.same_text and not (self.supersedes or self.follows) and kept and not self.captures

    @property
    def captures(self) -> list[str]:
        """The tables that the connector does not capture yet."""
        return [read.table for read in self.reads if read.new]

    @property
    def rows(self) -> int:
        return sum(size.rows for size in self.replays)

    @property
    def bytes(self) -> int:
        return sum(size.bytes for size in self.replays)

    @property
    def seconds(self) -> float:
        """Of the replay."""
        return self.rows / self.rate.rows_per_second

    @property
    def active_in(self) -> float:
        """Seconds from the request to the switch."""
        return self.rate.besides + self.seconds if self.replays else 0.0

    @property
    def limited(self) -> bool:
        """The rate is the one that was asked for."""
        return bool(self.max_rate) and self.rate.rows_per_second == self.max_rate

    def replay_of(self, change: PartChange) -> PartReplay | None:
        """None where the part is not replayed."""
        if change.kind not in REPLAYED or not isinstance(change.part, Part):
            return None
        sizes = [size for size in self.replays if reads(change.part.tables, size.table)]
        rows = sum(size.rows for size in sizes)
        return PartReplay(rows, sum(size.bytes for size in sizes), rows / self.rate.rows_per_second)

    def estimate(self) -> dict[str, Any]:
        """What the request carries, to be seen beside what really happened."""
        return {
            "rows": self.rows,
            "bytes": self.bytes,
            "rows_per_second": round(self.rate.rows_per_second),
            "seconds": round(self.seconds, 1),
            "active_in_seconds": round(self.active_in, 1),
            "max_rate": self.max_rate,
        }

    def as_json(self) -> dict[str, Any]:
        """The stable object that `--json` prints."""
        return {
            "base": self.base,
            "changes": not self.nothing_to_do,
            "supersedes": self.supersedes or None,
            "follows": self.follows or None,
            "parts": [self._part_json(change) for change in self.changes],
            "replay": {
                "tables": [{"table": s.table, "rows": s.rows, "bytes": s.bytes} for s in self.replays],
                **self.estimate(),
                "measured": self.rate.measured,
            },
            "source": [{"table": r.table, "rows": r.rows, "new": r.new} for r in self.reads],
            "downloads": [
                {"definition": d.definition, "buckets": d.buckets, "rows": d.rows, "clients": None}
                for d in self.downloads
            ],
        }

    def _part_json(self, change: PartChange) -> dict[str, Any]:
        replay = self.replay_of(change)
        told = {"rows": replay.rows, "bytes": replay.bytes, "seconds": round(replay.seconds, 1)} if replay else None
        return {
            "definition": change.part.definition,
            "part": change.part.label,
            "kind": change.part.kind,
            "change": change.kind,
            "version": change.version,
            "reason": change.reason,
            "replay": told,
        }


def make_plan(
    wanted: SyncConfig,
    *,
    active: Sequence[Deployed],
    base: int,
    same_text: bool,
    sizes: Mapping[str, TableSize],
    counts: Mapping[int, tuple[int, int]],
    pending: Sequence[Deployed] = (),
    retained: Sequence[Deployed] = (),
    supersedes: int = 0,
    follows: int = 0,
    reads: Sequence[SourceRead] = (),
    rate: Rate = GUESSED,
    max_rate: int = 0,
) -> Plan:
    """Compare `wanted` with the parts in force.

    `sizes` are of all tables that a replay reads; `counts`: version → (buckets, rows) as last committed.
    """
    changes = diff(active, wanted, pending=pending, retained=retained)
    tables = expanded(replayed_tables(changes), sizes)
    return Plan(
        base=base,
        changes=changes,
        replays=tuple(sizes.get(table, TableSize(table, 0, 0)) for table in tables),
        downloads=tuple(_downloads(changes, counts)),
        rate=rate.limited(max_rate),
        same_text=same_text,
        supersedes=supersedes if supersedes != follows else 0,
        follows=follows,
        max_rate=max_rate,
        reads=tuple(reads),
    )


def replayed_tables(changes: Sequence[PartChange]) -> set[str]:
    """The patterns of the tables that a replay reads."""
    new = [change.part for change in changes if change.kind in REPLAYED and isinstance(change.part, Part)]
    return {pattern for part in new for pattern in part.tables}


def planned(changes: Sequence[PartChange]) -> str:
    """The plan as the request carries it; the merge's own diff must give the same text (rule D1)."""
    return json.dumps([[c.part.kind, c.part.definition, c.part.label, c.kind, c.version] for c in changes])


def _downloads(changes: Sequence[PartChange], counts: Mapping[int, tuple[int, int]]) -> list[Download]:
    renewed = {c.part.definition for c in changes if c.kind in ("new", "adopted") and c.part.kind == "bucket"}
    replaced = [
        (c.part.definition, counts.get(c.version or 0, (0, 0)))
        for c in changes
        if c.kind == "removed" and c.part.kind == "bucket" and c.part.definition in renewed
    ]
    back = [
        (c.part.definition, counts.get(c.version or 0, (0, 0)))
        for c in changes
        if c.kind == "restored" and c.part.kind == "bucket"
    ]
    return [Download(definition, buckets, rows) for definition, (buckets, rows) in replaced + back]
