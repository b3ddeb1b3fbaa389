"""The state of a running app as one stable object (`syncline status --json`), from the heads of its logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connector.deploy.catalog import Catalog, Deployment, Version
from connector.deploy.progress import progress as progress_of
from connector.merge.retention import OUTGROWN

Record = Mapping[str, Any]


def status(
    *,
    endpoint: str,
    now_ms: int,
    head: Record | None,
    progress: Record | None,
    commit: Record | None,
    checkpoint: Record | None,
    catalog: Catalog,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """Positions, lag, deployments and definitions; `position` is the change log's head, times are ms.

    `endpoint` is this node's, `head` the newest Batch, `commit` the newest Commit, `checkpoint` the newest exposed one.
    """
    active = catalog.active
    pending = next((d for d in catalog.deployments if d.pending or d.state == "aligned"), None)
    counted = {v["version"]: v for v in commit["versions"]} if commit else {}
    return {
        "endpoint": endpoint,
        "position": head["position"] if head else 0,
        "checkpoint": checkpoint["position"] if checkpoint else 0,
        "streams": {s["stream"]: s["position"] for s in commit["streams"]} if commit else {},
        "lag": lag(now_ms, head, checkpoint),
        "deployment": _deployment(active),
        "pending": progress_of(pending, catalog, commit) if pending is not None else None,
        "waits": [w["reason"] for w in (commit or {}).get("waits", ()) if w["generation"] == catalog.generation],
        "let_go": [{"generation": d.generation, "reason": d.reason} for d in catalog.deployments if _let_go(d)],
        "definitions": _definitions(catalog, counted, [d for d in (active, pending) if d is not None]),
        "rejected": sum(v["rejected"] for v in counted.values()) + _set_aside(progress),
        "source": _source(progress),
        "warnings": list(warnings),
    }


def lag(now_ms: int, head: Record | None, checkpoint: Record | None) -> dict[str, int]:
    """Rows and ms between the head of the change log and what clients can see."""
    if head is None or (checkpoint is not None and checkpoint["position"] >= head["position"]):
        return {"rows": 0, "ms": 0}
    seen_rows = checkpoint["log_rows"] if checkpoint else 0
    seen_at = (checkpoint["committed_at"] if checkpoint else 0) or head["committed_at"]
    return {"rows": head["rows"] - seen_rows, "ms": max(0, now_ms - seen_at)}


def _deployment(deployment: Deployment | None) -> dict[str, Any] | None:
    if deployment is None:
        return None
    return {"generation": deployment.generation, "state": deployment.state}


def _let_go(deployment: Deployment) -> bool:
    """It ended before its time, to keep the change log short (rule M5)."""
    return OUTGROWN in deployment.reason


def _definitions(
    catalog: Catalog, counted: Mapping[int, Record], deployments: list[Deployment]
) -> list[dict[str, Any]]:
    versions = {v.version: v for v in catalog.versions}
    parts: dict[str, dict[int, dict[str, Any]]] = {}
    for deployment in deployments:
        for definition in deployment.definitions:
            known = parts.setdefault(definition.name, {})
            for part in definition.parts:
                count = counted.get(part.version, {"position": 0, "buckets": 0, "rows": 0, "ops": 0})
                known[part.version] = {
                    "kind": part.kind,
                    "part": part.label,
                    "version": part.version,
                    "state": versions[part.version].state,
                    "stopped": stopped(versions[part.version]),
                    **{name: count[name] for name in ("position", "buckets", "rows", "ops")},
                }
    return [{"name": name, "parts": list(by_version.values())} for name, by_version in parts.items()]


def stopped(version: Version) -> dict[str, Any] | None:
    """Since when a version's buckets are frozen, and why; None where they are not."""
    if not version.stopped_at:
        return None
    return {"at": version.stopped_at, "position": version.stopped_position, "because": version.stopped_because}


def _set_aside(progress: Record | None) -> int:
    return int(progress["state"].get("rejected", 0)) if progress else 0


def _source(progress: Record | None) -> dict[str, Any]:
    """What the sequencer says of the source: refused tables, those to be read whole, what it waits for, and how far a
    transaction is taken that is not whole in the change log yet (rule M6)."""
    state = progress["state"] if progress else {}
    tables = state.get("tables", {})
    refused = {name: table["refused"] for name, table in tables.items() if table["refused"] is not None}
    order = state.get("order", {})
    opened, rows = order.get("open"), order.get("events", 0)
    transaction = {"row": opened[1], "of": rows} if opened and rows else None
    reads = dict(state.get("reads", {}))
    return {"refused": refused, "reads": reads, "waiting": state.get("waiting"), "transaction": transaction}
