"""A node's bucket store on RocksDB: ops, bucket sums, lookups and the checkpoint that is exposed (rules V1, V2).

Ops may lie there above the exposed op id; sums, rewrites, lookups' visibility and the exposed id change only in a
checkpoint's one write batch. A reader takes one `View` and sees one checkpoint, whatever is written meanwhile.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from rocksdict import Rdict, WriteBatch

from connector.oplog.ops import Op, signed
from connector.oplog.wire import wire_text
from connector.position import OPS_PER_COMMIT
from connector.store.rocks import Cursor, after, check_intact, close, open_free_store, write

FORMAT = 2
KEY = struct.Struct(">cI")  # kind of entry, version
OP_ID = struct.Struct(">Q")
SUMS = struct.Struct(">IQqQ")  # checksum, ops, rows, newest op id
META = b"m"
OPS, LOOKUPS, TOTALS = b"o", b"l", b"s"


@dataclass(frozen=True, slots=True)
class Exposed:
    """The checkpoint that clients see: number and position of its commit, and per version the next op-log offset."""

    log: str = ""  # app and topic id of the commit records
    commit: int = 0
    position: int = 0
    offsets: Mapping[int, int] = field(default_factory=dict)
    catalog: Mapping[str, Any] = field(default_factory=dict)  # the Catalog record in force there

    @property
    def op_id(self) -> int:
        """No op of the checkpoint is above it."""
        return (self.commit + 1) * OPS_PER_COMMIT - 1


class Sums(NamedTuple):
    """A bucket at a checkpoint; `checksum` signed, as clients compare it."""

    checksum: int
    ops: int
    rows: int
    last_op: int


class Portion(NamedTuple):
    """Some of a bucket's ops, each as clients read it (`connector.oplog.wire`)."""

    texts: list[bytes]
    last: int  # op id of the last one; where there is none, what it was asked to be beyond
    more: bool  # the checkpoint has more of the bucket


@dataclass(frozen=True, slots=True)
class Changed:
    """What a checkpoint changed since the one before: buckets and lookups as (version, parameters)."""

    buckets: frozenset[tuple[int, str]]
    lookups: frozenset[tuple[int, str]]


class View:
    """One checkpoint, as one cursor on the store sees it. For one thread at a time."""

    def __init__(self, db: Rdict) -> None:
        self._cursor = Cursor(db)
        value = self._cursor.get(META)
        self.exposed = _exposed(value) if value is not None else Exposed()

    def sums(self, version: int, bucket: str) -> Sums:
        value = self._cursor.get(KEY.pack(TOTALS, version) + bucket.encode())
        return _sums(value) if value is not None else Sums(0, 0, 0, 0)

    def buckets(self, version: int) -> Iterator[tuple[str, Sums]]:
        """All buckets of a version that hold any op, with their parameters."""
        prefix = KEY.pack(TOTALS, version)
        for key, value in self._cursor.items(prefix, KEY.pack(TOTALS, version + 1)):
            yield key[len(prefix) :].decode(), _sums(value)

    def portion(self, version: int, bucket: str, *, beyond: int, count: int, size: int) -> Portion:
        """The ops with `beyond` < op id <= the exposed one, rising: at most `count`, and none after `size` bytes."""
        start = _op_key(version, bucket, beyond + 1)
        texts, last, more = self._cursor.portion(start, _op_key(version, bucket, self.exposed.op_id + 1), count, size)
        return Portion(texts, OP_ID.unpack(last[-OP_ID.size :])[0] if last else beyond, more)

    def lookup(self, version: int, lookup: str) -> Iterator[str]:
        """The outputs (JSON text) that each row now gives under a lookup of a parameter index."""
        prefix = _lookup_prefix(version, lookup)
        row, outputs = b"", ""
        for key, value in self._cursor.items(prefix, after(prefix)):
            if OP_ID.unpack(key[-8:])[0] > self.exposed.op_id:
                continue
            if key[:-8] != row and outputs:
                yield outputs
            row, outputs = key[:-8], value.decode()
        if outputs:
            yield outputs


