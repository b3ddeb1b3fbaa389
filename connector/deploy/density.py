"""How many records a compacted partition holds, told from a few looks into it.

Its offsets do not tell: those of records that compaction took, and of transaction markers, stay counted for ever. What
is there is dense in some places, as where nothing is cleaned yet, and thin in others. A look that begins in a hole
reads on to what comes after it, so that holes are measured exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

LOOK = 100  # records that one look reads
LOOKS = 20  # at most
TAIL = 2 * LOOK  # offsets: a record and a marker each, where every transaction has one row
NEAR = 0.1  # of all records: what a gap between two looks may be wrong by
UNSEEN = 0.3  # of a gap's records: what two equal looks do not tell of what is between them
THINNEST = 0.05  # records an offset that may be between two looks which see next to none


@dataclass(frozen=True, slots=True)
class Look:
    """What stands between two offsets of a partition: how many records, and the bytes of their values."""

    start: int
    end: int
    records: int
    bytes: int

    @property
    def density(self) -> float:
        return self.records / (self.end - self.start)


@dataclass(frozen=True, slots=True)
class Held:
    """What a partition holds, about."""

    records: float
    bytes: float


def next_look(low: int, high: int, looks: Sequence[Look]) -> tuple[int, int] | None:
    """Where to look next, and where that look must end; None: enough is known. `looks` in the order of offsets."""
    if not looks:
        return (low, high) if low < high else None
    if looks[-1].end < high:
        return max(looks[-1].end, high - TAIL), high
    gaps = [(before, after) for before, after in pairwise(looks) if before.end < after.start]
    if not gaps or len(looks) >= LOOKS:
        return None
    before, after = max(gaps, key=lambda gap: _doubt(*gap))
    if _doubt(before, after) <= NEAR * held(looks).records:
        return None
    return (before.end + after.start) // 2, after.start


def held(looks: Sequence[Look]) -> Held:
    """The looks, and between two of them the mean of both."""
    seen, size = sum(look.records for look in looks), sum(look.bytes for look in looks)
    between = sum((b.density + a.density) / 2 * (a.start - b.end) for b, a in pairwise(looks))
    return Held(seen + between, (seen + between) * size / seen if seen else 0.0)


def _doubt(before: Look, after: Look) -> float:
    """Records that the gap between two looks may have more or fewer than their mean says."""
    unseen = UNSEEN * max(before.density, after.density, THINNEST)
    return (after.start - before.end) * (abs(before.density - after.density) + unseen)
