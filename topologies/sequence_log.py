"""What the sequencer writes: batches, snapshot records, rejected records, progress; in Kafka transactions."""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

from connector.crash import crash_point
from connector.errors import Fenced, Gap, SourceRefused, Unavailable
from connector.settings import Settings
from connector.source import keys, markers
from connector.source.batches import Batch
from connector.source.progress import Progress, from_record
from connector.source.records import Change, Partition, Rejected, Truncate
from schemas.codec import FRAME, Codec
from topologies import kafka, topics
from topologies.hanging import POSITION, Hanging, Span, by_sequencer
from topologies.kafka import Headers
from topologies.topics import Topics

log = logging.getLogger(__name__)

PROGRESS_KEY = "progress"
RECORDS = ("Batch", "Marker", "Progress", "Rejected")


class Log:
    """The only writer of change log, snapshot topics, markers and progress (rule S1)."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._settings = settings
        self._topics = Topics(settings.app)
        self._codec = codec
        self._partitions: dict[str, int] = {}
        self._producer: Producer | None = None
        self.hanging = Hanging(settings, by_sequencer(self._topics))
        self.change_offset = 0

    def open(self, waiting: Callable[[], None]) -> Progress | None:
        """Fence whoever wrote before and end what it left open, then read the progress; None at the very first start
        (rules S1, S2).

        `waiting` is called while the broker is out of reach. Raises Gap or SourceRefused where change log and progress
        do not fit together.
        """
        self._codec.prepare(*RECORDS)
        self._producer = kafka.transactional_producer(
            self._settings,
            self._topics.sequencer_id,
            **{"queue.buffering.max.messages": 200_000, "queue.buffering.max.kbytes": 128 * 1024},
        )
        while not self._attempt(lambda: self._writer.init_transactions(5.0)):
            waiting()
        self._ending(lambda: self.hanging.end(self._writer))
        reader = kafka.consumer(self._settings)
        try:
            record = kafka.last_record(reader, self._topics.sequence)
            progress = None if record is None else from_record(self._codec.decode(record.value() or b""))
            self._check(progress, reader)
        finally:
            reader.close()
        self.change_offset = 0 if progress is None else progress.change_offset
        return progress

    def write(
        self, batches: Sequence[Batch], rejected: Sequence[Rejected], progress: Progress, waiting: Callable[[], None]
    ) -> None:
        """One Kafka transaction, in this order:

        1. the batches, each with its snapshot records and markers
        2. rejected records
        3. the progress
        4. commit

        Raises Fenced where another sequencer has taken over, Unavailable where the outcome is not known: exit then.
        """
        writer = self._writer
        try:
            writer.begin_transaction()
            crash_point("sequence.after_begin")
            for batch in batches:
                self._produce_batch(batch)
                crash_point("sequence.before_snapshot")
                self._produce_snapshot(batch)
                self._produce_markers(batch)
                crash_point("sequence.after_batch")
            for record in rejected:
                self._produce_rejected(record, progress.position)
            crash_point("sequence.after_rejected")
            saved = self._codec.encode("Progress", progress.as_record())
            self._produce(self._topics.sequence, saved, PROGRESS_KEY, progress.position)
            crash_point("sequence.before_commit")
            while not self._attempt(lambda: writer.commit_transaction(5.0)):
                waiting()
            crash_point("sequence.after_commit")
        except KafkaException as error:
            raise self._failure(error.args[0]) from error

    def keep(self, hanging: Mapping[Partition, Span]) -> None:
        """Commit what the broker holds open though it was committed. Raises as `write` does, and Gap."""
        self._ending(lambda: self.hanging.keep(self._writer, hanging))

    def _ending(self, act: Callable[[], None]) -> None:
        try:
            act()
        except KafkaException as error:
            raise self._failure(error.args[0]) from error

    def close(self) -> None:
        """Leave an open transaction to its timeout or the next `init_transactions`."""
        self._producer = None

    @property
    def _writer(self) -> Producer:
        if self._producer is None:
            raise Gap("the log is not open")
        return self._producer

    def _check(self, progress: Progress | None, reader: Consumer) -> None:
        last = kafka.last_record(reader, self._topics.changes)
        low, _ = kafka.watermarks(reader, self._topics.changes)
        if progress is None:
            written = last is not None or low > 0  # what an aborted transaction left there is no batch
            if written or self._positions_known(reader):
                raise SourceRefused(
                    f"there is no progress record, but {'change log' if written else 'catalog'} is not empty",
                    where=self._topics.sequence,
                    hint="numbering would begin anew: restore the topic, or give Syncline another app name",
                )
            return
        position = None if last is None else self._codec.decode(last.value() or b"")["position"]
        if position is not None and position != progress.position:
            raise Gap(
                f"progress says position {progress.position}, the change log ends at {position}",
                where=self._topics.changes,
                hint="topics of one app were restored to different moments, or another program writes to them",
            )

    def _positions_known(self, reader: Consumer) -> bool:
        """Whether the catalog names a position: a deploy asked for before the first batch names none."""
        record = kafka.last_record(reader, self._topics.catalog)
        if record is None:
            return False
        catalog = self._codec.decode(record.value() or b"")
        return any(d["position"] for d in catalog["deployments"]) or any(t["start"] for t in catalog["tributaries"])

    def _produce_batch(self, batch: Batch) -> None:
        record = self._codec.encode("Batch", batch.as_record())
        self._produce(self._topics.changes, record, None, batch.position, tracked=True)

    def _produce_snapshot(self, batch: Batch) -> None:
        position = str(batch.position).encode()
        if batch.truncate is not None:
            self._produce_truncate(batch.truncate, position)
        produce = self._writer.produce
        places: dict[str, tuple[str, int]] = {}
        for change in batch.changes:
            place = places.get(change.table)
            if place is None:
                topic = self._topics.snapshot(change.table)
                place = places[change.table] = topic, self._partition_count(topic)
            key = change.key.encode()
            headers: Headers = [
                (POSITION, position),
                ("topic", change.topic.encode()),
                ("partition", b"%d" % change.partition),
                ("offset", b"%d" % change.offset),
            ]
            arguments = (place[0], _snapshot_value(change), key, zlib.crc32(key) % place[1])
            try:
                produce(*arguments, headers=headers)
            except BufferError:
                self._writer.poll(1.0)
                produce(*arguments, headers=headers)

    def _produce_truncate(self, truncate: Truncate, position: bytes) -> None:
        """In every partition, so that a scan meets it between the rows it ends and the newer ones (rule S9)."""
        topic = self._topics.snapshot(truncate.table)
        headers: Headers = [(POSITION, position), ("truncate", b"1"), ("topic", truncate.topic.encode())]
        for partition in range(self._partition_count(topic)):
            self._writer.produce(topic, b"", keys.table_key(truncate.table).encode(), partition, headers=headers)

    def _produce_markers(self, batch: Batch) -> None:
        for marker in batch.markers:
            value = self._codec.encode("Marker", {**marker._asdict(), "position": batch.position})
            self._produce(self._topics.markers, value, markers.key(marker.user, marker.client), batch.position)

    def _produce_rejected(self, record: Rejected, position: int) -> None:
        value = {
            "table": record.table,
            "key": record.key,
            "version": 0,
            "position": position,
            "topic": record.partition[0],
            "partition": record.partition[1],
            "offset": record.offset,
            "reason": record.reason,
        }
        self._produce(self._topics.rejected, self._codec.encode("Rejected", value), record.key, position)

    def _produce(self, topic: str, value: bytes, key: str | None, position: int, *, tracked: bool = False) -> None:
        delivered = self._delivered if tracked else None
        headers: Headers = [(POSITION, b"%d" % position)]
        try:
            self._writer.produce(topic, value, key, 0, headers=headers, on_delivery=delivered)
        except BufferError:
            self._writer.poll(1.0)
            self._writer.produce(topic, value, key, 0, headers=headers, on_delivery=delivered)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.change_offset = int(message.offset() or 0) + 1

    def _partition_count(self, topic: str) -> int:
        count = self._partitions.get(topic)
        if count is None:
            raise Gap("snapshot topic was not prepared", where=topic)
        return count

    def prepare(self, tables: Sequence[str]) -> None:
        """Make sure of the snapshot topics of these tables, before any transaction."""
        wanted = {self._topics.snapshot(table) for table in tables} - self._partitions.keys()
        if not wanted:
            return
        config = topics.snapshot(self._settings.max_request_size)
        plans = [kafka.TopicPlan(topic, self._settings.snapshot_partitions, config) for topic in sorted(wanted)]
        kafka.create_topics(self._settings, plans)
        there = partition_counts(self._settings, wanted)
        self._partitions |= there
        if wanted - there.keys():
            raise Unavailable(f"topics are not there yet: {', '.join(sorted(wanted - there.keys()))}")

    def _attempt(self, act: Callable[[], None]) -> bool:
        """Do it; False where the broker is out of reach and it is to be done again."""
        try:
            act()
        except KafkaException as error:
            cause = error.args[0]
            hopeless = cause.fatal() or cause.txn_requires_abort()  # messages timed out while the process was frozen
            if not hopeless and (cause.retriable() or cause.code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT)):
                log.warning("broker out of reach, waiting: %s", cause.str())
                time.sleep(0.2)
                return False
            raise self._failure(cause) from error
        return True

    def _failure(self, error: KafkaError) -> Fenced | Unavailable:
        if self._producer is not None and kafka.is_fenced(self._producer, error):
            return Fenced(f"another sequencer has taken over: {error.str()}", where=self._topics.sequencer_id)
        return Unavailable(f"a transaction failed: {error.str()}", where=self._settings.kafka)


def partition_counts(settings: Settings, wanted: Collection[str]) -> dict[str, int]:
    """How many partitions each topic has; without those that do not exist."""
    try:
        there = kafka.admin(settings).list_topics(timeout=kafka.PATIENCE).topics
    except KafkaException as error:
        raise kafka.unavailable(settings, error.args[0], "list topics") from error
    return {name: len(there[name].partitions) for name in wanted if name in there}


def _snapshot_value(change: Change) -> bytes | None:
    """As contract: the framed row, nothing for a delete, empty for an unreadable one."""
    if change.op == "UPSERT":
        return FRAME.pack(0, change.schema) + change.row
    return None if change.op == "DELETE" else b""
