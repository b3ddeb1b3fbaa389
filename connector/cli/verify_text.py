"""What `verify` found, as an object and as lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict

from connector.cli.comparing import LISTED, Verified
from connector.oplog.compare import Difference

SHOWN = 20  # differences that a person reads
ANEW = "deploy without these definitions, `syncline gc`, and deploy them again"
SHOWN_TEXT = 120  # characters of a row that a person reads


def as_json(verified: Verified, seconds: float) -> Mapping[str, object]:
    return {
        "equal": verified.equal,
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
        "faulty": verified.faulty,
        "faults": [one._asdict() for one in verified.faults],
        "differences": [asdict(one) for one in verified.found],
    }


def lines(verified: Verified, seconds: float) -> list[str]:
    what = f"{verified.parts} parts, {verified.buckets:,} buckets, {verified.rows:,} rows"
    what += f", {verified.lookups:,} lookups at position {verified.position}"
    left_out = [f"left out, being stopped: {', '.join(verified.stopped)}"] if verified.stopped else []
    if not verified.parts:
        return ["nothing was compared: no active part goes on", *left_out]
    if verified.equal:
        return [f"equal: {what}, in {seconds:.1f} s", *left_out]
    return [
        *(_differences(verified, what) if verified.different else [f"rows are equal: {what}"]),
        *_faults(verified),
        *left_out,
    ]


def _differences(verified: Verified, what: str) -> Iterator[str]:
    yield f"different: {verified.different:,} rows of {what}"
    for one in verified.found[:SHOWN]:
        yield from _lines_of(one)
    if verified.different > SHOWN:
        yield f"  and {verified.different - SHOWN:,} more (--json lists {LISTED})"
    if verified.repaired is not None:
        yield _mended(verified.repaired, verified.left)


def _faults(verified: Verified) -> Iterator[str]:
    if not verified.faulty:
        return
    yield f"damaged: {verified.faulty:,} faults in op logs, which clients' checksums may not match; {ANEW}"
    for fault in verified.faults[:SHOWN]:
        yield f"  {fault.bucket} op {fault.op_id}: {fault.what}"
    if verified.faulty > SHOWN:
        yield f"  and {verified.faulty - SHOWN:,} more (--json lists {LISTED})"


def _mended(position: int, left: int | None) -> str:
    if not left:
        return f"repaired at position {position}, and equal since"
    differ = f"{left:,} rows still differ: their op log is not as it was written"
    return f"repaired at position {position}, and {differ}; {ANEW}"


def _lines_of(one: Difference) -> list[str]:
    sides = (("live", one.live, one.live_data), ("rebuilt", one.rebuilt, one.rebuilt_data))
    return [
        f"  {one.bucket} {one.object_type} {one.object_id} {one.subkey}",
        *(f"    {name:<8} {(text or '')[:SHOWN_TEXT] if mark is not None else 'absent'}" for name, mark, text in sides),
    ]
