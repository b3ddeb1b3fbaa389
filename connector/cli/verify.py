"""`syncline verify`: every part replayed anew beside the live ones, and compared at one boundary (law 9).

Exit 0 equal, 1 anything else.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass

from connector import settings
from connector.errors import RequestRefused
from connector.merge.catalog import Deployment
from connector.oplog.compare import Difference, differences
from connector.oplog.ops import bucket_name
from connector.settings import Settings
from topologies.catalog import ask
from topologies.observe import Watch
from topologies.oplogs import fold_until

SHOWN = 20  # differences that a person reads; --json has all


@dataclass(slots=True)
class Comparison:
    """What was compared, and what differs."""

    position: int
    parts: int = 0
    buckets: int = 0
    rows: int = 0
    lookups: int = 0
    found: tuple[tuple[str, Difference], ...] = ()


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one object")


def run(args: argparse.Namespace) -> int:
    known = settings.load(args.settings)
    started = time.monotonic()
    watch = Watch(known)
    try:
        generation = ask(known, "verify", base=watch.catalog.generation).generation
        try:
            compared = compare(known, aligned(watch, generation), watch)
        finally:
            ask(known, "drop", generation=generation)
    finally:
        watch.close()
    seconds = time.monotonic() - started
    print(json.dumps(as_json(compared, seconds)) if args.json else "\n".join(lines(compared, seconds)))
    return 1 if compared.found else 0


def aligned(watch: Watch, generation: int) -> Deployment:
    """Wait until the rebuild stands at the same boundary as the live versions."""
    while True:
        deployment = watch.catalog.deployment(generation)
        if deployment is not None and deployment.state == "aligned":
            return deployment
        if deployment is not None and not deployment.pending:
            raise RequestRefused(f"verify ended as {deployment.state}: {deployment.reason}")
        watch.poll(0.2)


def compare(known: Settings, deployment: Deployment, watch: Watch) -> Comparison:
    """Fold both op logs of each part up to the aligned commit."""
    compared = Comparison(deployment.position)
    for pair in deployment.comparisons:
        folded = fold_until(known, {pair.version: pair.offset, pair.original: pair.original_offset})
        live, rebuilt = folded.of_version(pair.original), folded.of_version(pair.version)
        version = watch.catalog.version(pair.original)
        definition = version.definition if version is not None else ""
        entries = sum(len(bucket.rows) for bucket in live.values())
        compared.parts += 1
        if version is not None and version.kind == "index":
            compared.lookups += entries
        else:
            compared.buckets += len(live)
            compared.rows += entries
        compared.found += tuple(
            (bucket_name(pair.original, definition, found.bucket), found) for found in differences(live, rebuilt)
        )
    return compared


def as_json(compared: Comparison, seconds: float) -> dict[str, object]:
    return {
        "equal": not compared.found,
        "position": compared.position,
        "parts": compared.parts,
        "buckets": compared.buckets,
        "rows": compared.rows,
        "lookups": compared.lookups,
        "seconds": round(seconds, 2),
        "differences": [
            {
                "bucket": bucket,
                "object_type": d.row[0],
                "object_id": d.row[1],
                "subkey": d.row[2],
                "live": d.live,
                "rebuilt": d.rebuilt,
            }
            for bucket, d in compared.found
        ],
    }


def lines(compared: Comparison, seconds: float) -> list[str]:
    what = f"{compared.parts} parts, {compared.buckets:,} buckets, {compared.rows:,} rows"
    what += f", {compared.lookups:,} lookups at position {compared.position}"
    if not compared.found:
        return [f"equal: {what}, in {seconds:.1f} s"]
    shown = [
        f"  {bucket} {d.row[0]} {d.row[1]} {d.row[2]}: live {d.live or 'absent'}, rebuilt {d.rebuilt or 'absent'}"
        for bucket, d in compared.found[:SHOWN]
    ]
    more = [f"  and {len(compared.found) - SHOWN} more (--json has all)"] if len(compared.found) > SHOWN else []
    return [f"different: {len(compared.found)} rows of {what}", *shown, *more]
