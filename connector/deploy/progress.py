"""How far a pending deployment is: per part rows taken and left, rate, time left, and what it waits for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from connector.definitions.patterns import reads
from connector.deploy.catalog import Catalog, Deployment, Tributary, Version

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
    """Of each part that is replayed; one that is evaluated anew goes by the version whose buckets it is laid over."""
    anew = _anew(deployment, tributaries)
    evaluated = {anew.get(number, number): (t, number) for t in tributaries for number in t.versions}
    found = []
    for definition, label, number in _named(deployment, catalog, tributaries):
        tributary, shadow = evaluated.get(number, (None, number))
        version = catalog.version(shadow) or catalog.version(number)
        if version is not None and tributary is not None:
            named = {"definition": definition, "part": label, "version": number, "state": tributary.state}
            found.append(named | _part(tributary, version, commit))
    return found


def _anew(deployment: Deployment, tributaries: Sequence[Tributary]) -> dict[int, int]:
    """Throw-away version → the version that it is another evaluation of."""
    overlays = {overlay.shadow: overlay.version for t in tributaries for overlay in t.overlays}
    return overlays | {comparison.version: comparison.original for comparison in deployment.comparisons}


def _named(
    deployment: Deployment, catalog: Catalog, tributaries: Sequence[Tributary]
) -> Iterator[tuple[str, str, int]]:
    """Definition, part and version, as the deployment has them; what is no deploy has only versions."""
    for definition in deployment.definitions:
        yield from ((definition.name, part.label, part.version) for part in definition.parts)
    if not deployment.definitions:
        anew = _anew(deployment, tributaries)
        for version in (v for t in tributaries for number in t.versions if (v := catalog.version(number))):
            yield version.definition, version.label, anew.get(version.version, version.version)


def _part(tributary: Tributary, version: Version, commit: Record | None) -> dict[str, Any]:
    """Rows of the tables that it reads. Partitions are read one after the other, as their ends are listed: the time
    left is until the last of its own is done, those before it included."""
    own = [reads(version.tables, end.table) for end in tributary.ends]
    taken = {(p["table"], p["partition"]): p["taken"] for p in _taken(tributary, commit)}
    done = [taken.get((end.table, end.partition), 0) for end in tributary.ends]
    total = sum(end.end for end, mine in zip(tributary.ends, own, strict=True) if mine)
    rows = sum(count for count, mine in zip(done, own, strict=True) if mine)
    going = rows < total
    before = len(own) - own[::-1].index(True) if going else 0
    ahead = sum(end.end - count for end, count in zip(tributary.ends[:before], done, strict=False))
    rate = _rate([tributary], commit) if going else None
    return {
        "rows": rows,
        "of": total if tributary.bounded else None,
        "rows_per_second": _per_second(rows, tributary, commit) if going else None,
        "seconds_left": round(ahead / rate, 1) if rate else None,
    }


def _states(tributaries: Sequence[Tributary], commit: Record | None) -> list[Record]:
    names = {t.name for t in tributaries}
    return [s for s in commit["streams"] if s["stream"] in names] if commit else []


def _taken(tributary: Tributary, commit: Record | None) -> list[Record]:
    return [p for s in _states([tributary], commit) for p in s["partitions"]]


def _rate(tributaries: Sequence[Tributary], commit: Record | None) -> int | None:
    """Rows/s of the replays that are under way, since their ends were captured."""
    running = [t for t in tributaries if t.bounded_at and not t.replayed_at]
    if not running:
        return None
    rows = sum(p["taken"] for t in running for p in _taken(t, commit))
    return _per_second(rows, min(running, key=lambda t: t.bounded_at), commit)


def _per_second(rows: int, tributary: Tributary, commit: Record | None) -> int | None:
    if commit is None or not tributary.bounded_at or tributary.replayed_at:
        return None
    ms = commit["written_at"] - tributary.bounded_at
    return round(rows / ms * 1000) if ms > 0 and rows else None
