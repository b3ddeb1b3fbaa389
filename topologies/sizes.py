"""What a replay of a table reads: the records that its snapshot topic holds now, told from looks into it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from connector.deploy.costs import TableSize
from connector.deploy.density import LOOK, Held, Look, held, next_look
from connector.errors import Unavailable
from connector.settings import Settings
from topologies import kafka
from topologies.topics import Topics

FETCHED = 64 * 1024  # bytes of a partition at once: a look is at a hundred records, and the next one is elsewhere

Place = tuple[str, int]  # topic, partition


def table_sizes(settings: Settings, tables: Sequence[str]) -> dict[str, TableSize]:
    """Records and bytes of each table's snapshot topic, of those that have one. Raises Unavailable."""
    reader = kafka.consumer(settings, **{"fetch.wait.max.ms": 2, "fetch.message.max.bytes": FETCHED})
    try:
        known = reader.list_topics(timeout=kafka.PATIENCE).topics
        topics = {table: topic for table in tables if (topic := Topics(settings.app).snapshot(table)) in known}
        places = [(topic, partition) for topic in topics.values() for partition in known[topic].partitions]
        found = _held(reader, {place: kafka.watermarks(reader, *place) for place in places})
    except KafkaException as error:
        raise kafka.unavailable(settings, error.args[0], "measure the snapshot topics") from error
    finally:
        reader.close()
    return {
        table: _size(table, [one for (t, _), one in found.items() if t == topic]) for table, topic in topics.items()
    }


def _size(table: str, partitions: Sequence[Held]) -> TableSize:
    return TableSize(table, round(sum(p.records for p in partitions)), round(sum(p.bytes for p in partitions)))


def _held(reader: Consumer, marks: Mapping[Place, tuple[int, int]]) -> dict[Place, Held]:
    """Looks into all partitions at once, until each has had enough."""
    looks: dict[Place, list[Look]] = {place: [] for place in marks}
    while wanted := {p: where for p, mark in marks.items() if (where := next_look(*mark, looks[p])) is not None}:
        for place, look in _looks(reader, wanted).items():
            looks[place] = sorted([*looks[place], look], key=lambda one: one.start)
    return {place: held(found) for place, found in looks.items()}


def _looks(reader: Consumer, wanted: Mapping[Place, tuple[int, int]]) -> dict[Place, Look]:
    """One look into each of these partitions, from an offset to a limit. Raises Unavailable."""
    reader.assign([TopicPartition(*place, start) for place, (start, _) in wanted.items()])
    seen: dict[Place, list[Message]] = {place: [] for place in wanted}
    done: dict[Place, Look] = {}
    deadline = time.monotonic() + kafka.PATIENCE
    while len(done) < len(wanted):
        message = reader.poll(0.1)
        if message is None:
            if time.monotonic() > deadline:
                raise Unavailable("no record of the snapshot topics within 10 s", hint="is the broker up?")
            continue
        place = cast(str, message.topic()), cast(int, message.partition())
        if place not in wanted or place in done:
            continue
        (start, limit), offset = wanted[place], cast(int, message.offset())
        at_end = _is_end(message)
        if not at_end and offset < limit:
            seen[place].append(message)
        if at_end or offset + 1 >= limit or len(seen[place]) == LOOK:
            size = sum(len(m.value() or b"") for m in seen[place])
            done[place] = Look(start, limit if at_end else min(offset + 1, limit), len(seen[place]), size)
    reader.unassign()
    return done


def _is_end(message: Message) -> bool:
    """Whether there is no more. Raises KafkaException where the partition cannot be read."""
    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)
    return error is not None
