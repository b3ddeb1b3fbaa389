"""A row's last outputs, and the ops that lead from them to its present ones (law 4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypedDict

from connector.oplog.ops import Op, put, remove

# (bucket, type, id, hash in hex, op_id of the PUT). A list, as the store reads it back.
Entry = list[str | int]
RowKey = tuple[int, str]  # version, source key


class EvaluatedOutput(TypedDict):
    versions: list[int]
    bucket: str
    type: str
    id: str
    hash: bytes
    data: str


class Rows(Protocol):
    """The row state as of the last commit."""

    def get_many(self, keys: Sequence[RowKey]) -> list[list[Entry]]:
        """The last outputs of each row; an empty list for one without."""

    def of_table(self, version: int, table: str) -> Iterable[tuple[str, list[Entry]]]:
        """All rows of a table that have outputs in a version, with their source keys."""

    def beyond(self, version: int, key: str, count: int) -> list[tuple[str, list[Entry]]]:
        """Up to `count` rows of a version behind a source key, by rising key."""

    def bucket_rows(self, buckets: Sequence[tuple[int, str]]) -> list[int]:
        """How many rows each (version, bucket) has."""


class Changes:
    """The ops, row writes and bucket row counts of one commit in the making."""

    def __init__(self, first_op: int) -> None:
        self._first_op = first_op
        self.ops: list[Op] = []
        self.text_size = 0  # characters in the PUTs
        self.writes: dict[RowKey, list[Entry]] = {}
        self.bucket_deltas: dict[RowKey, int] = {}
        self.op_counts: dict[int, int] = {}

    def before(self, keys: Sequence[RowKey], rows: Rows) -> list[list[Entry]]:
        """The rows' last outputs: of this commit where it wrote them, else of the row state."""
        writes = self.writes
        if not writes:
            return rows.get_many(keys)
        missing = [key for key in keys if key not in writes]
        found = iter(rows.get_many(missing)) if missing else iter(())
        return [writes[key] if key in writes else next(found) for key in keys]

    def compare(self, key: RowKey, before: list[Entry], after: Sequence[EvaluatedOutput], position: int) -> None:
        """Write the ops from `before` to `after`: PUTs first, then REMOVEs of what is no longer given; equal
        outputs give nothing (law 4)."""
        if not after and not before:
            return
        if len(after) == 1 and len(before) == 1 and _equal(before[0], after[0]):
            return
        left = {(e[0], e[1], e[2]): e for e in before} if before else {}
        entries: list[Entry] = []
        changed = False
        for output in after:
            held = left.pop((output["bucket"], output["type"], output["id"]), None)
            digest = output["hash"].hex()
            if held is not None and held[3] == digest:
                entries.append(held)
                continue
            changed = True
            entries.append(self._put(key, output, digest, held is None, position))
        for entry in left.values():
            changed = True
            self._remove(key, entry, position)
        if changed:
            self.writes[key] = entries

    def overlay(self, key: RowKey, before: list[Entry], op: Op, position: int) -> None:
        """Of the row's outputs this one is to be as `op`, a PUT of another version, has it; the others stay."""
        where = [op["bucket"], op["object_type"], op["object_id"]]
        held = next((e for e in before if e[:3] == where), None)
        digest = op["hash"].hex()
        if held is not None and held[3] == digest:
            return
        output = EvaluatedOutput(
            versions=[],
            bucket=op["bucket"],
            type=op["object_type"],
            id=op["object_id"],
            hash=op["hash"],
            data=op["data"] or "",
        )
        entry = self._put(key, output, digest, held is None, position)
        self.writes[key] = [*(e for e in before if e is not held), entry]

    def thin(self, key: RowKey, before: list[Entry], kept: Sequence[Entry], position: int) -> None:
        """Of the row's outputs only those stay that `kept`, the row in another version, has in the same places."""
        wanted = {(e[0], e[1], e[2]) for e in kept}
        left = [e for e in before if (e[0], e[1], e[2]) in wanted]
        for entry in before:
            if (entry[0], entry[1], entry[2]) not in wanted:
                self._remove(key, entry, position)
        if len(left) < len(before):
            self.writes[key] = left

    def _put(self, key: RowKey, output: EvaluatedOutput, digest: str, added: bool, position: int) -> Entry:
        version, subkey = key
        bucket, kind, name = output["bucket"], output["type"], output["id"]
        op_id = self._first_op + len(self.ops)
        self.ops.append(
            put(op_id, version, bucket, (kind, name, subkey), output["hash"], output["data"], added, position)
        )
        self.text_size += len(output["data"])
        self._count(version, bucket, 1 if added else 0)
        return [bucket, kind, name, digest, op_id]

    def _remove(self, key: RowKey, entry: Entry, position: int) -> None:
        version, subkey = key
        bucket = str(entry[0])
        identity = (str(entry[1]), str(entry[2]), subkey)
        self.ops.append(remove(self._first_op + len(self.ops), version, bucket, identity, position))
        self._count(version, bucket, -1)

    def _count(self, version: int, bucket: str, by: int) -> None:
        self.op_counts[version] = self.op_counts.get(version, 0) + 1
        if by:
            where = (version, bucket)
            self.bucket_deltas[where] = self.bucket_deltas.get(where, 0) + by


def _equal(entry: Entry, output: EvaluatedOutput) -> bool:
    return (
        entry[3] == output["hash"].hex()
        and entry[2] == output["id"]
        and entry[0] == output["bucket"]
        and entry[1] == output["type"]
    )
