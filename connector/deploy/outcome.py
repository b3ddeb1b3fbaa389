"""What a deploy really did, part by part, beside what its plan said. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from connector.definitions.model import Part
from connector.definitions.patterns import reads
from connector.deploy.catalog import MAIN, Deployment
from connector.deploy.diff import PartChange
from connector.deploy.plan import Plan

Record = Mapping[str, Any]
NOTHING = {"buckets": 0, "rows": 0, "ops": 0, "changed_ops": 0}


def outcome(
    plan: Plan,
    deployment: Deployment | None,
    *,
    before: Record | None,
    after: Record | None,
    replays: Iterable[Record],
    seconds: float,
) -> dict[str, Any]:
    """The object that `syncline deploy --json` prints. `before` and `after` are Commit records, `replays` the last
    seen states of the deployment's tributaries, `seconds` what the command waited."""
    earlier, later = _counted(before), _counted(after)
    begun = deployment if deployment is not None and deployment.generation > plan.base else None
    rows = _replayed_rows(replays)
    parts = []
    for definition in deployment.definitions if deployment else ():
        for part in definition.parts:
            now = later.get(part.version, NOTHING)
            since = earlier.get(part.version, NOTHING)
            counts = {name: now.get(name, 0) - since.get(name, 0) for name in ("ops", "changed_ops")}
            change = _change(plan, (part.kind, definition.name, part.label))
            parts.append(
                {"definition": definition.name, "part": part.label, "kind": part.kind, "version": part.version}
                | {"reason": part.reason, "change": change.kind if change else "unchanged"}
                | {"replayed_rows": _rows_of(change, plan, rows)}
                | {"buckets": now["buckets"], "rows": now["rows"]}
                | counts
            )
    return {
        "deployment": {"generation": deployment.generation, "state": deployment.state} if deployment else None,
        "reason": deployment.reason if deployment else "",
        "parts": parts,
        "replay": plan.as_json()["replay"],
        "happened": _happened(begun) | {"positions": _main(after) - _main(before)},
        "seconds": round(seconds, 2),
    }


def _happened(deployment: Deployment | None) -> dict[str, Any]:
    rows, ms = (deployment.replayed_rows, deployment.replay_ms) if deployment else (0, 0)
    switched = deployment is not None and deployment.switched_at
    took = (deployment.switched_at - deployment.requested_at) / 1000 if deployment and switched else None
    return {
        "rows": rows,
        "rows_per_second": round(rows / ms * 1000) if ms else None,
        "seconds": round(ms / 1000, 1),
        "active_in_seconds": round(took, 1) if took is not None else None,
    }


def _main(commit: Record | None) -> int:
    """How far main is taken; 0 before the first commit."""
    return next((int(s["position"]) for s in commit["streams"] if s["stream"] == MAIN), 0) if commit else 0


def _counted(commit: Record | None) -> dict[int, Record]:
    return {v["version"]: v for v in commit["versions"]} if commit else {}


def _replayed_rows(replays: Iterable[Record]) -> dict[str, int]:
    rows: dict[str, int] = {}
    for stream in replays:
        for partition in stream["partitions"]:
            rows[partition["table"]] = rows.get(partition["table"], 0) + partition["rows"]
    return rows


def _change(plan: Plan, key: tuple[str, str, str]) -> PartChange | None:
    wanted = (c for c in plan.changes if c.kind != "removed")
    return next((c for c in wanted if (c.part.kind, c.part.definition, c.part.label) == key), None)


def _rows_of(change: PartChange | None, plan: Plan, rows: Mapping[str, int]) -> int:
    """Rows of the tables that the part reads; parts that read the same table share them."""
    if change is None or not isinstance(change.part, Part) or plan.replay_of(change) is None:
        return 0
    return sum(count for table, count in rows.items() if reads(change.part.tables, table))
