"""One commit in the making: what is taken goes in, ops, row writes and the next state come out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from connector.merge.catalog import Catalog, shadows_of, taken_over, with_rewind
from connector.merge.judge import answering, awaits_takeover
from connector.merge.retention import relieved
from connector.merge.rows import Changes, EvaluatedOutput, Rows
from connector.merge.state import Counted, Evaluated, Merge, RejectedRow, Replayed, Stream
from connector.merge.stopped import ENDLESS, Patience, stopped, stops
from connector.merge.translate import translated
from connector.oplog.ops import Op
from connector.position import op_id

OPS_PER_TRANSACTION = 20_000  # rule M2
TEXT_PER_TRANSACTION = 32 * 1024 * 1024  # characters; bounds memory where rows are large
SLICE = 1_000  # rows compared with one look into the row state

Work = tuple[list[int], str, list[EvaluatedOutput]]  # versions that read the table, source key, outputs


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that a version could not evaluate, and at which position."""

    row: RejectedRow
    position: int


class Draft:
    """Built up by one thread between two commits; `state` is what the commit will make durable."""

    def __init__(self, state: Merge, *, patience: Patience = ENDLESS, now: int = 0) -> None:
        self._patience = patience
        self._now = now
        self.base = state
        self.state = replace(state, number=state.number + 1)
        self.changes = Changes(op_id(self.state.number, 0))
        self.rejections: list[Rejection] = []
        self.answers: list[dict[str, Any]] = []
        self.bucket_writes: dict[tuple[int, str], int] = {}
        self.taken = 0  # records
        self.held: frozenset[str] = frozenset()  # streams for which main has waited for long
        self._changed_ops: Counter[int] = Counter()

    @property
    def full(self) -> bool:
        return len(self.changes.ops) >= OPS_PER_TRANSACTION or self.changes.text_size >= TEXT_PER_TRANSACTION

    @property
    def changed(self) -> bool:
        """There is something to commit."""
        told = self.state.catalog is not self.base.catalog or self.state.waits != self.base.waits
        return bool(self.taken or self.answers or self.changes.ops) or told

    def take(self, stream: str, record: Evaluated, next_offset: int, rows: Rows) -> bool:
        """Take a record that `judge` lets pass; False where the commit is full before its end: go on in the next.

        `next_offset` is the evaluated topic's offset after the record. A truncate begins a commit of its own,
        since it walks the row state as last committed.
        """
        self.taken += 1
        record = translated(record, shadows_of(self.state.catalog, stream))
        versions = answering(self.state, stream, record)
        if reasons := stops(self.state, record, versions, self._patience):
            self._stop(reasons, record)
            if stream not in self.state.streams:
                return True  # it went with its deployment
            versions = answering(self.state, stream, record)
        before = Counter(self.changes.op_counts)
        if record["truncate"] is not None:
            done = self._truncate(stream, record, versions, rows)
        else:
            done = self._rows(stream, record, versions, rows)
        if record["replay"] is None:
            self._changed_ops += Counter(self.changes.op_counts) - before
        if done:
            self._advance(stream, record, versions, next_offset)
        return done

    def look(self, stream: str, record: Evaluated) -> None:
        """Whether a tributary's record stops versions is settled before main is taken as far."""
        record = translated(record, shadows_of(self.state.catalog, stream))
        self.state = replace(self.state, looked={**self.state.looked, stream: record["position"]})
        if reasons := stops(self.state, record, answering(self.state, stream, record), self._patience):
            self._stop(reasons, record)

    def wants_fresh(self, record: Evaluated) -> bool:
        """The record must begin a commit of its own."""
        return record["truncate"] is not None and bool(self.changes.writes)

    def announced(self, record: Evaluated) -> None:
        """Main says at its own position that it answers from the next one on: on an idle source the take-over of a
        tributary that stands there too waits for no batch (rule D5)."""
        unable = record.get("unable", ())
        given = {e["version"]: e["evaluation"] for e in record["versions"] if e["version"] not in unable}
        here = self.state.main.position
        moved = frozenset(
            v.version
            for v in self.state.catalog.versions
            if awaits_takeover(v)
            and given.get(v.version) == v.evaluation
            and record["position"] == here == self.state.versions[v.version].position
        )
        if moved:
            self.state = self.state.with_catalog(taken_over(self.state.catalog, moved))

    def rewrite(self, rewrites: Sequence[Op]) -> None:
        """MOVEs and CLEARs of ops at or below the last checkpoint (rule M4); they count as no new op."""
        self.changes.ops.extend(rewrites)

    def rewind(self, stream: str) -> None:
        """Ask the stream to rewind (rule M1)."""
        self.state = replace(self.state, catalog=with_rewind(self.state.catalog, stream))

    def answer(self, answer: dict[str, Any], catalog: Catalog, next_offset: int) -> None:
        """A request is decided (rule D1): its answer and its catalog are of one commit."""
        self.answers.append(answer)
        self.state = replace(self.state, request_offset=next_offset)
        if catalog is not self.state.catalog:
            self.state = self.state.with_catalog(catalog)

    def relieve(self) -> None:
        """The change log has grown too long: let go of what holds it back most (rule M5)."""
        catalog = relieved(self.state)
        if catalog is not self.state.catalog:
            self.state = self.state.with_catalog(catalog)

    def count(self, rows: Rows) -> None:
        """Bring each version's counters up to the ops of this commit."""
        where = list(self.changes.bucket_deltas)
        buckets: Counter[int] = Counter()
        rows_by: Counter[int] = Counter()
        for place, before in zip(where, rows.bucket_rows(where), strict=True):
            after = before + self.changes.bucket_deltas[place]
            self.bucket_writes[place] = after
            buckets[place[0]] += (after > 0) - (before > 0)
            rows_by[place[0]] += after - before
        versions = dict(self.state.versions)
        for number, ops in self.changes.op_counts.items():
            if number in versions:
                v = versions[number]
                versions[number] = replace(
                    v,
                    buckets=v.buckets + buckets[number],
                    rows=v.rows + rows_by[number],
                    ops=v.ops + ops,
                    changed_ops=v.changed_ops + self._changed_ops[number],
                )
        self.state = replace(self.state, versions=versions)

    def written(self, oplog_offsets: Mapping[int, int]) -> None:
        """The ops are in their op logs; these are the next offsets there, per version."""
        versions = dict(self.state.versions)
        for number, offset in oplog_offsets.items():
            if number in versions:
                versions[number] = replace(versions[number], oplog_offset=offset)
        self.state = replace(self.state, versions=versions)

    def _stop(self, reasons: Mapping[int, str], record: Evaluated) -> None:
        """These versions end before the record; what they rejected in it is set aside all the same."""
        self.rejections += [Rejection(r, record["position"]) for r in record["rejected"] if r["version"] in reasons]
        refused = Counter(r["version"] for r in record["rejected"])
        counted = {
            n: replace(self.state.versions[n], rejected=self.state.versions[n].rejected + refused[n]) for n in reasons
        }
        positions = {number: v.position for number, v in self.state.versions.items()}
        self.state = replace(self.state, versions={**self.state.versions, **counted}).with_catalog(
            stopped(self.state.catalog, reasons, positions, self._now)
        )

    def _rows(self, stream: str, record: Evaluated, versions: frozenset[int], rows: Rows) -> bool:
        position = record["position"] or self.state.streams[stream].position
        work = list(_work(record, versions))
        cursor = self.state.cursors.get(stream, 0)
        while cursor < len(work):
            portion = work[cursor : cursor + SLICE]
            fitted = self._portion(portion, position, rows)
            cursor += fitted
            if fitted < len(portion):
                self._interrupted(stream, cursor)
                return False
        return True

    def _interrupted(self, stream: str, cursor: int) -> None:
        """This commit ends inside the stream's record."""
        if cursor:
            self.state = replace(self.state, cursors={**self.state.cursors, stream: cursor})

    def _portion(self, work: Sequence[Work], position: int, rows: Rows) -> int:
        """Compare these rows; how many fitted into the commit."""
        keys = [(version, key) for versions, key, _ in work for version in versions]
        before = iter(self.changes.before(keys, rows))
        ops = self.changes.ops
        for index, (versions, key, outputs) in enumerate(work):
            held = [next(before) for _ in versions]
            most = sum(map(len, held)) + sum(len(o["versions"]) for o in outputs)
            if len(ops) + most > OPS_PER_TRANSACTION and ops:
                return index
            for version, last in zip(versions, held, strict=True):
                given = [o for o in outputs if version in o["versions"]]
                self.changes.compare((version, key), last, given, position)
        return len(work)

    def _truncate(self, stream: str, record: Evaluated, versions: frozenset[int], rows: Rows) -> bool:
        assert record["truncate"] is not None
        cursor = self.state.cursors.get(stream, 0)
        for version in sorted(versions):
            for key, last in rows.of_table(version, record["truncate"]):
                if self.changes.ops and len(self.changes.ops) + len(last) > OPS_PER_TRANSACTION:
                    self._interrupted(stream, cursor)
                    return False
                self.changes.compare((version, key), last, (), record["position"])
                cursor += 1
        return True

    def _advance(self, stream: str, record: Evaluated, versions: frozenset[int], next_offset: int) -> None:
        self.rejections += [Rejection(r, record["position"]) for r in record["rejected"] if r["version"] in versions]
        refused = Counter(r["version"] for r in record["rejected"])
        counted = dict(self.state.versions)
        for number in versions:
            counted[number] = _counted(counted[number], record, refused[number])
        advanced = _advanced(self.state.streams[stream], record, next_offset)
        self.state = replace(
            self.state.with_stream(advanced),
            versions=counted,
            cursors={s: c for s, c in self.state.cursors.items() if s != stream},
        )
        moved = frozenset(
            v.version
            for v in self.state.catalog.versions
            if v.version in versions and v.stream != stream and awaits_takeover(v)
        )
        if moved:
            self.state = self.state.with_catalog(taken_over(self.state.catalog, moved))


