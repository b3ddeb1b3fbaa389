"""`syncline gc`: drops now what is only kept for a rollback, and waits until its topics and groups are deleted."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from connector import settings
from connector.deploy.catalog import Catalog
from connector.errors import Unavailable
from connector.merge.endings import idle
from connector.settings import Settings
from topologies.catalog import ask
from topologies.cleanup import Leftovers, leftovers
from topologies.observe import Watch
from topologies.topics import Topics

PATIENCE = 30.0  # seconds for the broker to delete them


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one object")


def run(args: argparse.Namespace) -> int:
    gone = collected(settings.load(args.settings))
    print(json.dumps(gone) if args.json else "\n".join(lines(gone)))
    return 0


def collected(known: Settings) -> dict[str, Any]:
    """Ask, wait, and tell what went. Raises Unavailable where a server stays away."""
    watch = Watch(known)
    deadline = time.monotonic() + PATIENCE
    try:
        before = watch.catalog
        if ask(known, "gc").outcome == "accepted":
            await_gone(watch, deadline)
        after = watch.catalog
    finally:
        watch.close()
    topics = {Topics(known.app).oplog(v.version) for v in before.versions if after.version(v.version) is None}
    left = leftovers(known, after)
    found = Leftovers(tuple(sorted(topics | {*left.topics})), left.groups)
    while left.topics or left.groups:
        if time.monotonic() > deadline:
            raise Unavailable(f"the broker has not deleted {', '.join(left.topics + left.groups)}", where=known.kafka)
        time.sleep(0.5)
        left = leftovers(known, after)
    return went(before, after, found)


def await_gone(watch: Watch, deadline: float) -> None:
    """Wait for the catalog without what was only kept: another change of it does not count, nor is anything waited for
    that a pending deploy brings back. Raises Unavailable."""
    watch.poll(0.2)
    while kept := idle(watch.catalog):
        if time.monotonic() > deadline:
            listed = ", ".join(str(v.version) for v in kept)
            raise Unavailable(f"versions {listed} are still in the catalog", hint="`syncline status`, then try again")
        watch.poll(0.2)


def went(before: Catalog, after: Catalog, found: Leftovers) -> dict[str, Any]:
    """What is in the first catalog and not in the second, and the topics and groups of it."""
    now = {d.generation: d.state for d in after.deployments}
    return {
        "versions": [
            {"version": v.version, "definition": v.definition, "part": v.label}
            for v in before.versions
            if after.version(v.version) is None
        ],
        "deployments": [
            d.generation for d in before.deployments if d.state == "retained" and now.get(d.generation) != "retained"
        ],
        "topics": list(found.topics),
        "groups": list(found.groups),
    }


def lines(gone: dict[str, Any]) -> list[str]:
    """The same for a person."""
    told = [f"version {v['version']:>6}  {v['definition']}, {v['part']}" for v in gone["versions"]]
    told += [
        f"generation {generation} can no longer be rolled back to without a replay"
        for generation in gone["deployments"]
    ]
    told += [f"deleted {name}" for name in (*gone["topics"], *gone["groups"])]
    return told or ["nothing to collect"]
