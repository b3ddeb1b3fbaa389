"""Consumers, producers and topics of the broker, made in one place so that every reader is read_committed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from connector.errors import Gap, Unavailable
from connector.settings import Settings

Headers = list[tuple[str, str | bytes | None]]
_T = TypeVar("_T")

TRANSACTION_TIMEOUT_MS = 12_000  # a dead writer blocks all readers that long (design.md section 7)
# What a topic says that was made a moment ago, or whose broker has just come back.
LEADERLESS = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART)
FEW = 32  # offsets
REFUSING = (KafkaError._AUTHENTICATION, KafkaError._SSL)
FENCING = (
    KafkaError._FENCED,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.TRANSACTION_COORDINATOR_FENCED,
)
PATIENCE = 10.0  # seconds a command waits for a server before it says so


def _client(settings: Settings) -> dict[str, Any]:
    """What every client has: where the brokers are, and how it gets in."""
    return {
        "bootstrap.servers": settings.kafka,
        "log_level": 2,
        # Who asks for topics before it is connected waits this long; librdkafka's 100 ms are most of a short command.
        "reconnect.backoff.ms": 10,
        **settings.kafka_security,
    }


def consumer(settings: Settings, **conf: object) -> Consumer:
    """A reader by `assign()`: read_committed, no group, no automatic offset reset (rule T1)."""
    return Consumer(
        {
            **_client(settings),
            "group.id": f"{settings.app}.assigned",  # librdkafka wants one; nothing is ever committed under it
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "allow.auto.create.topics": False,
            "fetch.wait.max.ms": 20,
            "fetch.message.max.bytes": 4 * 1024 * 1024,
            "queued.max.messages.kbytes": 32 * 1024,
            **conf,
        }
    )


def follower(settings: Settings, wait_ms: int = 500) -> Consumer:
    """A reader that stays at the end of what it is given once.

    The broker answers its fetch at the next record, or after `wait_ms`, so that an idle topic costs next to nothing.
    What is to be read up to an end takes `consumer`: it is told of the end only when a fetch comes back empty.
    """
    return consumer(settings, **{"fetch.wait.max.ms": wait_ms})


def glance(settings: Settings) -> Consumer:
    """A reader of a few newest records that is closed a moment later.

    It is told of the end only when a fetch comes back empty, and there are two such fetches a topic: the broker is to
    hold neither of them.
    """
    return consumer(settings, **{"fetch.wait.max.ms": 2})


def producer(settings: Settings, **conf: object) -> Producer:
    """An idempotent writer."""
    return Producer(
        {
            **_client(settings),
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 2,
            "compression.type": "lz4",
            "message.max.bytes": settings.max_request_size + 1024 * 1024,
            **conf,
        }
    )


def transactional_producer(settings: Settings, transactional_id: str, **conf: object) -> Producer:
    """A writer of Kafka transactions; `init_transactions` fences whoever had the id before (law 7)."""
    return producer(
        settings,
        **{"transactional.id": transactional_id, "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS} | conf,
    )


def is_fenced(writer: Producer, error: KafkaError) -> bool:
    """Whether another process has the writer's `transactional.id` now (law 7).

    A record that cannot be produced after that fails with no more than "fatal", and a commit that meets the newer
    one's first step with "Unknown broker error" (Kafka 4.3, two of 500): the next step of the transaction says why.
    """
    if error.code() == KafkaError._FATAL or error.txn_requires_abort():
        try:
            writer.abort_transaction(PATIENCE)
        except KafkaException as cause:
            error = cause.args[0]
    return error.code() in FENCING


def admin(settings: Settings, **conf: Any) -> AdminClient:
    return AdminClient({**_client(settings), **conf})


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic as it should be."""

    name: str
    partitions: int
    config: dict[str, str]


def create_topics(settings: Settings, plans: Iterable[TopicPlan], *, timeout: float = PATIENCE) -> list[str]:
    """Create the topics that are missing; the names created. Raises Unavailable where the broker is out of reach."""
    created = []
    wanted = [NewTopic(p.name, p.partitions, config=dict(p.config)) for p in plans]
    if not wanted:
        return []
    client = admin(settings)  # kept: its futures fail once it is collected
    for name, future in client.create_topics(wanted, operation_timeout=timeout).items():
        try:
            future.result(timeout)
            created.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise unavailable(settings, error.args[0], f"create topic {name}") from error
    _await_listed(settings, created, timeout)
    return created


def _await_listed(settings: Settings, created: Iterable[str], timeout: float) -> None:
    """A broker knows a new topic a moment after the controller has made it."""
    deadline = time.monotonic() + timeout
    client, missing = admin(settings), set(created)
    while missing:
        missing -= client.list_topics(timeout=timeout).topics.keys()
        if missing and time.monotonic() > deadline:
            raise Unavailable(f"topics were created and are not listed: {sorted(missing)}", where=settings.kafka)
        time.sleep(0.05 if missing else 0)


