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
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # exported, not listed

from connector.errors import Gap, Unavailable
from connector.hanging import committed_until, was_committed
from connector.settings import Settings
from connector.source.records import Partition
from topologies import kafka
from topologies.topics import Topics

POSITION = "position"  # the header with a sequencer's number, the position of the record's batch
COMMIT = "commit"  # the header with a merge's number
LOOK_EVERY = kafka.TRANSACTION_TIMEOUT_MS / 1000 + 3  # seconds: what is open twice in a row is not being written
SETTLING = 0.5  # seconds that a marker may take from one replica to the others
MENDING = 30.0  # seconds for one step of the transaction that ends others
GONE = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_EXCEPTION)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Written:
    """The topics of one transactional writer, and how its transactions are told from each other.

    header: names the record header with the transaction's number
    witness: the topic that each transaction writes to, last of all; it has one partition
    family: first words of the names of those that come and go
    shared: where others write too, without a transaction
    plain: first words of the names of those in which a record said twice would count twice
    """

    header: str
    witness: str
    others: tuple[str, ...]
    family: str
    shared: str | None = None
    plain: str | None = None

    def has(self, topic: str) -> bool:
        return topic == self.witness or topic in self.others or topic.startswith(self.family)

    def number(self, message: Message) -> int | None:
        """The transaction's number, if the record shows it."""
        found = dict(message.headers() or []).get(self.header)
        return None if found is None else int(found)


def over_and_open(where: str) -> Unavailable:
    """Why a process ends that has found a transaction of its own at these places: its next start ends it."""
    return Unavailable("the broker holds a transaction open that is over (KAFKA-20734)", where=where)


def by_sequencer(topics: Topics) -> Written:
    """What the sequencer writes; `rejected` is for people, and the merge writes to it too."""
    return Written(POSITION, topics.sequence, (topics.changes, topics.markers), topics.snapshot(""))


def by_merge(topics: Topics) -> Written:
    oplogs = f"{topics.app}.oplog."
    others = (topics.catalog, topics.requests)
    return Written(COMMIT, topics.checkpoints, others, oplogs, shared=topics.requests, plain=oplogs)


class Hanging:
    """Looks for hanging transactions of one writer, and ends them."""

    def __init__(self, settings: Settings, written: Written) -> None:
        self._settings = settings
        self._written = written
        self._admin = kafka.admin(settings)
        self._seen: dict[Partition, int] = {}

    def found(self) -> dict[Partition, tuple[int, int]]:
        """(last stable offset, high watermark) of each partition in which a transaction is open. Raises Unavailable."""
        try:
            # The watermark first: what others write meanwhile moves the stable offset beyond it.
            ends = self._ends(self._partitions(), IsolationLevel.READ_UNCOMMITTED)
            stable = self._ends(list(ends), IsolationLevel.READ_COMMITTED)
        except KafkaException as error:
            raise kafka.unavailable(self._settings, error.args[0], "list offsets") from error
        return {p: (offset, ends[p]) for p, offset in stable.items() if offset < ends[p]}

    def stuck(self) -> str:
        """Where a transaction has been open since the look before, LOOK_EVERY seconds ago; empty where none has. Raises
        Unavailable."""
        stable = {partition: low for partition, (low, _) in self.found().items()}
        stuck = {p: low for p, low in stable.items() if self._seen.get(p) == low}
        self._seen = stable
        return _places(stuck)

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
        tails = {partition: self._tail(partition, *span) for partition, span in hanging.items()}
        until = self._committed_until(hanging, tails)
        kept: dict[Partition, Message | None] = {}
        void: dict[Partition, Message | None] = {}
        for partition, tail in tails.items():
            place = _places({partition: hanging[partition][0]})
            whole = was_committed(until, [self._written.number(m) for m in tail], place)
            (kept if whole else void)[partition] = tail[-1] if tail else None
            log.warning("%s: the broker left a transaction open, it is %s", place, "committed" if whole else "aborted")
        self._join(writer, kept, writer.commit_transaction)
        self._join(writer, void, writer.abort_transaction)
        self._until_ended()

    def _partitions(self) -> list[Partition]:
        listed = self._admin.list_topics(timeout=kafka.PATIENCE).topics
        return [(t, p) for t, known in listed.items() if self._written.has(t) for p in known.partitions]

    def _ends(self, partitions: list[Partition], isolation: IsolationLevel) -> dict[Partition, int]:
        if not partitions:
            return {}
        asked = {TopicPartition(*partition): OffsetSpec.latest() for partition in partitions}  # type: ignore[no-untyped-call]
        answers = self._admin.list_offsets(asked, isolation_level=isolation, request_timeout=kafka.PATIENCE)
        found = {}
        for place, answer in answers.items():
            try:
                found[place.topic, place.partition] = answer.result().offset
            except KafkaException as error:
                if error.args[0].code() not in GONE:  # a topic deleted meanwhile holds nothing up
                    raise
        return found

    def _tail(self, partition: Partition, start: int, end: int) -> list[Message]:
        """The writer's records from the last stable offset on: nobody has read them."""
        reader = kafka.consumer(self._settings, **{"isolation.level": "read_uncommitted"})
        try:
            records = list(kafka.read_range(reader, *partition, start, end))
        finally:
            reader.close()
        shared = partition[0] == self._written.shared
        return [m for m in records if not shared or self._written.number(m) is not None]

    def _committed_until(
        self, hanging: Mapping[Partition, tuple[int, int]], tails: Mapping[Partition, list[Message]]
    ) -> int:
        """What is visible decides: each transaction is whole or nothing."""
        witness = (self._written.witness, 0)
        shown = self._newest(witness)
        if witness not in hanging:
            return shown
        ends = [number for m in tails[witness] if (number := self._written.number(m)) is not None]
        return committed_until(shown, ends, max(self._newest(partition) for partition in self._partitions()))

    def _newest(self, partition: Partition) -> int:
        """The highest number that is visible in the partition; 0 where none is."""
        reader = kafka.consumer(self._settings)
        try:
            newest = kafka.last_record(reader, *partition, wanted=lambda m: self._written.number(m) is not None)
        finally:
            reader.close()
        return 0 if newest is None else self._written.number(newest) or 0

    def _join(self, writer: Producer, last: Mapping[Partition, Message | None], end: Callable[[float], None]) -> None:
        """One transaction that writes to the partitions what changes nothing, ended by `end`.

        A batch or a keyed record said twice says nothing new; where that is not so, the record is empty.
        """
        if not last:
            return
        writer.begin_transaction()
        for (topic, number), message in last.items():
            if message is None:
                writer.produce(topic, partition=number)
            else:
                plain = self._written.plain is not None and topic.startswith(self._written.plain)
                value = None if plain else message.value()
                writer.produce(topic, value, message.key(), number, headers=message.headers())
        if left := writer.flush(MENDING):  # an abort would drop what has not been sent
            raise Unavailable(f"{left} records were not acknowledged", where=self._settings.kafka)
        end(MENDING)

    def _until_ended(self) -> None:
        deadline = time.monotonic() + kafka.PATIENCE
        while left := self.found():
            if time.monotonic() > deadline:
                raise Gap(
                    "a transaction is open that is not this app's",
                    where=_places({partition: low for partition, (low, _) in left.items()}),
                    hint="end the program that writes there; `kafka-transactions.sh find-hanging` names it",
                )
            time.sleep(0.05)


def _places(offsets: Mapping[Partition, int]) -> str:
    return ", ".join(f"{topic} [{number}] {offset}" for (topic, number), offset in sorted(offsets.items()))
