"""Sequences of deploys: what is kept at each step, at least what the reference keeps.

Parts are compared per stream and kind, and by the tables that must be read again, since both number them as they like.
Keeping more is right (powersync.md 5.6: what the reference rebuilds without need), as long as equal plans are equal.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from connector.definitions.check import check
from connector.definitions.model import SyncConfig
from connector.deploy.diff import Deployed, PartChange, diff
from tests.conformance.cases import Case

_KINDS = {"bucket_data": "bucket", "parameter_lookup": "index"}


def compare(case: Case) -> tuple[Any, Any]:
    """Expected and got as equal values where nothing is missing."""
    active: list[Deployed] = []
    expected: list[Any] = []
    got: list[Any] = []
    for number, step in enumerate(case["steps"]):
        checked = check(step["definition_yaml"])
        if checked.config is None:
            return expected, [*got, [one.report() for one in checked.diagnostics]]
        changes = diff(active, checked.config)
        missing = _missing(step, changes)
        expected.append({"step": number, "not kept": [], "read again without need": []})
        got.append({"step": number, "not kept": missing, "read again without need": _needless(step, changes)})
        active = _deployed(active, checked.config, changes)
    return expected, got


def _missing(step: dict[str, Any], changes: tuple[PartChange, ...]) -> list[Any]:
    """The reference's reused parts that are not among the unchanged ones, by kind and stream."""
    kept = Counter(_name(change.part.kind, change.part.definition) for change in changes if change.kind == "unchanged")
    wanted = Counter(_name(_KINDS[one["type"]], one["name"].rpartition("|")[0]) for one in step.get("reused", ()))
    return sorted((wanted - kept).elements())


def _name(kind: str, definition: str) -> tuple[str, str]:
    """The reference's parameter indexes have numbers only."""
    return (kind, definition if kind == "bucket" else "")


def _needless(step: dict[str, Any], changes: tuple[PartChange, ...]) -> list[str]:
    if "tables_to_snapshot" not in step:  # the reference starts from nothing
        return []
    tables = {table for change in changes if change.kind == "new" for table in change.part.tables}  # type: ignore[union-attr]
    return sorted(tables - {_qualified(table) for table in step["tables_to_snapshot"]})


def _qualified(table: str) -> str:
    return table if "." in table else f"public.{table}"


def _deployed(active: list[Deployed], config: SyncConfig, changes: tuple[PartChange, ...]) -> list[Deployed]:
    """The parts after the step, fully activated: kept ones under their versions, new ones under higher ones."""
    last = max((one.version for one in active), default=0)
    parts = []
    for change in changes:
        if change.kind == "removed":
            continue
        last += change.version is None
        part = change.part
        version = last if change.version is None else change.version
        parts.append(Deployed(version, part.kind, part.definition, part.label, part.canonical, config.evaluation))
    return parts
