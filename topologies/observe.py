"""What can be seen of a running app from its topics: the heads of its logs, without asking any process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException, Message, TopicPartition

from connector.deploy.catalog import Catalog
from connector.settings import Settings
from schemas.codec import Codec
from topologies import kafka
from topologies.schemas import Schemas
from topologies.topics import Topics


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


def observe(settings: Settings, codec: Codec | None = None) -> Observation:
    """Read the heads now. Raises Unavailable where the broker is out of reach, BadConfig where `init` has not run."""
    codec = codec or codec_of(settings)
    topics = Topics(settings.app)
    reader = kafka.glance(settings)
    try:
        commit = kafka.last_record(reader, topics.checkpoints)
        checkpoint = kafka.last_record(reader, topics.checkpoints, wanted=lambda m: m.key() == b"exposed")
        progress = kafka.last_record(reader, topics.sequence)
        catalog = kafka.last_record(reader, topics.catalog)
        head = kafka.last_record(reader, topics.changes)  # last: no checkpoint is to be ahead of it
    except KafkaException as error:
        raise kafka.unavailable(settings, error.args[0], "read the heads of the logs") from error
    finally:
        reader.close()
    return Observation(
        head=decoded(codec, head) if head is not None else None,
        progress=_parsed(decoded(codec, progress)) if progress is not None else None,
        commit=decoded(codec, commit) if commit is not None else None,
        checkpoint=decoded(codec, checkpoint) if checkpoint is not None else None,
        catalog=Catalog.from_record(decoded(codec, catalog)) if catalog is not None else Catalog(),
    )


def codec_of(settings: Settings) -> Codec:
    """What a command decodes with; it waits for servers only so long."""
    return Codec(Schemas(settings, patience=kafka.PATIENCE))


def decoded(codec: Codec, message: Message) -> dict[str, Any]:
    """The record of a message that has a value."""
    return codec.decode(message.value() or b"")


def offset(message: Message | None) -> int:
    """Where to begin to see this message again; 0 where there is none."""
    return (message.offset() or 0) if message is not None else 0


def _parsed(progress: dict[str, Any]) -> dict[str, Any]:
    return progress | {"state": json.loads(progress["state"])}


class Watch:
    """The catalog and the commits as they come, from their newest record on."""

    def __init__(self, settings: Settings, codec: Codec | None = None) -> None:
        self._codec = codec or codec_of(settings)
        self._topics = Topics(settings.app)
        self._reader = kafka.follower(settings)
        self.catalog = Catalog()
        self.commit: dict[str, Any] | None = None
        self.streams: dict[str, dict[str, Any]] = {}  # newest state of every stream seen, also of those that ended
        topics = (self._topics.catalog, self._topics.checkpoints)
        reader = kafka.glance(settings)
        try:
            newest = [kafka.last_record(reader, topic) for topic in topics]
        finally:
            reader.close()
        for message in newest:
            if message is not None:
                self._take(message)
        self._reader.assign([TopicPartition(t, 0, offset(m)) for t, m in zip(topics, newest, strict=True)])

    def poll(self, timeout: float) -> None:
        """Take all that has come; waits up to `timeout` seconds for the first record."""
        message = self._reader.poll(timeout)
        while message is not None:
            if message.error() is None and message.value():
                self._take(message)
            message = self._reader.poll(0.0)

    def close(self) -> None:
        self._reader.close()

    def _take(self, message: Message) -> None:
        record = decoded(self._codec, message)
        if message.topic() == self._topics.catalog:
            self.catalog = Catalog.from_record(record)
        else:
            self.commit = record
            self.streams |= {s["stream"]: s for s in record["streams"]}
