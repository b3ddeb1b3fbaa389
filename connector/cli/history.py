"""`syncline history`: the deployments, newest first, and what became of each."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from typing import Any

from connector import settings
from connector.deploy.catalog import Deployment
from topologies.observe import observe


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one object")


def run(args: argparse.Namespace) -> int:
    deployments = [d for d in observe(settings.load(args.settings)).catalog.deployments if d.kind == "deploy"]
    listed = [entry(deployment) for deployment in sorted(deployments, key=lambda d: -d.generation)]
    if args.json:
        print(json.dumps({"deployments": listed}))
    else:
        print("\n".join(lines(listed)) or "nothing was deployed yet")
    return 0


def entry(deployment: Deployment) -> dict[str, Any]:
    """One deployment as `--json` prints it; times are ms since 1970, `switched_at` null where it never was active."""
    return {
        "generation": deployment.generation,
        "state": deployment.state,
        "requested_at": deployment.requested_at,
        "switched_at": deployment.switched_at or None,
        "position": deployment.position or None,
        "path": deployment.path,
        "definitions": len(deployment.definitions),
        "reason": deployment.reason,
    }


def lines(listed: list[dict[str, Any]]) -> list[str]:
    """The same for a person."""
    return [
        f"{one['generation']:>6}  {one['state']:<12} {_time(one['requested_at'])}  {_landed(one):<28} "
        f"{one['definitions']:>3} definitions  {one['path']}{'  ' + one['reason'] if one['reason'] else ''}"
        for one in listed
    ]


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _landed(one: dict[str, Any]) -> str:
    if one["switched_at"] is None:
        return "never active"
    return f"active after {(one['switched_at'] - one['requested_at']) / 1000:.1f} s at {one['position']}"
