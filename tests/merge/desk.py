"""The merge on a desk: its core driven as topologies/merge.py drives it, with lists for topics and a dict for rows.

A crash throws away everything but what a Kafka transaction made durable; the row state is then read back from the
op logs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from connector.merge.assembly import Assembly
from connector.merge.catalog import MAIN, Catalog
from connector.merge.draft import Draft
from connector.merge.judge import Verdict, judge
from connector.merge.overlay import Laying, landing_tributary
from connector.merge.rows import Entry, RowKey
from connector.merge.settle import finish, settle
from connector.merge.state import Evaluated, Merge, recovered
from connector.merge.stopped import ENDLESS, Patience
from connector.oplog.fold import Fold, fold
from connector.oplog.ops import Op
from tests.builders import TODOS


class DictRows:
    """The row state in a dict; same interface as connector.store.rows.RowState."""

    def __init__(self) -> None:
        self.rows: dict[RowKey, list[Entry]] = {}
        self.buckets: dict[RowKey, int] = {}

    def get_many(self, keys: Sequence[RowKey]) -> list[list[Entry]]:
        return [self.rows.get(key, []) for key in keys]

    def of_table(self, version: int, table: str) -> Iterator[tuple[str, list[Entry]]]:
        for (v, key), entries in sorted(self.rows.items()):
            if v == version and orjson.loads(key)[0] == table:
                yield key, entries

    def beyond(self, version: int, key: str, count: int) -> list[tuple[str, list[Entry]]]:
        return sorted((k, entries) for (v, k), entries in self.rows.items() if v == version and k > key)[:count]

    def bucket_rows(self, buckets: Sequence[RowKey]) -> list[int]:
        return [self.buckets.get(bucket, 0) for bucket in buckets]

    def write(self, rows: Mapping[RowKey, list[Entry]], buckets: Mapping[RowKey, int]) -> None:
        for key, entries in rows.items():
            self.rows[key] = entries
            if not entries:
                del self.rows[key]
        for bucket, count in buckets.items():
            self.buckets[bucket] = count
            if not count:
                del self.buckets[bucket]


@dataclass
class DictLogs:
    """Op logs in lists; same interface as topologies.oplogs.CommittedOps."""

    oplogs: Mapping[int, Sequence[Op]]

    def read(self, version: int, start: int, end: int, count: int) -> list[tuple[int, Op]]:
        found = self.oplogs.get(version, [])[start : min(end, start + count)]
        return [(start + n, op) for n, op in enumerate(found, 1)]


@dataclass
class Desk:
    """Durable: evaluated topics, op logs, commits, the newest catalog. Lost in a crash: `state`, `rows`, `read`."""

    catalog: Catalog
    evaluated: dict[str, list[Evaluated]] = field(default_factory=lambda: {MAIN: []})
    oplogs: dict[int, list[Op]] = field(default_factory=dict)
    commits: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[Any] = field(default_factory=list)
    records_per_draft: int = 3
    now: int = 1_000_000
    complete: dict[str, int | None] = field(default_factory=lambda: {TODOS: 0})
    patience: Patience = ENDLESS

    def __post_init__(self) -> None:
        self.rows = DictRows()
        self.read: dict[str, int] = {}
        self.assemblies: dict[str, Assembly] = {}
        self.wholes: dict[str, Evaluated] = {}
        self.laying: Laying | None = None
        self.state = Merge().with_catalog(self.catalog)

    def feed(self, *records: Evaluated) -> None:
        for record in records:
            self.evaluated.setdefault(record["stream"], []).append(record)

    def crash(self) -> None:
        """The process dies and starts again."""
        commit = self.commits[-1] if self.commits else None
        self.state = recovered(commit, self.catalog) if commit else Merge().with_catalog(self.catalog)
        self.rows = rebuilt(self.oplogs)
        self.read = {}
        self.assemblies = {}
        self.wholes = {}
        self.laying = None

    def run(self) -> None:
        """Until nothing moves any more."""
        while self.round():
            pass

    def round(self, *, crash: str | None = None) -> bool:
        """One draft, from taking to the store; `crash` is "before" or "after" its Kafka transaction commits."""
        draft = Draft(self.state, patience=self.patience, now=self.now)
        moved = self._fill(draft)
        moved = self._lay(draft) or moved
        draft.count(self.rows)
        settle(draft, now=self.now, complete=self.complete, retain_ms=1000)
        if not draft.changed:
            self.state = replace(self.state, looked=draft.state.looked)
            return moved
        if crash == "before":
            self.crash()
            return True
        ends = {}
        for op in draft.changes.ops:
            self.oplogs.setdefault(op["version"], []).append(op)
            ends[op["version"]] = len(self.oplogs[op["version"]])
        commit, catalog = finish(draft, ends, now=self.now)
        self.commits.append(orjson.loads(orjson.dumps(commit)))
        self.rejected += draft.rejections
        if catalog is not None:
            self.catalog = Catalog.from_record(orjson.loads(orjson.dumps(catalog.to_record())))
        if crash == "after":
            self.crash()
            return True
        self.rows.write(draft.changes.writes, draft.bucket_writes)
        self.state = draft.state
        return True

    def commit(self, changed: Catalog) -> None:
        """The catalog that a request gives."""
        draft = Draft(self.state)
        draft.answer({"id": "r"}, changed, 1)
        settle(draft, now=self.now, complete=self.complete, retain_ms=1000)
        commit, known = finish(draft, {}, now=self.now)
        self.commits.append(commit)
        self.catalog = known or self.catalog
        self.state = draft.state

    def _fill(self, draft: Draft) -> bool:
        moved = False
        for stream in list(draft.state.streams):
            for _ in range(self.records_per_draft):
                if not self._step(draft, stream):
                    break
                moved = True
        return moved

    def _lay(self, draft: Draft) -> bool:
        tributary = landing_tributary(draft.state.catalog)
        if tributary is None:
            return False
        self.laying = self.laying or Laying(tributary)
        if self.laying.portion(draft, self.rows, DictLogs(self.oplogs)):
            self.laying = None
        return True

    def _step(self, draft: Draft, stream: str) -> bool:
        at = self.read.setdefault(stream, self.state.streams[stream].evaluated_offset)
        topic = self.evaluated.get(stream, [])
        if at >= len(topic) or draft.full or stream not in draft.state.streams:
            return False
        record = self.wholes.get(stream, topic[at])
        verdict = judge(draft.state, stream, record)
        if verdict is Verdict.HOLD:
            return False
        if verdict is Verdict.JUMP:
            draft.rewind(stream)
        if verdict in (Verdict.TAKE, Verdict.LOOK):
            assembly = self.assemblies.setdefault(stream, Assembly())
            whole = assembly.add(record)
            if whole is not None:
                self.wholes[stream] = whole
                if verdict is Verdict.LOOK:
                    draft.look(stream, whole)
                    return True
                if draft.wants_fresh(whole):
                    return False
                if not draft.take(stream, whole, at + 1, self.rows):
                    return False
                assembly.forget()
        self.read[stream] = at + 1
        self.wholes.pop(stream, None)
        return True

    def folded(self, *, exposed: bool = False) -> Fold:
        """The fold of all op logs, or of what the last checkpoint covers."""
        if not exposed:
            return fold(op for ops in self.oplogs.values() for op in ops)
        checkpoint = next(c for c in reversed(self.commits) if c["exposed"])
        ends = {v["version"]: v["oplog_offset"] for v in checkpoint["versions"]}
        return fold(op for v, end in ends.items() for op in self.oplogs.get(v, [])[:end])

    def counted(self, version: int) -> dict[str, int]:
        return next(v for v in self.commits[-1]["versions"] if v["version"] == version)


def rebuilt(oplogs: Mapping[int, Sequence[Op]]) -> DictRows:
    """The row state as a function of the op logs (rule M3)."""
    rows = DictRows()
    for ops in oplogs.values():
        for op in ops:
            key = (op["version"], op["subkey"])
            where = [op["bucket"], op["object_type"], op["object_id"]]
            held = rows.rows.get(key, [])
            kept = [e for e in held if e[:3] != where]
            if op["op"] == "PUT":
                kept.append([*where, op["hash"].hex(), op["op_id"]])
            bucket = (op["version"], op["bucket"])
            rows.write({key: kept}, {bucket: rows.buckets.get(bucket, 0) + len(kept) - len(held)})
    return rows
