"""What a deploy would do, as a value: `syncline plan` prints it, `syncline deploy` asks for it (style.md 1)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.definitions.model import Part, SyncConfig
from connector.definitions.patterns import expanded, reads
from connector.deploy.costs import PartReplay, SourceRead, TableSize
from connector.deploy.diff import Deployed, PartChange, diff
from connector.deploy.downloads import Download, downloads, replaced
from connector.deploy.rates import Rate
from connector.merge.pending import PLACES, REPLAY_PATIENCE_MS
from connector.sync.connected import Connected

GUESSED = Rate()
REPLAYED = ("new", "reevaluated")  # kinds of change that read the snapshot topics


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
    adopted: tuple[TableSize, ...] = ()  # what is left of replays that it takes over from a pending deploy
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
    def adopted_rows(self) -> int:
        return sum(size.rows for size in self.adopted)

    @property
    def seconds(self) -> float:
        """Of all replays, which share the machine."""
        return (self.rows + self.adopted_rows) / self.rate.rows_per_second

    @property
    def awaited(self) -> list[SourceRead]:
        """The reads from the database without which the deploy is not complete (rule D3)."""
        kinds = (*REPLAYED, "adopted")
        parts = [c.part for c in self.changes if c.kind in kinds and isinstance(c.part, Part)]
        return [read for read in self.reads if any(reads(part.tables, read.table) for part in parts)]

    @property
    def source_seconds(self) -> float | None:
        """Of the reads that it waits for; None: for none."""
        return sum(read.seconds for read in self.awaited) if self.awaited else None

    @property
    def active_in(self) -> float:
        """Seconds from the request to the switch."""
        if not (self.replays or self.adopted or self.awaited):
            return 0.0
        return self.rate.besides + self.seconds + (self.source_seconds or 0.0)

    @property
    def own_seconds(self) -> float:
        """Of the replay that it begins if nothing disturbs it, beside others as fast (rule D2), whose clocks run
        already."""
        return (self.rows + min(self.adopted_rows, (PLACES - 1) * self.rows)) / self.rate.best

    @property
    def too_long(self) -> bool:
        """Compaction could overtake the replay that it begins."""
        return self.own_seconds > self.longest

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
        source = [read for read in self.reads if reads(change.part.tables, read.table)]
        rows = sum(size.rows for size in sizes)
        return PartReplay(
            rows + sum(read.left for read in source),
            sum(size.bytes for size in sizes) + sum(read.bytes_left for read in source),
            rows / self.rate.rows_per_second + sum(read.seconds for read in source),
        )

    def estimate(self) -> dict[str, Any]:
        """What the request carries, to be seen beside what really happened."""
        return {
            "rows": self.rows,
            "bytes": self.bytes,
            "adopted_rows": self.adopted_rows,
            "rows_per_second": round(self.rate.rows_per_second),
            "seconds": round(self.seconds, 1),
            "source_seconds": round(self.source_seconds, 1) if self.source_seconds is not None else None,
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
            "source": [
                {"table": r.table, "rows": r.rows, "bytes": r.bytes, "left": r.left, "new": r.new} for r in self.reads
            ],
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
    adopted: Sequence[TableSize] = (),
    clients: Connected | None = None,
) -> Plan:
    """Compare `wanted` with the parts in force.

    `sizes` are of all tables that a replay reads, `adopted` of what is left to replays of a pending deploy; `counts`:
    version → (buckets, rows) as last committed; `clients` None where no node tells of any.
    """
    changes = diff(active, wanted, pending=pending, retained=retained)
    tables = expanded(replayed_tables(changes), sizes)
    new = {read.table for read in reads if read.new} - sizes.keys()  # all of it comes with the change log
    again = tuple(downloads(changes, counts, clients))
    gone = replaced(changes, {download.definition for download in again})
    return Plan(
        base=base,
        changes=changes,
        replays=tuple(sizes.get(table, TableSize(table, 0, 0)) for table in tables if table not in new),
        downloads=again,
        rate=rate.limited(max_rate),
        same=same,
        supersedes=supersedes if supersedes != follows else 0,
        follows=follows,
        max_rate=max_rate,
        lag_ms=lag_ms,
        adopted=tuple(adopted),
        reads=tuple(reads),
        connected=clients.clients if clients is not None else 0,
        affected=clients.having(gone) if clients is not None and gone else None,
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
