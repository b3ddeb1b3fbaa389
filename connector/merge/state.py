"""What the merge knows between two commits: how far each stream and each version is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NotRequired, TypedDict

from connector.merge.catalog import MAIN, Catalog, Tributary
from connector.merge.rows import EvaluatedOutput


class EvaluatedRow(TypedDict):
    key: str
    outputs: list[EvaluatedOutput]


class EvaluatedTable(TypedDict):
    table: str
    versions: list[int]
    rows: list[EvaluatedRow]
    empty: list[str]


class Evaluation(TypedDict):
    version: int
    evaluation: str


class ReplayRange(TypedDict):
    table: str
    partition: int
    start: int
    end: int
    done: bool


class RejectedRow(TypedDict):
    version: int
    table: str
    key: str
    topic: str
    partition: int
    offset: int
    reason: str


class Evaluated(TypedDict):
    """One record of an evaluated topic; fields as in schemas/syncline.Evaluated.avsc."""

    stream: str
    position: int
    change_offset: int
    boundary: bool
    committed_at: int
    log_rows: int
    attempt: str
    part: int
    parts: int
    replay: ReplayRange | None
    truncate: str | None
    versions: list[Evaluation]
    tables: list[EvaluatedTable]
    rejected: list[RejectedRow]
    hung: NotRequired[list[int]]
    unable: NotRequired[list[int]]


@dataclass(frozen=True, slots=True)
class Replayed:
    """How far one snapshot partition is taken: consumer position, read to its captured end or not, rows."""

    taken: int = 0
    done: bool = False
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Stream:
    """How far a stream's records are taken. `boundary`: its position is known to end no source transaction in the
    middle; after a start that is known only of a checkpoint."""

    name: str
    position: int = 0
    evaluated_offset: int = 0
    change_offset: int = 0
    boundary: bool = True
    committed_at: int = 0
    log_rows: int = 0
    partitions: Mapping[tuple[str, int], Replayed] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counted:
    """A version after a commit. `oplog_offset` is the next offset in its op log, `changed_ops` those of its ops that
    batches of changes gave, no replay and no overlay, `excused` those of its rejected rows that stop it no more."""

    position: int = 0
    oplog_offset: int = 0
    buckets: int = 0
    rows: int = 0
    ops: int = 0
    rejected: int = 0
    changed_ops: int = 0
    excused: int = 0


@dataclass(frozen=True, slots=True)
class Wait:
    """What keeps a pending deployment from its switch, in words."""

    generation: int
    reason: str


@dataclass(frozen=True, slots=True)
class Merge:
    """Everything but the row state. `number` is that of the last commit. `cursors` has the streams of whose next record
    a part is in commits already, since it did not fit into one, and how many rows of it need not be compared again.
    `looked`: up to where each tributary's records are known under this catalog, beyond main by one; lost in a crash
    without harm."""

    catalog: Catalog = field(default_factory=Catalog)
    number: int = 0
    request_offset: int = 0
    streams: Mapping[str, Stream] = field(default_factory=lambda: {MAIN: Stream(MAIN)})
    versions: Mapping[int, Counted] = field(default_factory=dict)
    cursors: Mapping[str, int] = field(default_factory=dict)
    looked: Mapping[str, int] = field(default_factory=dict)
    waits: tuple[Wait, ...] = ()

    @property
    def main(self) -> Stream:
        return self.streams[MAIN]

    def with_stream(self, stream: Stream) -> Merge:
        return replace(self, streams={**self.streams, stream.name: stream})

    def with_catalog(self, catalog: Catalog) -> Merge:
        """This catalog in force; streams and versions that are new in it begin, those gone from it end. A queued
        tributary is no stream yet."""
        tributaries = {t.name: t for t in catalog.tributaries if t.state != "queued"}
        streams = {n: s for n, s in self.streams.items() if n == MAIN or n in tributaries}
        beginning = tributaries.keys() - streams.keys()
        versions = {
            v.version: None if v.stream in beginning else self.versions.get(v.version) for v in catalog.versions
        }
        versions = {
            n: replace(v, excused=v.rejected) if v and _exposed_by(catalog, self.catalog, n) else v
            for n, v in versions.items()
        }
        begun = {
            v.version: tributaries[v.stream].start if v.stream in tributaries else self.main.position
            for v in catalog.versions
        }
        return replace(
            self,
            catalog=catalog,
            streams=streams | {n: _bounded(streams.get(n) or _begun(t, self.main), t) for n, t in tributaries.items()},
            versions={n: counted or Counted(position=begun[n]) for n, counted in versions.items()},
            cursors={n: c for n, c in self.cursors.items() if n == MAIN or n in tributaries},
            looked={},
        )


def _exposed_by(catalog: Catalog, before: Catalog, number: int) -> bool:
    """Clients see the version from this catalog on."""
    version, known = catalog.version(number), before.version(number)
    return bool(version and known and version.state == "exposed" != known.state)


def _begun(tributary: Tributary, main: Stream) -> Stream:
    return Stream(
        tributary.name,
        position=tributary.start,
        change_offset=tributary.start_offset,
        boundary=main.boundary and main.position == tributary.start,
        committed_at=main.committed_at,
        log_rows=main.log_rows,
    )


def _bounded(stream: Stream, tributary: Tributary) -> Stream:
    """Each partition of the replay begins at 0; an empty one is done with that (rule T6)."""
    if not tributary.bounded or stream.partitions:
        return stream
    return replace(stream, partitions={(e.table, e.partition): Replayed(done=e.end == 0) for e in tributary.ends})


def seen_position(state: Merge) -> int:
    """The last position wholly taken by main and by every exposed version that goes on."""
    exposed = (state.versions[v.version].position for v in state.catalog.advancing())
    return min([state.main.position, *exposed])


def standing(state: Merge) -> frozenset[int]:
    """The versions that are taken as far as main is, and not stopped there."""
    stopped = {v.version for v in state.catalog.versions if v.stopped_at}
    return frozenset(n for n, v in state.versions.items() if v.position == state.main.position and n not in stopped)


def is_checkpoint(state: Merge) -> bool:
    """Main and every exposed version that goes on stand at one boundary, none inside a record (rule M2)."""
    position = state.main.position
    exposed = state.catalog.advancing()
    level = all(state.versions[v.version].position == position for v in exposed)
    streams = {MAIN, *(v.stream for v in exposed)}
    whole = not streams & state.cursors.keys() and not is_landing(state.catalog)
    return level and whole and at_boundary(state, position)


def is_landing(catalog: Catalog) -> bool:
    """Overlays are being laid: buckets are half of one evaluation and half of another, and main waits (rule D6)."""
    return any(t.state == "landing" for t in catalog.tributaries)


def at_boundary(state: Merge, position: int) -> bool:
    """A stream that stands at `position` has seen that no source transaction is open there."""
    return any(s.boundary for s in state.streams.values() if s.position == position)


def commit_record(state: Merge, *, exposed: bool, now: int) -> dict[str, Any]:
    """The state as a Commit record (rule M2); from it `recovered` makes the state again."""
    position = seen_position(state)
    at = next((s for s in state.streams.values() if s.position == position), state.main)
    return {
        "number": state.number,
        "position": position,
        "cursor": max(1, state.cursors[MAIN]) if MAIN in state.cursors else 0,
        "exposed": exposed,
        "committed_at": at.committed_at,
        "written_at": now,
        "log_rows": at.log_rows,
        "request_offset": state.request_offset,
        "catalog": state.catalog.number,
        "streams": [_stream_record(s) for s in state.streams.values()],
        "versions": [
            {
                "version": number,
                "position": v.position,
                "oplog_offset": v.oplog_offset,
                "buckets": v.buckets,
                "rows": v.rows,
                "ops": v.ops,
                "rejected": v.rejected,
                "changed_ops": v.changed_ops,
                "excused": v.excused,
            }
            for number, v in state.versions.items()
        ],
        "waits": [{"generation": w.generation, "reason": w.reason} for w in state.waits],
    }


def _stream_record(stream: Stream) -> dict[str, Any]:
    return {
        "stream": stream.name,
        "position": stream.position,
        "evaluated_offset": stream.evaluated_offset,
        "change_offset": stream.change_offset,
        "partitions": [
            {"table": table, "partition": partition, "taken": r.taken, "done": r.done, "rows": r.rows}
            for (table, partition), r in stream.partitions.items()
        ],
    }


def recovered(commit: Mapping[str, Any], catalog: Catalog) -> Merge:
    """The state after the last commit (law 6).

    A record that is taken in part is compared again from its beginning, which gives no op: another attempt at the same
    position may come first now.
    """
    streams = {
        s["stream"]: Stream(
            s["stream"],
            position=s["position"],
            evaluated_offset=s["evaluated_offset"],
            change_offset=s["change_offset"],
            boundary=(commit["exposed"] or is_landing(catalog)) and s["position"] == commit["position"],
            committed_at=commit["committed_at"],
            log_rows=commit["log_rows"],
            partitions={
                (p["table"], p["partition"]): Replayed(p["taken"], p["done"], p["rows"]) for p in s["partitions"]
            },
        )
        for s in commit["streams"]
    }
    versions = {
        v["version"]: Counted(**{f.name: v[f.name] for f in fields(Counted) if f.name in v}) for v in commit["versions"]
    }
    return Merge(
        number=commit["number"],
        request_offset=commit["request_offset"],
        streams=streams,
        versions=versions,
        cursors={MAIN: 0} if commit["cursor"] else {},
        waits=tuple(Wait(**w) for w in commit.get("waits", ())),
    ).with_catalog(catalog)
