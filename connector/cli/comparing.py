"""What `verify` compares: both op logs of each part, one part after the other, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from connector.deploy.catalog import Catalog, Comparison, Deployment, Version
from connector.oplog.audit import Audit, Fault, history_faults
from connector.oplog.compare import Difference, Pair, Print, pairs, row_of
from connector.oplog.ops import Op, bucket_name
from connector.settings import Settings
from connector.store.folded import FoldedRows
from connector.store.history import History
from connector.store.scratch import scratch
from topologies.oplogs import OpLogReader

LISTED = 100  # differences, and faults, that --json has; all are counted
FOLDER = "verify-"

T = TypeVar("T")
Still = Callable[[], None]  # called with every op and row: raises where it makes no sense to go on


@dataclass(slots=True)
class Verified:
    """What was compared, and what differs."""

    position: int
    parts: int = 0
    buckets: int = 0
    rows: int = 0
    lookups: int = 0
    different: int = 0
    found: list[Difference] = field(default_factory=list)
    faulty: int = 0  # things in the live op logs that cannot be right
    faults: list[Fault] = field(default_factory=list)
    stopped: tuple[str, ...] = ()  # definitions that were left out
    repaired: int | None = None  # the position at which what differs was written
    left: int | None = None  # rows that differ after that

    @property
    def equal(self) -> bool:
        """All that there is was compared, and is the same."""
        return bool(self.parts) and not self.different and not self.faulty

    def blame(self, name: str, fault: Fault) -> None:
        """Count a fault in the op log of a version, whose buckets begin with this name; list some."""
        self.faulty += 1
        if self.faulty <= LISTED:
            self.faults.append(fault._replace(bucket=f"{name}{fault.bucket}"))


def compare(known: Settings, deployment: Deployment, catalog: Catalog, still: Still) -> Verified:
    """Compare both op logs of each part up to the aligned commit, one part after the other."""
    verified = Verified(deployment.position, stopped=_stopped(catalog))
    reader = OpLogReader(known)
    try:
        for both in deployment.comparisons:
            version = catalog.version(both.original)
            if version is not None:
                with scratch(known.state, FOLDER) as folder:
                    compare_part(verified, reader, both, version, folder, still)
    finally:
        reader.close()
    return verified


def compare_part(  # noqa: PLR0917
    verified: Verified, reader: OpLogReader, both: Comparison, version: Version, folder: Path, still: Still
) -> None:
    """Count and compare the rows of one part, and see whether its live op log is right by itself."""
    audit, name = Audit(), bucket_name(both.original, version.definition, "")

    def live() -> Iterator[tuple[int, Op]]:
        return _while(still, reader.until(both.original, both.original_offset))

    folded = FoldedRows(folder / "rows")
    try:
        folded.apply(both.original, _audited(verified, audit, name, live()))
        if audit.rewritten:
            _look_at_history(verified, name, folded.marked(both.original, live()), folder / "history")
        folded.apply(both.version, _while(still, reader.until(both.version, both.offset)))
        every = pairs(folded.rows(both.original), folded.rows(both.version))
        differing = list(_differing(verified, _while(still, every), version))
        verified.parts += 1
    finally:
        folded.close()
    verified.found += [_told(reader, both, version, pair) for pair in differing]


def _while(still: Still, some: Iterable[T]) -> Iterator[T]:
    for one in some:
        still()
        yield one


def _audited(verified: Verified, audit: Audit, name: str, ops: Iterable[tuple[int, Op]]) -> Iterator[tuple[int, Op]]:
    for offset, op in ops:
        for fault in audit.faults(op):
            verified.blame(name, fault)
        yield offset, op


def _look_at_history(verified: Verified, name: str, ops: Iterable[tuple[Op, bool]], folder: Path) -> None:
    history = History(folder)
    try:
        history.add(ops)
        for fault in history_faults(history.entries()):
            verified.blame(name, fault)
    finally:
        history.close()


def _differing(verified: Verified, every: Iterable[Pair], version: Version) -> Iterator[Pair]:
    """Count everything; of what differs as much as is to be listed."""
    rows, buckets, last = 0, 0, ""
    for pair in every:
        if pair.live is not None:
            rows += 1
            bucket = row_of(pair.key)[0]
            buckets += rows == 1 or bucket != last
            last = bucket
        if not pair.equal:
            verified.different += 1
            if verified.different <= LISTED:
                yield pair
    if version.kind == "index":
        verified.lookups += rows
    else:
        verified.buckets += buckets
        verified.rows += rows


def _told(reader: OpLogReader, both: Comparison, version: Version, pair: Pair) -> Difference:
    bucket, object_type, object_id, subkey = row_of(pair.key)
    live, live_data = _value(reader, both.original, pair.live)
    rebuilt, rebuilt_data = _value(reader, both.version, pair.rebuilt)
    name = bucket_name(both.original, version.definition, bucket)
    return Difference(name, object_type, object_id, subkey, live, rebuilt, live_data, rebuilt_data)


def _value(reader: OpLogReader, version: int, seen: Print | None) -> tuple[str | None, str | None]:
    """Hash and text of a row, from its op log."""
    op = reader.at(version, seen.offset) if seen is not None else None
    return (op["hash"].hex(), op["data"]) if op is not None else (None, None)


def _stopped(catalog: Catalog) -> tuple[str, ...]:
    stopped = {v.version for v in catalog.versions if v.stopped_at}
    active = catalog.active.definitions if catalog.active is not None else ()
    return tuple(d.name for d in active if any(part.version in stopped for part in d.parts))
