"""`syncline verify`: every part replayed anew beside the live ones, and compared at one boundary (law 9).

Exit 0 equal, 1 anything else.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from connector import settings
from connector.cli.resume import laid
from connector.deploy.catalog import Catalog, Comparison, Deployment, Version
from connector.errors import RequestRefused
from connector.oplog.compare import Difference, Pair, Print, pairs, row_of
from connector.oplog.ops import bucket_name
from connector.settings import Settings
from connector.store.folded import FoldedRows
from topologies.catalog import ask
from topologies.observe import Watch
from topologies.oplogs import OpLogReader

SHOWN = 20  # differences that a person reads
LISTED = 100  # differences that --json has; all are counted
SHOWN_TEXT = 120  # characters of a row that a person reads


@dataclass(slots=True)
class Verified:
    """What was compared, and what differs."""

    position: int
    parts: int = 0
    buckets: int = 0
    rows: int = 0
    lookups: int = 0
    different: int = 0
    found: list[Difference] = field(default_factory=list)
    stopped: tuple[str, ...] = ()  # definitions that were left out
    repaired: int | None = None  # the position at which what differs was written
    left: int | None = None  # rows that differ after that


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one object")
    parser.add_argument("--repair", action="store_true", help="write what differs, as the rebuild has it")


def run(args: argparse.Namespace) -> int:
    known = settings.load(args.settings)
    started = time.monotonic()
    watch = Watch(known)
    try:
        verified = rebuilt_and_compared(known, watch)
        if verified.different and args.repair:
            verified.repaired = laid(watch, ask(known, "repair").generation).position
            verified.left = rebuilt_and_compared(known, watch).different
    finally:
        watch.close()
    seconds = time.monotonic() - started
    print(json.dumps(as_json(verified, seconds)) if args.json else "\n".join(lines(verified, seconds)))
    return 1 if (verified.different if verified.left is None else verified.left) else 0


def rebuilt_and_compared(known: Settings, watch: Watch) -> Verified:
    """One verify from its request to its end."""
    generation = ask(known, "verify", base=watch.catalog.generation).generation
    try:
        return compare(known, aligned(watch, generation), watch.catalog)
    finally:
        ask(known, "drop", generation=generation)


def aligned(watch: Watch, generation: int) -> Deployment:
    """Wait until the rebuild stands at the same boundary as the live versions."""
    while True:
        deployment = watch.catalog.deployment(generation)
        if deployment is not None and deployment.state == "aligned":
            return deployment
        if deployment is not None and not deployment.pending:
            raise RequestRefused(f"verify ended as {deployment.state}: {deployment.reason}")
        watch.poll(0.2)


def compare(known: Settings, deployment: Deployment, catalog: Catalog) -> Verified:
    """Compare both op logs of each part up to the aligned commit, one part after the other."""
    verified = Verified(deployment.position, stopped=_stopped(catalog))
    known.state.mkdir(parents=True, exist_ok=True)
    reader = OpLogReader(known)
    try:
        for both in deployment.comparisons:
            version = catalog.version(both.original)
            with tempfile.TemporaryDirectory(prefix="verify-", dir=known.state) as folder:
                if version is not None:
                    _compare_part(verified, reader, both, version, Path(folder))
    finally:
        reader.close()
    return verified


def _compare_part(verified: Verified, reader: OpLogReader, both: Comparison, version: Version, folder: Path) -> None:
    folded = FoldedRows(folder / "rows")
    try:
        folded.apply(both.original, reader.until(both.original, both.original_offset))
        folded.apply(both.version, reader.until(both.version, both.offset))
        verified.parts += 1
        differing = list(_differing(verified, folded, both, version))
    finally:
        folded.close()
    verified.found += [_told(reader, both, version, pair) for pair in differing]


def _differing(verified: Verified, folded: FoldedRows, both: Comparison, version: Version) -> Iterator[Pair]:
    """Count everything; of what differs as much as is to be listed."""
    rows, buckets, last = 0, 0, ""
    for pair in pairs(folded.rows(both.original), folded.rows(both.version)):
        if pair.live is not None:
            rows += 1
            bucket = row_of(pair.key)[0]
            buckets += rows == 1 or bucket != last
            last = bucket
        if not pair.equal:
            verified.different += 1
            if verified.different <= LISTED:
                yield pair
    if version.kind == "index":
        verified.lookups += rows
    else:
        verified.buckets += buckets
        verified.rows += rows


def _told(reader: OpLogReader, both: Comparison, version: Version, pair: Pair) -> Difference:
    bucket, object_type, object_id, subkey = row_of(pair.key)
    live, live_data = _value(reader, both.original, pair.live)
    rebuilt, rebuilt_data = _value(reader, both.version, pair.rebuilt)
    name = bucket_name(both.original, version.definition, bucket)
    return Difference(name, object_type, object_id, subkey, live, rebuilt, live_data, rebuilt_data)


def _value(reader: OpLogReader, version: int, seen: Print | None) -> tuple[str | None, str | None]:
    """Hash and text of a row, from its op log."""
    op = reader.at(version, seen.offset) if seen is not None else None
    return (op["hash"].hex(), op["data"]) if op is not None else (None, None)


def _stopped(catalog: Catalog) -> tuple[str, ...]:
    stopped = {v.version for v in catalog.versions if v.stopped_at}
    active = catalog.active.definitions if catalog.active is not None else ()
    return tuple(d.name for d in active if any(part.version in stopped for part in d.parts))


def as_json(verified: Verified, seconds: float) -> Mapping[str, object]:
    return {
        "equal": not verified.different,
        "position": verified.position,
        "parts": verified.parts,
        "buckets": verified.buckets,
        "rows": verified.rows,
        "lookups": verified.lookups,
        "seconds": round(seconds, 2),
        "stopped": list(verified.stopped),
        "different": verified.different,
        "repaired": verified.repaired,
        "left": verified.left,
        "differences": [asdict(one) for one in verified.found],
    }


def lines(verified: Verified, seconds: float) -> list[str]:
    what = f"{verified.parts} parts, {verified.buckets:,} buckets, {verified.rows:,} rows"
    what += f", {verified.lookups:,} lookups at position {verified.position}"
    left_out = [f"left out, being stopped: {', '.join(verified.stopped)}"] if verified.stopped else []
    if not verified.different:
        return [f"equal: {what}, in {seconds:.1f} s", *left_out]
    shown = [line for one in verified.found[:SHOWN] for line in _lines_of(one)]
    more = f"  and {verified.different - SHOWN:,} more (--json lists {LISTED})"
    return [
        f"different: {verified.different:,} rows of {what}",
        *shown,
        *([more] if verified.different > SHOWN else []),
        *([_mended(verified.repaired, verified.left)] if verified.repaired is not None else []),
        *left_out,
    ]


def _mended(position: int, left: int | None) -> str:
    if not left:
        return f"repaired at position {position}, and equal since"
    return (
        f"repaired at position {position}, and {left:,} rows still differ: their op log is not as it was written; "
        "deploy without these definitions, `syncline gc`, and deploy them again"
    )


def _lines_of(one: Difference) -> list[str]:
    sides = (("live", one.live, one.live_data), ("rebuilt", one.rebuilt, one.rebuilt_data))
    return [
        f"  {one.bucket} {one.object_type} {one.object_id} {one.subkey}",
        *(f"    {name:<8} {(text or '')[:SHOWN_TEXT] if mark is not None else 'absent'}" for name, mark, text in sides),
    ]
