"""Opening RocksDB: one set of options, one way to tell a store that cannot be used from one that is taken."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, Rdict, WriteBatch

from connector.errors import Unavailable

CACHE_BYTES = 64 * 1024 * 1024
PORTION = 500  # pairs read at a stretch
DAMAGED = "DAMAGED"  # a file in the folder of a store that could not be read
WRITE_BUFFER_BYTES = 32 * 1024 * 1024
_OF_THE_MACHINE = (
    "No space left",
    "Disk quota",
    "File too large",
    "Too many open files",
    "Permission denied",
    "Read-only file system",
)


class Taken(Unavailable):
    """A store that another process has open."""


def open_store(folder: Path) -> Rdict:
    """The store in `folder`, made if there is none, emptied if it is corrupt: whoever opens it can rebuild it.

    Raises Unavailable where another process has it open, or where the machine has no room or no rights for it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        opened = Rdict(str(folder), _options())
    except Exception as error:
        if "lock" in str(error).lower():
            raise Taken(f"store is open in another process: {error}", where=str(folder)) from error
        if any(reason in str(error) for reason in _OF_THE_MACHINE):
            raise Unavailable(f"store cannot be opened: {error}", where=str(folder)) from error
        return _emptied(folder)
    if not (folder / DAMAGED).exists():
        return opened
    opened.close()
    return _emptied(folder)


def _emptied(folder: Path) -> Rdict:
    shutil.rmtree(folder, ignore_errors=True)
    return Rdict(str(folder), _options())


def damaged(path: str, error: Exception) -> Unavailable:
    """What to raise where a store could not be read or written: it is made anew when it is opened again, unless it is
    the machine that failed."""
    if any(reason in str(error) for reason in _OF_THE_MACHINE):
        return Unavailable(f"store cannot be used: {error}", where=path)
    with suppress(OSError):
        (Path(path) / DAMAGED).touch()
    return Unavailable(f"store is damaged: {error}", where=path, hint="it is made anew at the next start")


def write(db: Rdict, batch: WriteBatch) -> None:
    """Raises Unavailable where the store takes no more."""
    try:
        db.write(batch)
    except Exception as error:
        raise damaged(db.path(), error) from error


def close(db: Rdict) -> None:
    """Raises Unavailable where the store could not write what it still had."""
    path = db.path()
    try:
        db.close()
    except Exception as error:
        raise damaged(path, error) from error


def check_intact(db: Rdict) -> None:
    """Raises Unavailable where a read, in whatever thread, has found the store damaged."""
    if (Path(db.path()) / DAMAGED).exists():
        raise Unavailable("store is damaged", where=db.path(), hint="it is made anew at the next start")


def open_free_store(folder: Path) -> Rdict:
    """The store in `folder`, or in `folder-2`, `folder-3`, …, where a process that hangs still holds the first."""
    for number in range(1, 10):
        try:
            return open_store(folder if number == 1 else folder.with_name(f"{folder.name}-{number}"))
        except Taken:
            continue
    raise Unavailable("nine stores are open in other processes", where=str(folder), hint="end the processes that hang")


class Cursor:
    """The store as it was when the cursor was made, whatever is written later. For one thread. All of it raises
    Unavailable where the store cannot be read.

    It is one RocksDB iterator, which never sees a later write. A `Snapshot` of rocksdict 0.3.29 does not do: its
    iterators read the present (tests/store/test_buckets.py shows it).
    """

    def __init__(self, db: Rdict) -> None:
        self._db, self._at = db, db.iter()

    def get(self, key: bytes) -> bytes | None:
        self._at.seek(key)
        if not self._at.valid():
            self._check_end()
            return None
        return cast(bytes, self._at.value()) if self._at.key() == key else None

    def items(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All pairs with start <= key < end, rising. Several may be under way at once."""
        while portion := self._portion(start, end):
            yield from portion
            if len(portion) < PORTION:
                return
            start = portion[-1][0] + b"\0"

    def portion(self, start: bytes, end: bytes, count: int, size: int) -> tuple[list[bytes], bytes, bool]:
        """The values of start <= key < end, rising: at most `count`, and none after `size` bytes; the key of the last
        one (empty: there is none), and whether there are more."""
        at, last, held = self._at, b"", 0
        values: list[bytes] = []
        valid, key_of, value_of, advance = at.valid, at.key, at.value, at.next
        at.seek(start)
        while valid():
            key = key_of()
            if key >= end:
                return values, last, False
            if len(values) >= count or held >= size:
                return values, last, True
            value = value_of()
            values.append(value)
            last, held = key, held + len(value)
            advance()
        self._check_end()
        return values, last, False

    def _portion(self, start: bytes, end: bytes) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        self._at.seek(start)
        while self._at.valid() and len(found) < PORTION:
            key = cast(bytes, self._at.key())
            if key >= end:
                break
            found.append((key, cast(bytes, self._at.value())))
            self._at.next()
        if not self._at.valid():
            self._check_end()
        return found

    def _check_end(self) -> None:
        """That there is no more because the store ends, not because it cannot be read. Raises Unavailable."""
        try:
            self._at.status()
        except Exception as error:
            raise damaged(self._db.path(), error) from error


def after(prefix: bytes) -> bytes:
    """The first key behind all keys that begin with `prefix`, which must not end in 0xff."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_keep_log_file_num(2)
    table = BlockBasedOptions()
    table.set_bloom_filter(10, False)
    table.set_block_cache(Cache(CACHE_BYTES))
    options.set_block_based_table_factory(table)
    return options
