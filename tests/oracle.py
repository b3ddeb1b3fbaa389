"""What the buckets must be, from nothing but the final rows (law 9)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from connector.oplog.fold import Fold, Identity

Table = Mapping[str, Mapping[str, Any]]  # source key → row
# (table, row) → (outputs with bucket, type, id, data, hash; errors): an Evaluator of connector.definitions is one
Evaluate = Callable[[str, Mapping[str, Any]], tuple[Iterable[Any], Iterable[str]]]
Buckets = dict[str, dict[Identity, bytes]]  # parameters → identity → hash


def expected(tables: Mapping[str, Table], evaluate: Evaluate) -> Buckets:
    """The buckets of one version over all rows of all tables."""
    buckets: Buckets = {}
    for table, rows in tables.items():
        for key, row in rows.items():
            for output in evaluate(table, row)[0]:
                buckets.setdefault(output.bucket, {})[(output.type, output.id, key)] = output.hash
    return buckets


def held(folded: Fold, version: int) -> Buckets:
    """The buckets of one version as its op log has them."""
    return {name: dict(bucket.rows) for name, bucket in folded.of_version(version).items()}


def differences(wanted: Buckets, found: Buckets) -> list[str]:
    """One line per row that is missing, too many or another; empty where both are equal."""
    lines = []
    for bucket in sorted(wanted.keys() | found.keys()):
        want, have = wanted.get(bucket, {}), found.get(bucket, {})
        lines += [f"{bucket} lacks {identity}" for identity in sorted(want.keys() - have.keys())]
        lines += [f"{bucket} has {identity} too many" for identity in sorted(have.keys() - want.keys())]
        lines += [f"{bucket} has another {i}" for i in sorted(want.keys() & have.keys()) if want[i] != have[i]]
    return lines


def compare(tables: Mapping[str, Table], evaluators: Mapping[int, Evaluate], folded: Fold) -> list[str]:
    """All differences between from scratch and incremental, over all versions."""
    return [
        f"version {version}: {line}"
        for version, evaluate in evaluators.items()
        for line in differences(expected(tables, evaluate), held(folded, version))
    ]
