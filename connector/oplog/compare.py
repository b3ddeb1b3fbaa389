"""The live rows of two op logs of the same part, each sorted, compared row by row (law 9)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import orjson

from connector.oplog.ops import Op


class Print(NamedTuple):
    """What a PUT comes to: its hash, its checksum and its text in a few bytes, and where in the op log it stands."""

    mark: bytes
    offset: int


class Pair(NamedTuple):
    """A row of either log, by its key; None on the side that lacks it."""

    key: bytes
    live: Print | None
    rebuilt: Print | None

    @property
    def equal(self) -> bool:
        return self.live is not None and self.rebuilt is not None and self.live.mark == self.rebuilt.mark


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not the same in both: hash and text of both sides, None on the side that lacks it."""

    bucket: str
    object_type: str
    object_id: str
    subkey: str
    live: str | None
    rebuilt: str | None
    live_data: str | None
    rebuilt_data: str | None


def mark(op: Op) -> bytes:
    """Equal for two PUTs that clients could not tell apart: equal hash, checksum and text."""
    text = blake2b((op["data"] or "").encode(), digest_size=8).digest()
    return op["hash"] + op["checksum"].to_bytes(4, "little") + text


def row_key(op: Op) -> bytes:
    """A row's key: those of a bucket sort together."""
    return orjson.dumps([op["bucket"], op["object_type"], op["object_id"], op["subkey"]])


def row_of(key: bytes) -> tuple[str, str, str, str]:
    """Bucket parameters, object type, object id, source key."""
    bucket, object_type, object_id, subkey = orjson.loads(key)
    return bucket, object_type, object_id, subkey


def pairs(live: Iterable[tuple[bytes, Print]], rebuilt: Iterable[tuple[bytes, Print]]) -> Iterator[Pair]:
    """Every row of both sides, which are sorted by their keys. Takes memory for one row of each."""
    left, right = iter(live), iter(rebuilt)
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        key = min(side[0] for side in (one, other) if side is not None)
        here = one[1] if one is not None and one[0] == key else None
        there = other[1] if other is not None and other[0] == key else None
        yield Pair(key, here, there)
        one = next(left, None) if here is not None else one
        other = next(right, None) if there is not None else other
