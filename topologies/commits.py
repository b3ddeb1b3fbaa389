"""How a draft becomes durable: one Kafka transaction, then one write batch (rules M2, M3; law 7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message

from connector.crash import crash_point
from connector.errors import Fenced, SynclineError, Unavailable
from connector.merge.draft import Draft, Rejection
from connector.merge.settle import finish
from connector.settings import Settings
from connector.source.records import Partition
from connector.store.rows import Applied, RowState
from schemas.codec import Codec
from topologies import kafka
from topologies.hanging import COMMIT, Hanging, Span, by_merge
from topologies.kafka import Headers
from topologies.topics import Topics, retained

PATIENCE = 30.0  # seconds for one step of a transaction
RECORDS = ("Op", "Commit", "Catalog", "Answer", "Rejected")


class Committer:
    """The merge's only writer. Any error leaves it unusable: the process exits and recovers from the last commit."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._settings = settings
        self._codec = codec
        self._topics = Topics(settings.app)
        self.hanging = Hanging(settings, by_merge(self._topics))
        self._producer = kafka.transactional_producer(
            settings,
            self._topics.merge_id,
            **{"queue.buffering.max.messages": 500_000, "queue.buffering.max.kbytes": 512 * 1024},
        )

    def fence(self) -> None:
        """Take the place of any other merge; what it left open is ended. Raises Unavailable, Gap."""
        self._codec.prepare(*RECORDS)
        try:
            self._producer.init_transactions(PATIENCE)
            self.hanging.end(self._producer)
        except KafkaException as error:
            raise self._failure(error) from error

    def keep(self, hanging: Mapping[Partition, Span]) -> None:
        """Commit what the broker holds open though it was committed. Raises Unavailable, Fenced, Gap."""
        try:
            self.hanging.keep(self._producer, hanging)
        except KafkaException as error:
            raise self._failure(error) from error

    def commit(self, draft: Draft, rows: RowState, *, now: int) -> None:
        """Make the draft durable; `draft.state` is then the state.

        0 the topics that it announces, before anything can name them
        1 its ops, and what was rejected
        2 wait for their offsets
        3 catalog, answers, and last the commit record
        4 commit the Kafka transaction
        5 the row state's write batch
        """
        self._create_topics(draft)  # 0
        crash_point("merge.after_topics")
        try:
            self._producer.begin_transaction()
            offsets = self._write_ops(draft)  # 1
            crash_point("merge.before_flush")
            self._write_rejections(draft.rejections)
            self._flush()  # 2
            crash_point("merge.after_ops")
            self._write_records(draft, offsets, now)  # 3
            crash_point("merge.after_commit_record")
            self._producer.commit_transaction(PATIENCE)  # 4
        except KafkaException as error:
            raise self._failure(error) from error
        crash_point("merge.after_commit")
        self._write_rows(draft, rows)  # 5
        crash_point("merge.after_store")

    def _create_topics(self, draft: Draft) -> None:
        before, after = draft.base.catalog, draft.state.catalog
        if before is after:
            return
        names = [self._topics.oplog(v.version) for v in after.versions if before.version(v.version) is None]
        begun = {t.name for t in before.tributaries if t.state != "queued"}
        names += [
            self._topics.evaluated(t.name) for t in after.tributaries if t.state != "queued" and t.name not in begun
        ]
        config = retained(self._settings.max_request_size)
        kafka.create_topics(self._settings, [kafka.TopicPlan(name, 1, config) for name in names])

    def _write_ops(self, draft: Draft) -> dict[int, int]:
        """Next op-log offsets per version, filled in as the broker acknowledges."""
        offsets: dict[int, int] = {}

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                offsets[versions[message.topic() or ""]] = (message.offset() or 0) + 1

        encode, ops, number = self._codec.encode, draft.changes.ops, draft.state.number
        last = {op["version"]: i for i, op in enumerate(ops)}
        topics = {version: self._topics.oplog(version) for version in last}
        versions = {topic: version for version, topic in topics.items()}
        ends = set(last.values())
        for index, op in enumerate(ops):
            value = encode("Op", op)  # type: ignore[arg-type]
            # A report or a header per op would cost more than the op; the last one of a log has those of all.
            if index in ends:
                self._produce(topics[op["version"]], None, value, number, delivered)
            else:
                self._produce(topics[op["version"]], None, value)
        return offsets

    def _write_rejections(self, rejections: Iterable[Rejection]) -> None:
        for rejection in rejections:
            record = {**rejection.row, "position": rejection.position}
            self._produce(self._topics.rejected, None, self._codec.encode("Rejected", record))

    def _write_records(self, draft: Draft, offsets: Mapping[int, int], now: int) -> None:
        commit, catalog = finish(draft, offsets, now=now)
        number = draft.state.number
        if catalog is not None:
            record = self._codec.encode("Catalog", catalog.to_record())
            self._produce(self._topics.catalog, "catalog", record, number)
        crash_point("merge.after_catalog")
        for answer in draft.answers:
            record = self._codec.encode("Answer", answer)
            self._produce(self._topics.requests, answer["id"], record, number)
        crash_point("merge.after_answers")
        key = "exposed" if commit["exposed"] else "hidden"
        self._produce(self._topics.checkpoints, key, self._codec.encode("Commit", commit), number)

    def _produce(
        self, topic: str, key: str | None, value: bytes, number: int | None = None, delivered: Any = None
    ) -> None:
        headers: Headers | None = None if number is None else [(COMMIT, b"%d" % number)]
        while True:
            try:
                self._producer.produce(topic, value=value, key=key, headers=headers, on_delivery=delivered)
                return
            except BufferError:
                self._producer.poll(0.1)

    def _flush(self) -> None:
        if left := self._producer.flush(PATIENCE):
            raise Unavailable(f"{left} ops were not acknowledged within {PATIENCE:.0f} s", where=self._settings.kafka)

    def _failure(self, error: KafkaException) -> SynclineError:
        cause = error.args[0]
        if kafka.is_fenced(self._producer, cause):
            return Fenced(f"another merge has taken over: {cause.str()}", where=self._topics.merge_id)
        return Unavailable(
            f"transaction failed: {cause.str()}", where=self._settings.kafka, hint="it recovers at the next start"
        )

    def _write_rows(self, draft: Draft, rows: RowState) -> None:
        state = draft.state
        gone = draft.base.versions.keys() - state.versions.keys()
        offsets = {number: v.oplog_offset for number, v in state.versions.items()}
        applied = Applied(rows.applied.log, state.number, offsets)
        rows.write(applied, draft.changes.writes, draft.bucket_writes, gone)
