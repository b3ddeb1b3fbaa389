"""What a deploy would do, as a value: `syncline plan` prints it, `syncline deploy` asks for it (style.md 1)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.definitions import Part, SyncConfig
from connector.definitions.patterns import expanded, reads
from connector.deploy.diff import Deployed, PartChange, diff
from connector.deploy.rates import Rate
from connector.merge.pending import REPLAY_PATIENCE_MS
from connector.sync.connected import Connected

GUESSED = Rate()
REPLAYED = ("new", "reevaluated")  # kinds of change that read the snapshot topics


@dataclass(frozen=True, slots=True)
class TableSize:
    """What a replay reads of one table: records in its snapshot topic, at least one per row, and their bytes."""

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
    """Buckets that clients download again because their part was replaced.

    `clients` that are connected have buckets of the definition's replaced parts; None: nobody can say.
    """

    definition: str
    buckets: int
    rows: int
    clients: int | None = None


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
    same: bool  # the active deployment has all of it
    supersedes: int = 0
    follows: int = 0
    max_rate: int = 0  # rows/s; 0: no limit
    lag_ms: int = REPLAY_PATIENCE_MS  # how long a replay may take before compaction overtakes it
    reads: tuple[SourceRead, ...] = ()
    connected: int = 0  # clients, as far as is known
    affected: int | None = None  # those of them that download something again; None: nobody can say

    @property
    def nothing_to_do(self) -> bool:
        """True where all of it is deployed already, by whatever text, and no other deploy is on its way."""
        return self.same and not (self.supersedes or self.follows or self.captures)

    @property
    def pending(self) -> int:
        """The generation of the deploy that is pending; 0: none."""
        return self.supersedes or self.follows

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
    def longest(self) -> float:
        """Seconds that the replay may be estimated to take: half of what it may take (rule T7)."""
        return self.lag_ms / 2000

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
                {"definition": d.definition, "buckets": d.buckets, "rows": d.rows, "clients": d.clients}
                for d in self.downloads
            ],
            "clients": {"connected": self.connected, "download_again": self.affected}
            if self.affected is not None
            else None,
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
    same: bool,
    sizes: Mapping[str, TableSize],
    counts: Mapping[int, tuple[int, int]],
    pending: Sequence[Deployed] = (),
    retained: Sequence[Deployed] = (),
    supersedes: int = 0,
    follows: int = 0,
    reads: Sequence[SourceRead] = (),
    rate: Rate = GUESSED,
    max_rate: int = 0,
    lag_ms: int = REPLAY_PATIENCE_MS,
    clients: Connected | None = None,
) -> Plan:
    """Compare `wanted` with the parts in force.

    `sizes` are of all tables that a replay reads; `counts`: version → (buckets, rows) as last committed; `clients`
    None where no node tells of any.
    """
    changes = diff(active, wanted, pending=pending, retained=retained)
    tables = expanded(replayed_tables(changes), sizes)
    downloads = tuple(_downloads(changes, counts, clients))
    again = _replaced(changes, {download.definition for download in downloads})
    return Plan(
        base=base,
        changes=changes,
        replays=tuple(sizes.get(table, TableSize(table, 0, 0)) for table in tables),
        downloads=downloads,
        rate=rate.limited(max_rate),
        same=same,
        supersedes=supersedes if supersedes != follows else 0,
        follows=follows,
        max_rate=max_rate,
        lag_ms=lag_ms,
        reads=tuple(reads),
        connected=clients.clients if clients is not None else 0,
        affected=clients.having(again) if clients is not None and again else None,
    )


def replayed_tables(changes: Sequence[PartChange]) -> set[str]:
    """The patterns of the tables that a replay reads."""
    new = [change.part for change in changes if change.kind in REPLAYED and isinstance(change.part, Part)]
    return {pattern for part in new for pattern in part.tables}


def planned(changes: Sequence[PartChange]) -> str:
    """The plan as the request carries it; the merge's own diff must give the same text (rule D1)."""
    return json.dumps([[c.part.kind, c.part.definition, c.part.label, c.kind, c.version] for c in changes])


def pending_moved(then: int, now: int) -> str:
    """What was pending when a deploy was planned, and what is now; 0: nothing."""
    was, is_now = (f"generation {generation}" if generation else "no deploy" for generation in (then, now))
    return f"planned while {was} was pending, now {is_now} is pending"


def _replaced(changes: Sequence[PartChange], definitions: Collection[str]) -> set[int]:
    """The bucket versions of these definitions that clients lose for others."""
    return {
        c.version
        for c in changes
        if c.kind == "removed" and c.part.kind == "bucket" and c.version and c.part.definition in definitions
    }


def _downloads(
    changes: Sequence[PartChange], counts: Mapping[int, tuple[int, int]], clients: Connected | None
) -> list[Download]:
    renewed = {c.part.definition for c in changes if c.kind in ("new", "adopted") and c.part.kind == "bucket"}
    again = [
        c
        for kind in ("removed", "restored")
        for c in changes
        if c.kind == kind and c.part.kind == "bucket" and (kind == "restored" or c.part.definition in renewed)
    ]
    return [
        Download(c.part.definition, *counts.get(c.version or 0, (0, 0)), _clients(changes, c.part.definition, clients))
        for c in again
    ]


def _clients(changes: Sequence[PartChange], definition: str, clients: Connected | None) -> int | None:
    """Those who have buckets of what the definition's parts take the place of; whom one gets that comes back
    in nobody's place, nobody can say."""
    versions = _replaced(changes, {definition})
    return clients.having(versions) if clients is not None and versions else None
