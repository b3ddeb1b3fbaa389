"""All ops of one op log, sorted on disk by bucket and op id: memory stays the same whatever their number."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from rocksdict import WriteBatch

from connector.oplog.audit import Entry
from connector.oplog.ops import Op, OpKind
from connector.store.rocks import Cursor, open_store, write

PLACE = struct.Struct(">QB")  # op id; what takes an op's place sorts behind it
VALUE = struct.Struct(">I?")  # checksum, live
KINDS: tuple[OpKind, ...] = ("PUT", "REMOVE", "MOVE", "CLEAR")
BATCH = 5_000  # ops of one write batch
END = b"\xff"  # behind every bucket: parameters are JSON


class History:
    """Of one op log, in a folder that nobody else uses."""

    def __init__(self, folder: Path) -> None:
        self._db = open_store(folder)

    def add(self, ops: Iterable[tuple[Op, bool]]) -> None:
        """Ops in any order, each with whether a row is as it says."""
        batch = WriteBatch(raw_mode=True)
        for op, live in ops:
            place = PLACE.pack(op["op_id"], KINDS.index(op["op"]))
            batch.put(op["bucket"].encode() + b"\0" + place, VALUE.pack(op["checksum"], live))
            if len(batch) >= BATCH:
                write(self._db, batch)
                batch = WriteBatch(raw_mode=True)
        write(self._db, batch)

    def entries(self) -> Iterator[Entry]:
        """Sorted by bucket and op id."""
        for key, value in Cursor(self._db).items(b"", END):
            op_id, kind = PLACE.unpack(key[-PLACE.size :])
            yield Entry(key[: -PLACE.size - 1].decode(), op_id, KINDS[kind], *VALUE.unpack(value))

    def close(self) -> None:
        self._db.close()
