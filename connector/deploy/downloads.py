"""What clients download again, and how many of them: buckets whose part was replaced or comes back. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from connector.deploy.diff import PartChange
from connector.sync.connected import Connected


@dataclass(frozen=True, slots=True)
class Download:
    """Buckets that clients download again because their part was replaced.

    `clients` that are connected have buckets of the definition's replaced parts; None: nobody can say.
    """

    definition: str
    buckets: int
    rows: int
    clients: int | None = None


def replaced(changes: Sequence[PartChange], definitions: Collection[str]) -> set[int]:
    """The bucket versions of these definitions that clients lose for others."""
    return {
        c.version
        for c in changes
        if c.kind == "removed" and c.part.kind == "bucket" and c.version and c.part.definition in definitions
    }


def downloads(
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
    versions = replaced(changes, {definition})
    return clients.having(versions) if clients is not None and versions else None
