"""Two folds of the same definitions, compared bucket by bucket (law 9)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from connector.oplog.fold import Bucket, Identity


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not the same in both; a hash is None on the side that lacks it."""

    bucket: str
    row: Identity
    live: str | None
    rebuilt: str | None


def differences(live: Mapping[str, Bucket], rebuilt: Mapping[str, Bucket]) -> Iterator[Difference]:
    """Every row that differs, by bucket; buckets are given by their parameters. History does not count."""
    for bucket in sorted(live.keys() | rebuilt.keys()):
        left = live[bucket].rows if bucket in live else {}
        right = rebuilt[bucket].rows if bucket in rebuilt else {}
        if left != right:
            for row in sorted(left.keys() | right.keys()):
                if left.get(row) != right.get(row):
                    yield Difference(bucket, row, _hex(left.get(row)), _hex(right.get(row)))


def _hex(output_hash: bytes | None) -> str | None:
    return output_hash.hex() if output_hash is not None else None