def unavailable(settings: Settings, error: KafkaError, doing: str) -> Unavailable:
    hint = "is the broker up? `syncline local status`. Does it want TLS or a login? `kafka_security` in the settings"
    if error.code() in REFUSING:
        hint = f"kafka_security in {settings.path}"
    return Unavailable(f"{doing} failed: {error.str()}", where=settings.kafka, hint=hint)


def topic_exists(settings: Settings, topic: str, *, timeout: float = PATIENCE) -> bool:
    return bool(existing(settings, [topic], timeout=timeout))


def existing(settings: Settings, topics: Iterable[str], *, timeout: float = PATIENCE) -> list[str]:
    """Those of the topics that there are. Raises Unavailable."""
    wanted = list(topics)
    if not wanted:
        return []
    told: list[KafkaError] = []  # by its connections; the call itself fails only because time is over
    client = admin(settings, error_cb=told.append)
    try:
        there = client.list_topics(timeout=timeout).topics
    except KafkaException as error:
        client.poll(0)
        cause = next((one for one in told if one.code() in REFUSING), error.args[0])
        raise unavailable(settings, cause, "list topics") from error
    return [topic for topic in wanted if topic in there]


def watermarks(reader: Consumer, topic: str, partition: int = 0, *, timeout: float = PATIENCE) -> tuple[int, int]:
    """(low, high): the first offset still there, and the end as the reader's isolation level has it.

    A read_committed reader is told the last stable offset, which lies before the first open transaction.
    """

    def ask() -> tuple[int, int]:
        low, high = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=timeout, cached=False)
        return low, high

    return once_led(ask, timeout)


def once_led(ask: Callable[[], _T], timeout: float = PATIENCE) -> _T:
    """The answer, asked for again while a partition has no leader: its topic is new, or its broker is just back."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in LEADERLESS or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def locate(reader: Consumer, topic: str) -> None:
    """Have the reader know who leads the topic: of one that is new to it, it looks for that only once a second."""
    reader.list_topics(topic, timeout=PATIENCE)


def uncommitted_ends(
    settings: Settings, topic: str, partitions: Iterable[int] = (0,), *, timeout: float = PATIENCE
) -> dict[int, int]:
    """The high watermark of each partition, open transactions included (rule T5). Nothing is read uncommitted."""
    reader = consumer(settings, **{"isolation.level": "read_uncommitted"})
    try:
        return {partition: watermarks(reader, topic, partition, timeout=timeout)[1] for partition in partitions}
    finally:
        reader.close()


def read_range(
    reader: Consumer, topic: str, partition: int, start: int, end: int, *, timeout: float = 60.0
) -> Iterator[Message]:
    """All committed records of [start, end); waits until the consumer's position is at or beyond `end`.

    Transaction markers and aborted records occupy offsets, so the end is told by position, never by a record.
    Raises Unavailable after `timeout` seconds without progress.
    """
    if start >= end:
        return
    reader.assign([TopicPartition(topic, partition, start)])
    deadline = time.monotonic() + timeout
    position = start
    while position < end:
        # A block waits until it is full or its time is over: a few records come sooner one by one.
        for message in reader.consume(500 if end - position > FEW else 1, timeout=0.05):
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    continue
                if error.code() in (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET):
                    raise Gap(f"offset {start} is not in the log any more", where=f"{topic} [{partition}]")
                raise Unavailable(error.str(), where=f"{topic} [{partition}] {position}")
            if (message.offset() or 0) >= end:
                position = end
                break
            deadline = time.monotonic() + timeout
            yield message
        here = reader.position([TopicPartition(topic, partition)])[0].offset
        position = max(position, here)
        if time.monotonic() > deadline:
            raise Unavailable(f"no progress for {timeout:.0f} s", where=f"{topic} [{partition}] {position}")
    reader.unassign()


def read_all(reader: Consumer, topic: str, partition: int = 0, *, timeout: float = 60.0) -> Iterator[Message]:
    """All committed records now in one partition, to the high watermark captured first."""
    low, high = watermarks(reader, topic, partition)
    yield from read_range(reader, topic, partition, low, high, timeout=timeout)


def any_record(_: Message) -> bool:
    """Where it does not matter which."""
    return True


def last_record(
    reader: Consumer,
    topic: str,
    partition: int = 0,
    *,
    end: int | None = None,
    wanted: Callable[[Message], bool] = any_record,
) -> Message | None:
    """The newest committed record below `end`, or below the last stable offset now, that is wanted; None where there
    is none. Waits for transactions that are open below `end`.
    """
    low, stable = watermarks(reader, topic, partition)
    high = stable if end is None else end
    step = 4
    start = high
    while start > low:
        start = max(low, high - step)
        newest = None
        for message in read_range(reader, topic, partition, start, high):
            newest = message if wanted(message) else newest
        if newest is not None:
            return newest
        step *= 8
    return None
