"""Whether an op log is right by itself: its checksums, the order of its op ids, and what compaction made of it
(powersync.md 3.1, 3.3). A bucket's ops, MOVEs and CLEARs in their places, must come to the sum of all that was ever put
and removed in it, which is what every store adds up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from connector.oplog.ops import Op, OpKind, put_checksum, remove_checksum, signed

REWRITES = ("MOVE", "CLEAR")


class Fault(NamedTuple):
    """Something in an op log that cannot be right."""

    bucket: str
    op_id: int
    what: str


class Entry(NamedTuple):
    """An op, as sorted by bucket and op id, what has taken its place behind it; `live`: a row is as the op says."""

    bucket: str
    op_id: int
    kind: OpKind
    checksum: int
    live: bool


class Audit:
    """Of the ops of one log, in their order."""

    def __init__(self) -> None:
        self.rewritten = False  # compaction has been here: its history is to be looked at too
        self._last = 0

    def faults(self, op: Op) -> Iterator[Fault]:
        """What is wrong with the next op, seen alone and after those before it."""
        if op["op"] in REWRITES:
            self.rewritten = True
            return
        is_put = op["op"] == "PUT"
        wanted = put_checksum(op["hash"]) if is_put else remove_checksum(op["subkey"])
        if op["checksum"] != wanted:
            whose = "hash" if is_put else "row"
            yield Fault(
                op["bucket"], op["op_id"], f"{op['op']} with checksum {op['checksum']}, its {whose}'s is {wanted}"
            )
        if op["op_id"] <= self._last:
            yield Fault(op["bucket"], op["op_id"], f"{op['op']} comes after op {self._last}")
        self._last = max(self._last, op["op_id"])


def history_faults(entries: Iterable[Entry]) -> Iterator[Fault]:
    """What compaction has made wrong, bucket by bucket. Takes memory for one entry."""
    for bucket, own in groupby(entries, key=lambda entry: entry.bucket):
        yield from _bucket_faults(bucket, own)


def _bucket_faults(bucket: str, entries: Iterable[Entry]) -> Iterator[Fault]:
    written = held = last = live = 0
    for entry in entries:
        if entry.kind not in REWRITES:
            written, held = written + entry.checksum, held + entry.checksum
            place, live = entry, max(live, entry.op_id) if entry.live else live
            last = entry.op_id
            continue
        if last != entry.op_id:
            yield Fault(bucket, entry.op_id, f"{entry.kind} in the place of no op")
        elif entry.kind == "MOVE":
            held += entry.checksum - place.checksum
        if entry.kind == "CLEAR":
            held = entry.checksum
        if live == entry.op_id or (live and entry.kind == "CLEAR"):
            yield Fault(bucket, entry.op_id, f"{entry.kind} hides a live row, of op {live}")
    if (held - written) & 0xFFFFFFFF:
        told = f"its ops come to checksum {signed(held)}, all that was written to {signed(written)}"
        yield Fault(bucket, last, told)