class BucketStore:
    """Written by one process, which also reads it (rule V1)."""

    def __init__(self, folder: Path) -> None:
        self._db = open_free_store(folder)
        self.exposed = View(self._db).exposed
        self._held = set(self.exposed.offsets)  # versions that may have entries here
        self._begin()
        self._drop_unknown()

    def _drop_unknown(self) -> None:
        """What was laid down for a checkpoint that never came here: whoever fills the store lays it down again."""
        known = sorted({*self.exposed.offsets, -1, 2**32})
        batch = WriteBatch(raw_mode=True)
        for kind in (OPS, LOOKUPS, TOTALS):
            for below, above in pairwise(known):
                end = KEY.pack(kind, above) if above < 2**32 else bytes((kind[0] + 1,))
                batch.delete_range(KEY.pack(kind, below + 1), end)
        write(self._db, batch)

    def _begin(self) -> None:
        self._deltas: dict[tuple[int, str], list[int]] = {}  # checksum, ops, rows, newest op id
        self._lookups: set[tuple[int, str]] = set()
        self._rewrites: list[Op] = []

    def view(self) -> View:
        """The exposed checkpoint, unmoved by what is written later."""
        return View(self._db)

    def add(self, ops: Iterable[Op], kinds: Mapping[int, str]) -> None:
        """Lay ops down, in op-log order, before the checkpoint that exposes them. `kinds`: version → bucket or index.

        Doing it again after a restart changes nothing.
        """
        batch = WriteBatch(raw_mode=True)
        for op in ops:
            self._held.add(op["version"])
            if op["op"] in ("MOVE", "CLEAR"):
                self._rewrites.append(op)
            elif kinds[op["version"]] == "index":
                key = _lookup_prefix(op["version"], op["bucket"]) + op["subkey"].encode() + b"\0"
                batch.put(key + OP_ID.pack(op["op_id"]), (op["data"] or "").encode())
                self._lookups.add((op["version"], op["bucket"]))
            else:
                batch.put(_op_key(op["version"], op["bucket"], op["op_id"]), wire_text(op))
                self._sum(op)
        write(self._db, batch)

    def _sum(self, op: Op) -> None:
        delta = self._deltas.setdefault((op["version"], op["bucket"]), [0, 0, 0, 0])
        delta[0] += op["checksum"]
        delta[1] += 1
        delta[2] += 1 if op["added"] else -1 if op["op"] == "REMOVE" else 0
        delta[3] = op["op_id"]

    def expose(self, exposed: Exposed) -> Changed:
        """One write batch: sums and rewrites of all that was added, versions that are gone, the exposed id."""
        batch, cursor = WriteBatch(raw_mode=True), Cursor(self._db)
        for version in self._held - exposed.offsets.keys():
            for kind in (OPS, LOOKUPS, TOTALS):
                batch.delete_range(KEY.pack(kind, version), KEY.pack(kind, version + 1))
        cleared: dict[tuple[int, str], int] = {}
        for op in self._rewrites:
            self._rewrite(batch, cursor, op, cleared)
        for lookup in self._lookups:
            _forget(batch, cursor, _lookup_prefix(*lookup), exposed.op_id)
        for (version, bucket), delta in self._deltas.items():
            if version in exposed.offsets:
                key = KEY.pack(TOTALS, version) + bucket.encode()
                batch.put(key, _added(cursor.get(key), delta))
        batch.put(META, _meta(exposed))
        write(self._db, batch)
        self.exposed = exposed
        self._held = set(exposed.offsets)
        changed = Changed(frozenset(self._deltas), frozenset(self._lookups))
        self._begin()
        return changed

    def _rewrite(self, batch: WriteBatch, cursor: Cursor, op: Op, cleared: dict[tuple[int, str], int]) -> None:
        """MOVE takes the place of one op, CLEAR of all up to its own. `cleared`: up to where CLEARs of this batch,
        which the cursor does not see, have done so."""
        version, bucket = op["version"], op["bucket"]
        if op["op"] == "CLEAR":
            before = cleared.get((version, bucket))
            start = _op_key(version, bucket, 0 if before is None else before + 1)
            gone = [key for key, _ in cursor.items(start, _op_key(version, bucket, op["op_id"] + 1))]
            if before is not None:
                gone.append(_op_key(version, bucket, before))
            for key in gone:
                batch.delete(key)
            delta = self._deltas.setdefault((version, bucket), [0, 0, 0, 0])
            delta[1] += 1 - len(gone)
            cleared[version, bucket] = op["op_id"]
        batch.put(_op_key(version, bucket, op["op_id"]), wire_text(op))

    def empty(self) -> None:
        """Take everything away: the store is of another log."""
        batch = WriteBatch(raw_mode=True)
        batch.delete_range(b"\x00", b"\xff")
        write(self._db, batch)
        self.exposed = Exposed()
        self._held = set()
        self._begin()

    def check(self) -> None:
        """Raises Unavailable where a reader has found the store damaged."""
        check_intact(self._db)

    def close(self) -> None:
        close(self._db)


def _forget(batch: WriteBatch, cursor: Cursor, prefix: bytes, op_id: int) -> None:
    """Of what each row gave under a lookup only what is exposed at `op_id` stays: views of before do not see it go."""
    older = b""
    for key, _ in cursor.items(prefix, after(prefix)):
        if OP_ID.unpack(key[-OP_ID.size :])[0] > op_id:
            continue
        if older[: -OP_ID.size] == key[: -OP_ID.size]:
            batch.delete(older)
        older = key


def _op_key(version: int, bucket: str, op_id: int) -> bytes:
    return KEY.pack(OPS, version) + bucket.encode() + b"\0" + OP_ID.pack(op_id)


def _lookup_prefix(version: int, lookup: str) -> bytes:
    return KEY.pack(LOOKUPS, version) + lookup.encode() + b"\0"


def _sums(value: bytes) -> Sums:
    checksum, count, rows, last_op = SUMS.unpack(value)
    return Sums(signed(checksum), count, rows, last_op)


def _added(value: bytes | None, delta: list[int]) -> bytes:
    checksum, count, rows, last_op = SUMS.unpack(value) if value is not None else (0, 0, 0, 0)
    return SUMS.pack((checksum + delta[0]) & 0xFFFFFFFF, count + delta[1], rows + delta[2], max(last_op, delta[3]))


def _meta(exposed: Exposed) -> bytes:
    return orjson.dumps(
        {
            "format": FORMAT,
            "log": exposed.log,
            "commit": exposed.commit,
            "position": exposed.position,
            "offsets": {str(version): offset for version, offset in exposed.offsets.items()},
            "catalog": exposed.catalog,
        }
    )


def _exposed(value: bytes) -> Exposed:
    meta = orjson.loads(value)
    if meta["format"] != FORMAT:
        return Exposed()
    offsets = {int(version): offset for version, offset in meta["offsets"].items()}
    return Exposed(meta["log"], meta["commit"], meta["position"], offsets, meta["catalog"])
