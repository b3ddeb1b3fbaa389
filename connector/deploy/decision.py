"""A request, the moment of its decision, and what comes of it (rule D1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connector.definitions.model import Checked
from connector.merge.catalog import Catalog

Request = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Moment:
    """Where the merge stands: its clock in ms, the versions that are taken as far as main is, and what was found in the
    request's config, where that is parsed already."""

    now: int
    standing: frozenset[int] = frozenset()
    checked: Checked | None = None


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


def arrived(request: Request, at: int) -> Request:
    """The request with the time that it was given counted from when the broker had it, in ms of the broker's clock: the
    asker's decides nothing (rule D1)."""
    if not request["expires_at"]:
        return request
    return {**request, "requested_at": at, "expires_at": at + request["expires_at"] - request["requested_at"]}


def expired(request: Request, now: int) -> str:
    """Why it is too late for the request; empty where it is not. What a replay asks for never expires: nobody has
    given up on it, and asked twice it is the same."""
    if request["kind"] in ("bounds", "head") or not request["expires_at"] or now <= request["expires_at"]:
        return ""
    age, given = now - request["requested_at"], request["expires_at"] - request["requested_at"]
    return f"the broker had it {age / 1000:.1f} s ago by the merge's clock, and it was given {given / 1000:.1f} s"


def refused(catalog: Catalog, reason: str) -> Decision:
    """The catalog stays as it is."""
    return Decision("refused", reason, catalog.generation, catalog)
