"""Op logs folded on disk into their live rows, sorted: memory stays the same whatever their size."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from rocksdict import WriteBatch

from connector.oplog.compare import Print, mark, row_key
from connector.oplog.ops import Op
from connector.store.rocks import Cursor, close, open_store, write

VERSION = struct.Struct(">I")
OFFSET = struct.Struct(">Q")
BATCH = 5_000  # ops of one write batch


class FoldedRows:
    """The live rows of some versions, in a folder that nobody else uses."""

    def __init__(self, folder: Path) -> None:
        self._db = open_store(folder)

    def apply(self, version: int, ops: Iterable[tuple[int, Op]]) -> None:
        """Fold ops with their offsets, in op-log order. MOVE and CLEAR change no row."""
        batch = WriteBatch(raw_mode=True)
        for offset, op in ops:
            if op["op"] == "PUT":
                batch.put(_key(version, op), mark(op) + OFFSET.pack(offset))
            elif op["op"] == "REMOVE":
                batch.delete(_key(version, op))
            if len(batch) >= BATCH:
                write(self._db, batch)
                batch = WriteBatch(raw_mode=True)
        write(self._db, batch)

    def rows(self, version: int) -> Iterator[tuple[bytes, Print]]:
        """A version's rows, sorted by their keys."""
        for key, value in Cursor(self._db).items(VERSION.pack(version), VERSION.pack(version + 1)):
            yield key[VERSION.size :], Print(value[: -OFFSET.size], OFFSET.unpack(value[-OFFSET.size :])[0])

    def marked(self, version: int, ops: Iterable[tuple[int, Op]]) -> Iterator[tuple[Op, bool]]:
        """The ops again, each with whether a row of the version is as it says."""
        cursor = Cursor(self._db)
        for offset, op in ops:
            row = cursor.get(_key(version, op)) if op["op"] == "PUT" else None
            yield op, row is not None and row[-OFFSET.size :] == OFFSET.pack(offset)

    def close(self) -> None:
        close(self._db)


def _key(version: int, op: Op) -> bytes:
    return VERSION.pack(version) + row_key(op)
