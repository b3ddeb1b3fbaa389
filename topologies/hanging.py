"""Hanging transactions: a writer ends those of the writer before it, before it reads or writes anything.

A transaction's coordinator skips a partition whose leader it does not know, as if its topic had been deleted
(KAFKA-20734; it happens while a killed broker comes back). No marker is written there then, and
1. the partition's last stable offset stands still: no reader sees what comes after;
2. the next transaction of the same `transactional.id` ends both: what was aborted becomes visible.

So a writer looks where the last stable offset lies below the high watermark though nothing can be open. It joins each
such transaction with a record of its own and ends it as it ended elsewhere.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # exported, not listed

from connector.errors import Gap, Unavailable
from connector.hanging import committed_until, was_committed
from connector.settings import Settings
from connector.source.records import Partition
from topologies import kafka
from topologies.topics import Topics

POSITION = "position"  # the header with a sequencer's number, the position of the record's batch
COMMIT = "commit"  # the header with a merge's number
LOOK_EVERY = 5.0  # seconds
OVER = kafka.TRANSACTION_TIMEOUT_MS / 1000 + 3  # seconds after which an open transaction is none that is being written
SETTLING = 0.5  # seconds that a marker may take from one replica to the others
MENDING = 30.0  # seconds for one step of the transaction that ends others
NOT_OURS = "a transaction is open that is not this app's, or a replica is far behind"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Written:
    """The topics of one transactional writer, and how its transactions are told from each other.

    header: names the record header with the transaction's number
    witness: the topic that each transaction writes to, last of all; it has one partition
    others: those that are always there
    family: the names of those that come and go
    shared: where others write too, without a transaction
    counted: whether a record said twice counts twice in the family
    """

    header: str
    witness: str
    others: tuple[str, ...]
    family: re.Pattern[str]
    shared: str | None = None
    counted: bool = False

    def has(self, topic: str) -> bool:
        return topic == self.witness or topic in self.others or bool(self.family.fullmatch(topic))

    def number(self, message: Message) -> int | None:
        """The transaction's number, if the record shows it."""
        found = dict(message.headers() or []).get(self.header)
        return None if found is None else int(found)


def by_sequencer(topics: Topics) -> Written:
    """What the sequencer writes; `rejected` is for people, and the merge writes to it too."""
    tables = re.compile(re.escape(topics.snapshot("")) + r".+\..+")
    return Written(POSITION, topics.sequence, (topics.changes, topics.markers), tables)


def by_merge(topics: Topics) -> Written:
    oplogs = re.compile(re.escape(f"{topics.app}.oplog.") + r"\d+")
    others = (topics.catalog, topics.requests)
    return Written(COMMIT, topics.checkpoints, others, oplogs, shared=topics.requests, counted=True)


class Span(NamedTuple):
    """The offsets of a partition that readers are kept from: last stable offset, high watermark."""

    stable: int
    end: int


