"""What a history of ops comes to: per bucket its live rows, op count, checksum and last op id."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from connector.oplog.ops import Op, signed

Identity = tuple[str, str, str]  # object type, object id, source key (rule V5)


@dataclass(slots=True)
class Bucket:
    """A bucket after the ops folded so far. `rows` maps each live row's identity to its output's hash."""

    rows: dict[Identity, bytes] = field(default_factory=dict)
    op_ids: list[int] = field(default_factory=list)  # rising; what the bucket holds
    sum: int = 0

    @property
    def count(self) -> int:
        """Ops that the bucket holds; compaction lowers it."""
        return len(self.op_ids)

    @property
    def checksum(self) -> int:
        """As clients compare it: signed 32 bit."""
        return signed(self.sum)

    @property
    def last_op(self) -> int:
        """The id of the newest op; 0 in a bucket without any."""
        return self.op_ids[-1] if self.op_ids else 0


class Fold:
    """Buckets by (version, parameters), folded op by op in the order of an op log.

    MOVE changes nothing that is counted here (it keeps id and checksum); CLEAR takes the place of all ops
    up to its own id, whose sum it carries.
    """

    def __init__(self) -> None:
        self.buckets: dict[tuple[int, str], Bucket] = {}

    def apply(self, ops: Iterable[Op]) -> None:
        """Go on with these ops."""
        buckets = self.buckets
        for op in ops:
            where = (op["version"], op["bucket"])
            bucket = buckets.get(where)
            if bucket is None:
                bucket = buckets[where] = Bucket()
            kind = op["op"]
            if kind == "PUT":
                bucket.rows[(op["object_type"], op["object_id"], op["subkey"])] = op["hash"]
            elif kind == "REMOVE":
                bucket.rows.pop((op["object_type"], op["object_id"], op["subkey"]), None)
            elif kind == "CLEAR":
                _clear(bucket, op)
                continue
            else:
                continue
            bucket.op_ids.append(op["op_id"])
            bucket.sum += op["checksum"]

    def of_version(self, version: int) -> dict[str, Bucket]:
        """One version's buckets that have any row, by their parameters."""
        return {name: b for (v, name), b in self.buckets.items() if v == version and b.rows}


def _clear(bucket: Bucket, op: Op) -> None:
    end = bisect_right(bucket.op_ids, op["op_id"])
    bucket.op_ids[:end] = [op["op_id"]]


def fold(ops: Iterable[Op]) -> Fold:
    """The fold of a whole history."""
    folded = Fold()
    folded.apply(ops)
    return folded
