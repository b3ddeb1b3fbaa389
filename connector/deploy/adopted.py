"""What is left of the replays that a pending deploy has begun and a later one takes over (rule D2). Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from connector.definitions.patterns import expanded
from connector.deploy.catalog import Catalog, Tributary
from connector.deploy.diff import PartChange

Record = Mapping[str, Any]
Share = tuple[str, float]  # a table, and what of its snapshot topic is still to be taken


def adopted_shares(
    catalog: Catalog, changes: Iterable[PartChange], commit: Record | None, known: Collection[str]
) -> list[Share]:
    """Of each replay with an adopted version: it goes on over all of its tables, whichever of its versions are wanted.

    `known` are the tables that wildcards can mean, `commit` is the newest Commit.
    """
    wanted = {change.version for change in changes if change.kind == "adopted"}
    adopted = (t for t in catalog.tributaries if wanted.intersection(t.versions) and t.head is None)
    return [share for t in adopted for share in (_left(t, commit) if t.bounded else _all(catalog, t, known))]


def _all(catalog: Catalog, tributary: Tributary, known: Collection[str]) -> list[Share]:
    patterns = {pattern for v in catalog.versions if v.version in tributary.versions for pattern in v.tables}
    return [(table, 1.0) for table in expanded(patterns, known)]


def _left(tributary: Tributary, commit: Record | None) -> list[Share]:
    states = [s for s in commit["streams"] if s["stream"] == tributary.name] if commit else []
    taken = {(p["table"], p["partition"]): p for s in states for p in s["partitions"]}
    ends: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for end in tributary.ends:
        done = taken.get((end.table, end.partition), {"taken": 0, "done": False})
        ends[end.table] += end.end
        left[end.table] += 0 if done["done"] else max(0, end.end - done["taken"])
    return [(table, left[table] / offsets) for table, offsets in ends.items() if offsets]
