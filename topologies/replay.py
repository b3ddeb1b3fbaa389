"""A tributary's past: scans the snapshot topics and has their rows evaluated (rules T5 to T7).

1. The ends of all snapshot partitions are captured and written to the catalog, once for all workers.
2. Each partition is scanned from where the merge has taken it; each record names the range it answers for.
3. When the last partition is done, F, the head of the change log then, is captured and written to the catalog.

A row is emitted when its position is at or below S0 and above its table's last truncate. What is newer than S0 comes
with the change log. The truncates are those in the sequencer's progress, read after S0: each one up to S0 is in it,
and one beyond S0 empties the table in the change log anyway.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, cast

from confluent_kafka import KafkaException, Message, TopicPartition

from connector.crash import crash_point
from connector.definitions.patterns import expanded, is_wildcard
from connector.definitions.render import Renderings
from connector.deploy.catalog import Catalog, ReplayEnd, Tributary
from connector.errors import RequestRefused, Unavailable
from connector.evaluation import Answer, CompiledVersion, Decoders, compile_version, evaluate, evaluated_records
from connector.evaluation.rows import Place, TableRows
from connector.settings import Settings
from connector.source.progress import known_tables, truncates
from schemas.codec import FRAME, Codec
from topologies import kafka
from topologies.catalog import ask
from topologies.chunks import Chunk, Range
from topologies.follow import Follower, Record, stream_state, versions_of
from topologies.outlet import Outlet
from topologies.pace import Pace
from topologies.topic_settings import compaction_lag_ms
from topologies.topics import Topics

log = logging.getLogger(__name__)

AT_ONCE = 8  # partitions that are read at the same time
READ = 1_000  # records taken from the broker at once
LEAD = 500_000  # records that the scan may be ahead of the merge
POSITION, TOPIC, PARTITION, OFFSET = range(4)  # headers of a snapshot record (rule S9)

Headers = Sequence[tuple[str, bytes]]

_T = TypeVar("_T")


class Stopped(Exception):
    """The process is to end before the replay is done."""


class Rewound(Exception):
    """The merge wants earlier records again (rule M1)."""


class Replay:
    """One tributary's replay. `check` raises Stopped or Rewound where it must not go on."""

    def __init__(
        self,
        settings: Settings,
        stream: str,
        codec: Codec,
        text_of: Callable[[int], str],
        *,
        follower: Follower,
        outlet: Outlet,
        check: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._names = Topics(settings.app)
        self._stream = stream
        self._codec = codec
        self._decoders = Decoders(text_of)
        self._follower = follower
        self._outlet = outlet
        self._check = check
        self._attempt = uuid.uuid4().hex[:12]
        self._sent: dict[tuple[str, int], int] = {}
        self._reader = kafka.consumer(settings, **{"fetch.wait.max.ms": 10})
        versions, renderings = versions_of(follower.catalog, stream), Renderings()
        self._compiled = [compile_version(v.version, v.plan, v.evaluation, renderings) for v in versions]
        self._patterns = {pattern for v in versions for pattern in v.tables}
        self._start = self._tributary().start
        self._pace = Pace(self._tributary().max_rate, time.monotonic)

    def run(self) -> None:
        """Replay what is not taken yet; then the catalog has F. Raises Stopped."""
        try:
            ends = self._bounds()
            crash_point("replay.after_bounds")
            self._sent = {(e.table, e.partition): self._taken(e) for e in ends}
            self._scan([end for end in ends if end.end > 0 and not self._done(end)])
            while not self._outlet.flush(1.0):
                self._check()
            crash_point("replay.after_scan")
            self._announce_head()
            crash_point("replay.after_head")
        finally:
            self._reader.close()

    def _tributary(self) -> Tributary:
        tributary = self._follower.catalog.tributary(self._stream)
        if tributary is None:
            raise Stopped(f"tributary {self._stream} has ended")
        return tributary

    def _bounds(self) -> tuple[ReplayEnd, ...]:
        """The ends in the catalog, captured by whoever was first; with them it is fixed what wildcards mean."""
        if not self._tributary().bounded:
            self._ask("bounds", lambda c: _bounded(c, self._stream), self._captured_ends)
        return self._tributary().ends

    def _captured_ends(self) -> Record:
        tables = self._tables()
        lag_ms = self._patiently(lambda: compaction_lag_ms(self._settings, tables))
        ends = [e for table in tables for e in self._captured(table)]
        wanted = [{"table": e.table, "partition": e.partition, "end": e.end} for e in ends]
        return {"ends": wanted, "lag_ms": lag_ms}

    def _tables(self) -> list[str]:
        """The tables to scan: of wildcards those that had a row up to S0; later ones are wholly in the change log."""
        progress = self._progress() if any(map(is_wildcard, self._patterns)) else None
        return expanded(self._patterns, known_tables(progress) if progress is not None else ())

    def _captured(self, table: str) -> list[ReplayEnd]:
        topic = self._names.snapshot(table)
        partitions = self._patiently(lambda: _partitions(self._settings, topic))
        ends = self._patiently(lambda: kafka.uncommitted_ends(self._settings, topic, partitions))
        return [ReplayEnd(table, partition, end) for partition, end in ends.items()]

    def _truncated(self) -> dict[str, int]:
        """Position of each table's last truncate."""
        progress = self._progress()
        return truncates(progress) if progress is not None else {}

    def _progress(self) -> Record | None:
        """The sequencer's progress at or past S0; None where there was nothing before S0."""
        while True:
            newest = self._patiently(lambda: kafka.last_record(self._reader, self._names.sequence))
            progress = self._codec.decode(newest.value() or b"") if newest is not None else None
            if progress is not None and progress["position"] >= self._start:
                return progress
            if self._start == 0:
                return None
            self._check()
            time.sleep(0.1)

    def _state(self, end: ReplayEnd) -> Record | None:
        state = stream_state(self._follower.commit, self._stream)
        taken = state["partitions"] if state is not None else []
        return next((p for p in taken if p["table"] == end.table and p["partition"] == end.partition), None)

    def _taken(self, end: ReplayEnd) -> int:
        state = self._state(end)
        return int(state["taken"]) if state is not None else 0

    def _done(self, end: ReplayEnd) -> bool:
        state = self._state(end)
        return state is not None and bool(state["done"])

    def _scan(self, ends: Sequence[ReplayEnd]) -> None:
        began, rows = time.monotonic(), 0
        truncated = self._truncated()
        for chunk in self._chunks(ends):
            table = chunk.of.table
            self._await_room()
            self._await_turn(len(chunk.messages))
            found = self._rows(table, chunk.messages, truncated.get(table, 0))
            rows += len(found.keys)
            self._send(chunk, found)
            crash_point("replay.after_chunk")
        log.info("%d partitions replayed: %d rows in %.1f s", len(ends), rows, time.monotonic() - began)

    def _chunks(self, ends: Sequence[ReplayEnd]) -> Iterator[Chunk]:
        """Of each partition everything from the taken position to its end; its last chunk ends at or beyond that.

        Some are read at once, so that none waits for another's last fetch. A partition is done only when the
        consumer's position says so (rule T5): a committed transaction becomes visible partition by partition, so that
        no record seen and no committed end tells it.
        """
        waiting = deque(ends)
        left: dict[tuple[str, int], Range] = {}
        while waiting or left:
            while waiting and len(left) < AT_ONCE:
                self._open(waiting.popleft(), left)
            for message in self._reader.consume(READ, timeout=0.05):
                at = left.get((cast(str, message.topic()), cast(int, message.partition())))
                if at is not None:  # else an error of no partition
                    at.take(message)
            self._check()
            for place, read in list(left.items()):
                yield from read.chunks()
                if read.done:
                    del left[place]
                    self._reader.incremental_unassign([TopicPartition(*place)])

    def _open(self, end: ReplayEnd, left: dict[tuple[str, int], Range]) -> None:
        place = self._names.snapshot(end.table), end.partition
        if place[0] not in {topic for topic, _ in left}:
            self._patiently(lambda: kafka.locate(self._reader, place[0]))
        left[place] = Range(end, self._taken(end))
        self._reader.incremental_assign([TopicPartition(*place, left[place].position)])

    def _rows(self, table: str, messages: Sequence[Message], truncated: int) -> TableRows:
        """The newest record per key up to S0 as rows; those at or below the truncate are left out."""
        last: dict[bytes, tuple[Message, Headers]] = {}
        for message in messages:
            headers = cast(Headers, message.headers())
            if int(headers[POSITION][1]) <= self._start:
                last[cast(bytes, message.key())] = message, headers
        rows = TableRows(table, "", _place)
        alive = []
        for key, (message, headers) in last.items():
            if int(headers[POSITION][1]) > truncated:
                value = message.value()
                if value:
                    rows.keys.append(key.decode())
                    rows.sources.append(headers)
                    rows.schemas.append(FRAME.unpack_from(value)[1])
                    alive.append(value[FRAME.size :])
                elif not _marks_truncate(headers):
                    rows.gone.append(key.decode())
        rows.decoded = self._decoders.decoded(rows.schemas, alive)
        if rows.sources:
            rows.topic = rows.sources[0][TOPIC][1].decode()
        return rows

    def _wanted(self, table: str) -> list[CompiledVersion]:
        """The versions that read the table; a later deploy may have adopted some and ended the others (rule D2)."""
        mine = set(self._tributary().versions)
        return [c for c in self._compiled if c.version in mine and c.evaluator.reads(table)]

    def _send(self, chunk: Chunk, rows: TableRows) -> None:
        end = chunk.of
        head = {
            "stream": self._stream,
            "position": 0,
            "change_offset": -1,
            "boundary": False,
            "committed_at": 0,
            "log_rows": 0,
            "attempt": f"{self._attempt}.{end.table}.{end.partition}.{chunk.start}",
            "replay": {
                "table": end.table,
                "partition": end.partition,
                "start": chunk.start,
                "end": chunk.end,
                "done": chunk.end >= end.end,
            },
            "truncate": None,
        }
        answers = [finished(c, rows, self._decoders) for c in self._wanted(end.table)]
        for record in evaluated_records(head, self._compiled, [rows], answers):
            self._outlet.send(self._codec.encode("Evaluated", record))
        self._sent[end.table, end.partition] = chunk.end

    def _await_room(self) -> None:
        while not self._outlet.has_room or self._lead() > LEAD:
            self._check()
            time.sleep(0.01)

    def _await_turn(self, rows: int) -> None:
        due = self._pace.due(rows)
        while (left := due - time.monotonic()) > 0:
            self._check()
            time.sleep(min(left, 0.1))

    def _lead(self) -> int:
        state = stream_state(self._follower.commit, self._stream)
        taken = {(p["table"], p["partition"]): p["taken"] for p in state["partitions"]} if state is not None else {}
        return sum(sent - taken.get(partition, 0) for partition, sent in self._sent.items())

    def _announce_head(self) -> None:
        """F: the last committed batch below the change log's high watermark captured now."""
        if self._tributary().head is not None:
            return
        changes = self._names.changes
        end = self._patiently(lambda: kafka.uncommitted_ends(self._settings, changes)[0])
        newest = self._patiently(lambda: kafka.last_record(self._reader, changes, end=end))
        head = self._codec.decode(newest.value() or b"")["position"] if newest is not None else 0
        self._ask("head", lambda c: _headed(c, self._stream), lambda: {"head": max(head, self._start)})

    def _ask(self, kind: str, seen: Callable[[Catalog], bool], fields: Callable[[], Record]) -> None:
        """Ask the merge until the catalog shows it; whose request it was does not matter. It is told what is found
        each time: a topic that was missing may be there."""
        while not seen(self._follower.catalog):
            self._check()
            try:
                ask(
                    self._settings,
                    kind,
                    codec=self._codec,
                    within=5.0,
                    tributary=self._stream,
                    **fields(),
                )
            except (RequestRefused, Unavailable) as error:
                log.warning("%s of %s: %s", kind, self._stream, error)
            self._follower.wait_for(seen)

    def _patiently(self, read: Callable[[], _T]) -> _T:
        """What `read` gives, as soon as the broker answers."""
        while True:
            try:
                return read()
            except (Unavailable, KafkaException) as error:
                log.warning("waiting for the broker: %s", error)
                self._check()
                time.sleep(0.5)


def finished(compiled: CompiledVersion, rows: TableRows, decoders: Decoders) -> Answer:
    """The whole answer at once: a replay has a process of its own and shares no loop."""
    steps = evaluate(compiled, [rows], decoders)
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            return cast(Answer, ended.value)


def _place(headers: Headers) -> Place:
    return Place(int(headers[PARTITION][1]), int(headers[OFFSET][1]))


def _marks_truncate(headers: Headers) -> bool:
    return any(name == "truncate" for name, _ in headers)


def _bounded(catalog: Catalog, stream: str) -> bool:
    tributary = catalog.tributary(stream)
    return tributary is None or tributary.bounded


def _headed(catalog: Catalog, stream: str) -> bool:
    tributary = catalog.tributary(stream)
    return tributary is None or tributary.head is not None


def _partitions(settings: Settings, topic: str) -> list[int]:
    topics = kafka.admin(settings).list_topics(timeout=kafka.PATIENCE).topics
    return sorted(topics[topic].partitions) if topic in topics else []
