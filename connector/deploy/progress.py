"""How far a pending deployment is: per part rows taken and left, rate, time left, and what it waits for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connector.definitions.patterns import reads
from connector.deploy.catalog import Catalog, Deployment, Tributary

Record = Mapping[str, Any]


def progress(deployment: Deployment, catalog: Catalog, commit: Record | None) -> dict[str, Any]:
    """As `status --json` has it under `pending`. `commit` is the newest Commit."""
    tributaries = [t for t in catalog.tributaries if t.generation == deployment.generation]
    waits = commit.get("waits", ()) if commit else ()
    return {
        "generation": deployment.generation,
        "kind": deployment.kind,
        "state": deployment.state,
        "replay": replay(tributaries, commit),
        "parts": _parts(deployment, catalog, tributaries, commit),
        "waits": [w["reason"] for w in waits if w["generation"] == deployment.generation] or _comparing(deployment),
    }


def _comparing(deployment: Deployment) -> list[str]:
    return ["the command that asked for it compares"] if deployment.state == "aligned" else []


def replay(tributaries: Sequence[Tributary], commit: Record | None) -> dict[str, Any]:
    """All replays of a deployment together: `of` is None until all of their ends are known, `target` until the last
    scan is done."""
    taken = sum(p["taken"] for t in tributaries for p in _taken(t, commit))
    bounded = all(t.bounded for t in tributaries)
    total = sum(end.end for t in tributaries for end in t.ends) if bounded else None
    heads = [t.head for t in tributaries]
    positions = [s["position"] for s in _states(tributaries, commit)]
    rate = _rate(tributaries, commit)
    return {
        "rows": taken,
        "of": total,
        "rows_per_second": rate,
        "seconds_left": round((total - taken) / rate, 1) if rate and total is not None and taken < total else None,
        "position": min(positions, default=0),
        "target": max((h for h in heads if h is not None), default=None) if None not in heads else None,
    }


def _parts(
    deployment: Deployment, catalog: Catalog, tributaries: Sequence[Tributary], commit: Record | None
) -> list[dict[str, Any]]:
    streams = {version: t for t in tributaries for version in t.versions}
    found = []
    for definition in deployment.definitions:
        for part in definition.parts:
            version, tributary = catalog.version(part.version), streams.get(part.version)
            if version is None or tributary is None:
                continue
            own = [end for end in tributary.ends if reads(version.tables, end.table)]
            done = [p for p in _taken(tributary, commit) if reads(version.tables, p["table"])]
            found.append(
                {"definition": definition.name, "part": part.label, "version": part.version, "state": tributary.state}
                | {"rows": sum(p["taken"] for p in done)}
                | {"of": sum(end.end for end in own) if tributary.bounded else None}
            )
    return found


def _states(tributaries: Sequence[Tributary], commit: Record | None) -> list[Record]:
    names = {t.name for t in tributaries}
    return [s for s in commit["streams"] if s["stream"] in names] if commit else []


def _taken(tributary: Tributary, commit: Record | None) -> list[Record]:
    return [p for s in _states([tributary], commit) for p in s["partitions"]]


def _rate(tributaries: Sequence[Tributary], commit: Record | None) -> int | None:
    """Rows/s of the replays that are under way, since their ends were captured."""
    running = [t for t in tributaries if t.bounded_at and not t.replayed_at]
    if commit is None or not running:
        return None
    ms = commit["written_at"] - min(t.bounded_at for t in running)
    rows = sum(p["taken"] for t in running for p in _taken(t, commit))
    return round(rows / ms * 1000) if ms > 0 and rows else None
