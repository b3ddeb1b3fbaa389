"""The merge's row state on RocksDB: each row's last outputs, each bucket's rows, and which commit they are of."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import cast

import orjson
from rocksdict import WriteBatch

from connector.merge.rows import Entry, RowKey
from connector.oplog.ops import Op
from connector.store.rocks import Cursor, after, close, damaged, open_free_store, write

FORMAT = 1
ROW = struct.Struct(">cI")
META = b"m"


@dataclass(frozen=True, slots=True)
class Applied:
    """What the store holds: all ops of `log` up to a commit, per version up to an op-log offset."""

    log: str = ""  # app and topic id: a store of another log is worthless
    commit: int = 0
    offsets: Mapping[int, int] = field(default_factory=dict)


class RowState:
    """Implements `connector.merge.rows.Rows` as of `applied`."""

    def __init__(self, folder: Path) -> None:
        self._db = open_free_store(folder)
        self.applied = self._read_applied()

    def get_many(self, keys: Sequence[RowKey]) -> list[list[Entry]]:
        found = self._get([_row_key(version, key) for version, key in keys])
        return [orjson.loads(value) if value is not None else [] for value in found]

    def of_table(self, version: int, table: str) -> Iterator[tuple[str, list[Entry]]]:
        prefix = _row_key(version, f"[{orjson.dumps(table).decode()},")
        for key, value in Cursor(self._db).items(prefix, after(prefix)):
            yield key[ROW.size :].decode(), orjson.loads(value)

    def beyond(self, version: int, key: str, count: int) -> list[tuple[str, list[Entry]]]:
        found = Cursor(self._db).items(_row_key(version, key) + b"\0", ROW.pack(b"r", version + 1))
        return [(name[ROW.size :].decode(), orjson.loads(value)) for name, value in islice(found, count)]

    def bucket_rows(self, buckets: Sequence[RowKey]) -> list[int]:
        found = self._get([_bucket_key(version, bucket) for version, bucket in buckets])
        return [int(value) if value is not None else 0 for value in found]

    def write(
        self,
        applied: Applied,
        rows: Mapping[RowKey, list[Entry]],
        buckets: Mapping[RowKey, int],
        dropped: Iterable[int] = (),
    ) -> None:
        """One commit's changes in one write batch; an empty list or a zero takes the entry away, `dropped` versions
        go whole."""
        batch = WriteBatch(raw_mode=True)
        for (version, key), entries in rows.items():
            if entries:
                batch.put(_row_key(version, key), orjson.dumps(entries))
            else:
                batch.delete(_row_key(version, key))
        for (version, bucket), count in buckets.items():
            if count:
                batch.put(_bucket_key(version, bucket), str(count).encode())
            else:
                batch.delete(_bucket_key(version, bucket))
        for version in dropped:
            for kind in (b"r", b"b"):
                batch.delete_range(ROW.pack(kind, version), ROW.pack(kind, version + 1))
        batch.put(META, _meta(applied))
        write(self._db, batch)
        self.applied = applied

    def replay(self, ops: Sequence[Op], applied: Applied) -> None:
        """Apply ops as read from op logs: the row state is a function of them (rule M3)."""
        keys = list(dict.fromkeys((op["version"], op["subkey"]) for op in ops if op["subkey"]))
        rows = dict(zip(keys, self.get_many(keys), strict=True))
        deltas: dict[RowKey, int] = {}
        for op in ops:
            if op["op"] not in ("PUT", "REMOVE"):
                continue
            key = (op["version"], op["subkey"])
            where = [op["bucket"], op["object_type"], op["object_id"]]
            kept = [e for e in rows[key] if e[:3] != where]
            change = len(kept) - len(rows[key])
            if op["op"] == "PUT":
                kept.append([*where, op["hash"].hex(), op["op_id"]])
                change += 1
            rows[key] = kept
            bucket = (op["version"], op["bucket"])
            deltas[bucket] = deltas.get(bucket, 0) + change
        places = list(deltas)
        counts = {p: n + deltas[p] for p, n in zip(places, self.bucket_rows(places), strict=True)}
        self.write(applied, rows, counts)

    def empty(self) -> None:
        """Take everything away: the store is of another log, or ahead of it."""
        batch = WriteBatch(raw_mode=True)
        batch.delete_range(b"\x00", b"\xff")
        write(self._db, batch)
        self.applied = Applied()

    def close(self) -> None:
        close(self._db)

    def _get(self, keys: list[str | int | float | bytes | bool]) -> list[bytes | None]:
        try:
            return cast(list[bytes | None], self._db.get(keys)) if keys else []
        except Exception as error:
            raise damaged(self._db.path(), error) from error

    def _read_applied(self) -> Applied:
        (value,) = self._get([META])
        if value is None:
            return Applied()
        meta = orjson.loads(value)
        if meta["format"] != FORMAT:
            return Applied()
        return Applied(meta["log"], meta["commit"], {int(v): offset for v, offset in meta["offsets"].items()})


def _row_key(version: int, key: str) -> bytes:
    return ROW.pack(b"r", version) + key.encode()


def _bucket_key(version: int, bucket: str) -> bytes:
    return ROW.pack(b"b", version) + bucket.encode()


def _meta(applied: Applied) -> bytes:
    return orjson.dumps(
        {
            "format": FORMAT,
            "log": applied.log,
            "commit": applied.commit,
            "offsets": {str(version): offset for version, offset in applied.offsets.items()},
        }
    )
