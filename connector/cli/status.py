"""`syncline status`: positions, lag, deployments, definitions."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from connector import settings
from connector.deploy.status import status
from connector.settings import Settings
from topologies.observe import observe


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one object")
    parser.add_argument("--watch", action="store_true", help="print again every second")


def run(args: argparse.Namespace) -> int:
    known = settings.load(args.settings)
    while True:
        seen = look(known)
        clear = "\x1b[2J\x1b[H" if args.watch and sys.stdout.isatty() else ""
        print(clear + (json.dumps(seen) if args.json else "\n".join(lines(seen))), flush=True)
        if not args.watch:
            return 0
        time.sleep(1)


def look(known: Settings) -> dict[str, Any]:
    """The status object now."""
    seen = observe(known)
    return status(
        now_ms=int(time.time() * 1000),
        head=seen.head,
        progress=seen.progress,
        commit=seen.commit,
        checkpoint=seen.checkpoint,
        catalog=seen.catalog,
    )


def lines(seen: dict[str, Any]) -> Iterable[str]:
    """The status as a person reads it."""
    active, pending = seen["deployment"], seen["pending"]
    yield f"deployment   {_deployment(active)}" + (f", pending {_deployment(pending)}" if pending else "")
    yield f"change log   position {seen['position']}"
    yield f"checkpoint   position {seen['checkpoint']}, behind by {seen['lag']['rows']} rows, {seen['lag']['ms']} ms"
    for stream, position in seen["streams"].items():
        yield f"stream       {stream} at {position}"
    if pending and pending["replay"]["of"] is not None:
        yield f"replay       {pending['replay']['rows']:,} of {pending['replay']['of']:,} records"
    for gone in seen["let_go"]:
        yield f"let go       generation {gone['generation']}: {gone['reason']}"
    for table, reason in (seen["source"].get("refused") or {}).items():
        yield f"refused      {table}: {reason}"
    if seen["source"].get("waiting"):
        yield f"waiting for  {seen['source']['waiting']}"
    yield f"rejected     {seen['rejected']}"
    yield from _stopped(seen["definitions"])
    yield f"{'definition':<20} {'part':<20} {'version':>7} {'state':<10} {'buckets':>9} {'rows':>11} {'ops':>11}"
    for definition in seen["definitions"]:
        for part in definition["parts"]:
            yield (
                f"{definition['name']:<20} {part['part']:<20} {part['version']:>7} {part['state']:<10} "
                f"{part['buckets']:>9,} {part['rows']:>11,} {part['ops']:>11,}"
            )


def _stopped(definitions: list[dict[str, Any]]) -> Iterable[str]:
    for definition in definitions:
        for part in definition["parts"]:
            if (stopped := part["stopped"]) is not None:
                since = datetime.fromtimestamp(stopped["at"] / 1000, UTC).isoformat(timespec="seconds")
                yield (
                    f"stopped      {definition['name']} ({part['part']}) since {since}, "
                    f"at position {stopped['position']}: {stopped['because']}"
                )


def _deployment(deployment: dict[str, Any] | None) -> str:
    return f"generation {deployment['generation']} {deployment['state']}" if deployment else "none yet"
