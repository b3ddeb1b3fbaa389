"""From where on change log and requests are needed, and what is let go where the log grows too long (rule M5)."""

from __future__ import annotations

from dataclasses import dataclass

from connector.merge.catalog import MAIN, Catalog
from connector.merge.endings import idle, released
from connector.merge.pending import given_another_start
from connector.merge.state import Merge, Stream, is_landing

OUTGROWN = "the change log outgrew max_change_log_bytes"
REQUESTS_KEPT = 3600.0  # seconds; commands read their answers from among the requests


@dataclass(frozen=True, slots=True)
class Answered:
    """Up to which offset the requests were answered at some moment, and up to which they were long before."""

    at: float
    offset: int
    long_since: int = 0

    def seen(self, offset: int, now: float) -> Answered:
        """It is answered up to this offset now."""
        return self if now < self.at + REQUESTS_KEPT else Answered(now, offset, long_since=self.offset)


def needed_from(state: Merge) -> int:
    """The offset of the last batch that the slowest stream has taken: from there on the log is read, or its head is."""
    return max(0, min(s.change_offset for s in _reading(state)) - 1)


def relieved(state: Merge) -> Catalog:
    """The catalog without what holds the change log back most: versions that are only kept, then a pending replay,
    which begins again at main's position. Where main is as far back nothing is won, and nothing calls a landing off."""
    slowest = min(_reading(state), key=lambda s: (s.change_offset, s.name != MAIN))
    if slowest.name == MAIN or is_landing(state.catalog):
        return state.catalog
    if kept := {v.version for v in idle(state.catalog) if v.stream == slowest.name}:
        return released(state.catalog, kept, OUTGROWN)
    tributary = state.catalog.tributary(slowest.name)
    if tributary is None or not tributary.pending:
        return state.catalog
    return given_another_start(state.catalog, tributary, OUTGROWN)


def _reading(state: Merge) -> list[Stream]:
    """The streams that read on; an aligned one is read no more."""
    done = {t.name for t in state.catalog.tributaries if t.state == "aligned"}
    return [s for s in state.streams.values() if s.name not in done]