class Hanging:
    """Looks for hanging transactions of one writer, and ends them."""

    def __init__(self, settings: Settings, written: Written) -> None:
        self._settings = settings
        self._written = written
        self._admin = kafka.admin(settings)
        self._seen: dict[Partition, tuple[int, float]] = {}
        self._kept: dict[Partition, int] = {}

    def found(self) -> dict[Partition, Span]:
        """The partitions in which a transaction is open, from where to where on. Raises Unavailable."""
        try:
            stable, ends = kafka.once_led(self._stable_and_ends)
        except KafkaException as error:
            raise kafka.unavailable(self._settings, error.args[0], "list offsets") from error
        return {p: Span(offset, ends[p]) for p, offset in stable.items() if offset < ends[p]}

    def look(self) -> dict[Partition, Span]:
        """Those that have been open for longer than a transaction may last, as looks before this one saw.

        To be asked while the writer runs, on any thread. Raises Unavailable.
        """
        now = time.monotonic()
        found = self.found()
        before, self._seen = self._seen, {}
        for partition, span in found.items():
            start, since = before.get(partition, (span.stable, now))
            self._seen[partition] = (span.stable, since if start == span.stable else now)
        return {p: span for p, span in found.items() if now - self._seen[p][1] > OVER}

    def shown(self) -> int:
        """The number of the newest transaction that anybody can see. Raises Unavailable."""
        reader = kafka.glance(self._settings)
        try:
            return self._newest(reader, (self._written.witness, 0))
        except KafkaException as error:
            raise kafka.unavailable(self._settings, error.args[0], f"read {self._written.witness}") from error
        finally:
            reader.close()

    def keep(self, writer: Producer, open_: Mapping[Partition, Span]) -> None:
        """Commit what `look` has found; to be called when `writer` has nothing open, and what it wrote was committed.

        Raises Gap where another program's is open, or where this has not helped the last time; Unavailable.
        """
        if again := {p: span for p, span in open_.items() if self._kept.get(p) == span.stable}:
            raise _not_ours(again)
        self._kept = {partition: span.stable for partition, span in open_.items()}
        ours = {p: [m for m in self._tail(p, span) if self._numbered(m)] for p, span in open_.items()}
        if others := {p: span for p, span in open_.items() if not ours[p]}:
            raise _not_ours(others)
        log.warning("%s: the broker left a transaction open, it is committed", _places(open_))
        self._join(writer, {partition: tail[-1] for partition, tail in ours.items()}, writer.commit_transaction)

    def end(self, writer: Producer) -> None:
        """End all there are; to be called when `writer` has fenced its predecessor, and has nothing open.

        Raises Gap where they cannot be ended as they were meant to, or another program's is open; Unavailable.
        """
        if not self.found():
            return
        time.sleep(SETTLING)
        hanging = self.found()
        if not hanging:
            return
        tails = {partition: self._tail(partition, span) for partition, span in hanging.items()}
        shown, until = self._committed(tails)
        kept: dict[Partition, Message | None] = {}
        void: dict[Partition, Message | None] = {}
        for partition, tail in tails.items():
            place = _places({partition: hanging[partition]})
            numbers = [self._written.number(message) for message in tail]
            if partition == self._witness:  # a progress is said again under its number: it may be said once more
                numbers = [number for number in numbers if number is None or number > shown]
            whole = was_committed(until, numbers, place)
            (kept if whole else void)[partition] = tail[-1] if tail else None
            log.warning("%s: the broker left a transaction open, it is %s", place, "committed" if whole else "aborted")
        self._join(writer, kept, writer.commit_transaction)
        self._join(writer, void, writer.abort_transaction)
        self._until_ended()

    @property
    def _witness(self) -> Partition:
        return self._written.witness, 0

    def _partitions(self) -> list[Partition]:
        listed = self._admin.list_topics(timeout=kafka.PATIENCE).topics
        ours = {topic: known for topic, known in listed.items() if self._written.has(topic)}
        for topic, known in ours.items():
            if known.error is not None:
                raise kafka.unavailable(self._settings, known.error, f"list {topic}")
        return [(topic, number) for topic, known in ours.items() for number in known.partitions]

    def _stable_and_ends(self) -> tuple[dict[Partition, int], dict[Partition, int]]:
        # The watermark first: what others write meanwhile moves the stable offset beyond it.
        ends = self._ends(self._partitions(), IsolationLevel.READ_UNCOMMITTED)
        return self._ends(list(ends), IsolationLevel.READ_COMMITTED), ends

    def _ends(self, partitions: Sequence[Partition], isolation: IsolationLevel) -> dict[Partition, int]:
        if not partitions:
            return {}
        asked = {TopicPartition(*partition): OffsetSpec.latest() for partition in partitions}  # type: ignore[no-untyped-call]
        answers = self._admin.list_offsets(asked, isolation_level=isolation, request_timeout=kafka.PATIENCE)
        found: dict[Partition, int] = {}
        missing: dict[Partition, KafkaError] = {}
        for place, answer in answers.items():
            try:
                found[place.topic, place.partition] = answer.result().offset
            except KafkaException as error:
                missing[place.topic, place.partition] = error.args[0]
        there = self._partitions() if missing else ()
        for partition, why in missing.items():
            if partition in there:  # else it was deleted meanwhile
                raise KafkaException(why)
        return found

    def _tail(self, partition: Partition, span: Span) -> list[Message]:
        """The writer's records from the last stable offset on: nobody has read them."""
        reader = kafka.consumer(self._settings, **{"isolation.level": "read_uncommitted"})
        try:
            records = list(kafka.read_range(reader, *partition, span.stable, span.end))
        finally:
            reader.close()
        shared = partition[0] == self._written.shared
        return [m for m in records if not shared or self._written.number(m) is not None]

    def _committed(self, tails: Mapping[Partition, list[Message]]) -> tuple[int, int]:
        """The newest number that the witness shows, and the one up to which all was committed: what is visible decides,
        each transaction is whole or nothing."""
        reader = kafka.glance(self._settings)
        try:
            shown = self._newest(reader, self._witness)
            if self._witness not in tails:
                return shown, shown
            ends = [number for m in tails[self._witness] if (number := self._written.number(m)) is not None]
            seen = max(self._newest(reader, partition) for partition in self._partitions())
        finally:
            reader.close()
        return shown, committed_until(shown, ends, seen)

    def _newest(self, reader: Consumer, partition: Partition) -> int:
        """The number of the last record that is visible in the partition; 0 where there is none."""
        shared = partition[0] == self._written.shared
        wanted = self._numbered if shared else kafka.any_record
        newest = kafka.last_record(reader, *partition, wanted=wanted)
        return 0 if newest is None else self._written.number(newest) or 0

    def _numbered(self, message: Message) -> bool:
        return self._written.number(message) is not None

    def _join(self, writer: Producer, last: Mapping[Partition, Message | None], end: Callable[[float], None]) -> None:
        """One transaction that writes to the partitions what changes nothing, ended by `end`.

        A batch or a keyed record said twice says nothing new; where a record counts, an empty one is written.
        """
        if not last:
            return
        writer.begin_transaction()
        for (topic, number), message in last.items():
            if message is None:
                writer.produce(topic, partition=number)
            else:
                empty = self._written.counted and self._written.family.fullmatch(topic)
                value = None if empty else message.value()
                writer.produce(topic, value, message.key(), number, headers=message.headers())
        if left := writer.flush(MENDING):  # an abort would drop what has not been sent
            raise Unavailable(f"{left} records were not acknowledged", where=self._settings.kafka)
        end(MENDING)

    def _until_ended(self) -> None:
        deadline = time.monotonic() + kafka.PATIENCE
        while left := self.found():
            if time.monotonic() > deadline:
                raise _not_ours(left)
            time.sleep(0.05)


def _not_ours(left: Mapping[Partition, Span]) -> Gap:
    hint = "end the program that writes there; `kafka-transactions.sh find-hanging` names it"
    return Gap(NOT_OURS, where=_places(left), hint=hint)


def _places(spans: Mapping[Partition, Span]) -> str:
    return ", ".join(f"{topic} [{number}] {span.stable}" for (topic, number), span in sorted(spans.items()))