def _work(record: Evaluated, versions: frozenset[int]) -> Iterator[Work]:
    """Every row of the record, also one that no version reads: a cursor counts them all."""
    for table in record["tables"]:
        reading = [v for v in table["versions"] if v in versions]
        for row in table["rows"]:
            yield reading, row["key"], row["outputs"]
        for key in table["empty"]:
            yield reading, key, []


def _counted(version: Counted, record: Evaluated, rejected: int) -> Counted:
    position = version.position if record["replay"] is not None else record["position"]
    return replace(version, position=position, rejected=version.rejected + rejected)


def _advanced(stream: Stream, record: Evaluated, next_offset: int) -> Stream:
    scan = record["replay"]
    if scan is None:
        return replace(
            stream,
            position=record["position"],
            evaluated_offset=next_offset,
            change_offset=record["change_offset"] + 1,
            boundary=record["boundary"],
            committed_at=record["committed_at"],
            log_rows=record["log_rows"],
        )
    where = (scan["table"], scan["partition"])
    count = sum(len(t["rows"]) + len(t["empty"]) for t in record["tables"])
    replayed = Replayed(scan["end"], scan["done"], stream.partitions[where].rows + count)
    return replace(stream, evaluated_offset=next_offset, partitions={**stream.partitions, where: replayed})
