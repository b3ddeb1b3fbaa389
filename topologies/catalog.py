"""Reading the catalog and the newest commit, following the catalog, and asking the merge."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from connector.deploy.catalog import Catalog
from connector.errors import Gap, RequestRefused, Unavailable
from connector.settings import Settings
from connector.source.progress import known_tables
from schemas.codec import Codec
from topologies import kafka
from topologies.schemas import Schemas
from topologies.topics import Topics

WITHOUT_FIELDS: dict[str, Any] = {
    "expires_at": 0,
    "base": 0,
    "generation": 0,
    "config": "",
    "path": "",
    "planned": "",
    "ends": [],
    "head": 0,
    "tributary": "",
    "estimate": "",
    "max_rate": 0,
    "definition": "",
    "pending": None,
    "lag_ms": 0,
}
# One record: the id that an idempotent writer asks for first takes half a second. A writer that never sends anything
# twice needs none.
AT_ONCE = {"enable.idempotence": False, "message.send.max.retries": 0}
HINTS = {
    "stale": "the catalog has moved on since it was planned: plan again",
    "expired": "the merge was busy or away: try again; or its clock is ahead of the broker's",
    "differs": "plan again: a kept part has expired since; or the merge runs another release: update the older one",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the merge said: outcome accepted or unchanged, a reason, the generation it is about."""

    outcome: str
    reason: str
    generation: int


def read_catalog(settings: Settings, codec: Codec | None = None) -> Catalog:
    """The catalog in force; an empty one where the merge has never run. Raises Unavailable."""
    record = _newest(settings, codec, Topics(settings.app).catalog)
    return Catalog.from_record(record) if record is not None else Catalog()


def read_commit(settings: Settings, codec: Codec | None = None) -> dict[str, Any] | None:
    """The merge's newest Commit record, a checkpoint or not; None where there is none yet. Raises Unavailable."""
    return _newest(settings, codec, Topics(settings.app).checkpoints)


def sequenced_tables(settings: Settings) -> list[str] | None:
    """The tables that the sequencer has seen a topic of; None before its first start. Raises Unavailable."""
    record = _newest(settings, None, Topics(settings.app).sequence)
    return known_tables(record) if record is not None else None


def _codec(settings: Settings) -> Codec:
    return Codec(Schemas(settings, patience=kafka.PATIENCE))


def _newest(settings: Settings, codec: Codec | None, topic: str) -> dict[str, Any] | None:
    if not kafka.topic_exists(settings, topic):
        return None
    message, _ = _newest_of(settings, topic)
    return (codec or _codec(settings)).decode(message.value() or b"") if message is not None else None


def _newest_of(settings: Settings, topic: str) -> tuple[Message | None, int]:
    """The newest record of a topic, and its first offset."""
    reader = kafka.glance(settings)
    try:
        return kafka.last_record(reader, topic), kafka.watermarks(reader, topic)[0]
    finally:
        reader.close()


class Followed:
    """The newest record of a one-partition topic, kept up to date by whoever calls `newest` now and then."""

    def __init__(self, settings: Settings, codec: Codec, topic: str) -> None:
        self._codec = codec
        self._topic = topic
        message, low = _newest_of(settings, topic)
        self._record = codec.decode(message.value() or b"") if message is not None else None
        start = (message.offset() or 0) + 1 if message is not None else 0
        self._reader = kafka.follower(settings)
        self._reader.assign([TopicPartition(topic, 0, max(low, start))])

    def newest(self, timeout: float = 0.0) -> dict[str, Any] | None:
        """The newest record now; waits up to `timeout` seconds for one newer than the last. Raises Unavailable."""
        wait = timeout
        while (message := self._reader.poll(wait)) is not None:
            error = message.error()
            if error is None:
                self._record = self._codec.decode(message.value() or b"")
                wait = 0.0
            elif error.code() in (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET):
                raise Gap(f"{self._topic} does not reach back any more: {error.str()}", where=self._topic)
            elif error.code() != KafkaError._PARTITION_EOF and error.fatal():
                raise Unavailable(error.str(), where=self._topic)
        return self._record

    def close(self) -> None:
        self._reader.close()


def follow_catalog(settings: Settings, codec: Codec) -> Followed:
    """The catalog, followed; `Catalog.from_record` makes a Catalog of what `newest` gives."""
    return Followed(settings, codec, Topics(settings.app).catalog)


def ask(
    settings: Settings,
    kind: str,
    *,
    within: float = kafka.PATIENCE,
    codec: Codec | None = None,
    **fields: Any,
) -> Answer:
    """Send a Request of `kind` and wait for the merge's answer (rule D1).

    `fields` are those of schemas/syncline.Request.avsc; the missing ones are empty. The request expires with the
    wait, so that a merge that comes later does not act on it. Raises RequestRefused where the answer is no,
    Unavailable where none comes.
    """
    topic = Topics(settings.app).requests
    now = int(time.time() * 1000)
    request = {"id": uuid.uuid4().hex, "kind": kind, "requested_at": now, **WITHOUT_FIELDS} | fields
    request["expires_at"] = now + int(within * 1000)
    if not kafka.topic_exists(settings, topic):
        raise _no_merge(settings, within)
    known = codec or _codec(settings)
    reader = kafka.consumer(settings)
    try:
        _, high = kafka.watermarks(reader, topic)
        reader.assign([TopicPartition(topic, 0, high)])
        _send(settings, topic, request["id"], known.encode("Request", request))
        record = _answer(reader, known, request["id"].encode(), within)
    finally:
        reader.close()
    if record is None:
        raise _no_merge(settings, within)
    if record["outcome"] not in ("accepted", "unchanged"):
        raise RequestRefused(
            f"{kind} was answered {record['outcome']}: {record['reason']}", hint=HINTS.get(record["outcome"])
        )
    return Answer(record["outcome"], record["reason"], record["generation"])


def _answer(reader: Consumer, codec: Codec, key: bytes, within: float) -> dict[str, Any] | None:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        message = reader.poll(0.2)
        if message is not None and message.error() is None and message.key() == key:
            record = codec.decode(message.value() or b"")
            if "outcome" in record:
                return record
    return None


def _send(settings: Settings, topic: str, key: str, value: bytes) -> None:
    writer = kafka.producer(settings, **AT_ONCE)
    failures: list[str] = []

    def delivered(error: object, _: object) -> None:
        if error is not None:
            failures.append(str(error))

    writer.produce(topic, key=key, value=value, on_delivery=delivered)
    if writer.flush(kafka.PATIENCE) or failures:
        raise Unavailable(f"request could not be sent: {failures}", where=settings.kafka)


def _no_merge(settings: Settings, timeout: float) -> Unavailable:
    return Unavailable(
        f"no answer from the merge within {timeout:.0f} s",
        where=Topics(settings.app).requests,
        hint="is it running? `syncline run`, `syncline status`",
    )
