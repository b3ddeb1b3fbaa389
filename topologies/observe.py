"""What can be seen of a running app from its topics: the heads of its logs, without asking any process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from connector.deploy.catalog import Catalog
from connector.deploy.plan import TableSize
from connector.settings import Settings
from schemas.codec import Codec
from topologies import kafka
from topologies.catalog import read_catalog
from topologies.schemas import Schemas
from topologies.topics import Topics

SAMPLE = 50  # records read to tell the bytes of a row


@dataclass(frozen=True, slots=True)
class Observation:
    """Heads of the logs. A None is a log without any record yet."""

    head: dict[str, Any] | None  # newest Batch of the change log
    progress: dict[str, Any] | None  # the sequencer's Progress, its state parsed
    commit: dict[str, Any] | None  # newest Commit
    checkpoint: dict[str, Any] | None  # newest Commit with exposed = yes
    catalog: Catalog

    @property
    def standing(self) -> frozenset[int]:
        """The versions that are taken as far as main is, and not stopped there."""
        if self.commit is None:
            return frozenset()
        main = next(s["position"] for s in self.commit["streams"] if s["stream"] == "main")
        stopped = {v.version for v in self.catalog.versions if v.stopped_at}
        return frozenset(v["version"] for v in self.commit["versions"] if v["position"] == main) - stopped


def observe(settings: Settings) -> Observation:
    """Read the heads now. Raises Unavailable where the broker is out of reach, BadConfig where `init` has not run."""
    codec = Codec(Schemas(settings, patience=kafka.PATIENCE))
    topics = Topics(settings.app)
    reader = kafka.consumer(settings)
    try:
        head = kafka.last_record(reader, topics.changes)
        commits = [decoded(codec, m) for m in kafka.read_all(reader, topics.checkpoints) if m.value()]
        progress = [decoded(codec, m) for m in kafka.read_all(reader, topics.sequence) if m.value()]
    except KafkaException as error:
        raise kafka.unavailable(settings, error.args[0], "read the heads of the logs") from error
    finally:
        reader.close()
    return Observation(
        head=decoded(codec, head) if head is not None else None,
        progress=_parsed(progress[-1]) if progress else None,
        commit=commits[-1] if commits else None,
        checkpoint=next((c for c in reversed(commits) if c["exposed"]), None),
        catalog=read_catalog(settings, codec) or Catalog(),
    )


def decoded(codec: Codec, message: Message) -> dict[str, Any]:
    """The record of a message that has a value."""
    return codec.decode(message.value() or b"")


def offset(message: Message | None) -> int:
    """Where to begin to see this message again; 0 where there is none."""
    return (message.offset() or 0) if message is not None else 0


def _parsed(progress: dict[str, Any]) -> dict[str, Any]:
    return progress | {"state": json.loads(progress["state"])}


def table_sizes(settings: Settings, tables: Sequence[str]) -> dict[str, TableSize]:
    """What a replay of each table reads: records in its snapshot topic; bytes from a sample of them."""
    reader = kafka.consumer(settings)
    try:
        known = reader.list_topics(timeout=kafka.PATIENCE).topics
        return {
            table: _size(reader, table, topic, len(known[topic].partitions))
            for table in tables
            if (topic := Topics(settings.app).snapshot(table)) in known
        }
    except KafkaException as error:
        raise kafka.unavailable(settings, error.args[0], "measure the snapshot topics") from error
    finally:
        reader.close()


def _size(reader: Consumer, table: str, topic: str, partitions: int) -> TableSize:
    marks = [kafka.watermarks(reader, topic, partition) for partition in range(partitions)]
    records = sum(high - low for low, high in marks)
    low, high = marks[0]
    sample = [len(m.value() or b"") for m in kafka.read_range(reader, topic, 0, max(low, high - SAMPLE), high)]
    return TableSize(table, records, int(records * sum(sample) / len(sample)) if sample else 0)


class Watch:
    """The catalog and the commits as they come, from their newest record on."""

    def __init__(self, settings: Settings) -> None:
        self._codec = Codec(Schemas(settings, patience=kafka.PATIENCE))
        self._topics = Topics(settings.app)
        self._reader = kafka.consumer(settings)
        self.catalog: Catalog = read_catalog(settings, self._codec) or Catalog()
        self.commit: dict[str, Any] | None = None
        self._reader.assign([self._tail(self._topics.catalog), self._tail(self._topics.checkpoints)])

    def poll(self, timeout: float) -> None:
        """Take what came; returns after `timeout` seconds or at the first record."""
        for message in self._reader.consume(100, timeout=timeout):
            if message.error() is None and message.value():
                record = decoded(self._codec, message)
                if message.topic() == self._topics.catalog:
                    self.catalog = Catalog.from_record(record)
                else:
                    self.commit = record

    def close(self) -> None:
        self._reader.close()

    def _tail(self, topic: str) -> TopicPartition:
        newest = kafka.last_record(self._reader, topic)
        return TopicPartition(topic, 0, offset(newest))
