"""A request, the moment of its decision, and what comes of it (rule D1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connector.merge.catalog import Catalog

Request = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Moment:
    """Where the merge stands: its clock in ms, and the versions that are taken as far as main is."""

    now: int
    standing: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer (accepted, unchanged, stale, expired, differs, refused) and the catalog that follows from it."""

    outcome: str
    reason: str
    generation: int
    catalog: Catalog

    def answer(self, request: Request) -> dict[str, Any]:
        """As an Answer record."""
        return {
            "id": request["id"],
            "outcome": self.outcome,
            "reason": self.reason,
            "generation": self.generation,
        }


def refused(catalog: Catalog, reason: str) -> Decision:
    """The catalog stays as it is."""
    return Decision("refused", reason, catalog.generation, catalog)
