"""The least a consumer of Debezium's records can do: read and decode them. CPU µs per row of exactly that."""

from __future__ import annotations

import io
import json
import time

from confluent_kafka import TopicPartition
from fastavro import parse_schema, schemaless_reader

from connector.settings import Settings
from schemas.codec import FRAME, unframe
from schemas.registry import Registry
from topologies import kafka


def bare_loop(settings: Settings, topic: str, rows: int) -> float:
    """CPU µs per record (key and value decoded), over up to `rows` records of one CDC topic."""
    registry = Registry(settings.registry)
    schemas: dict[int, object] = {}

    def decode(record: bytes) -> object:
        schema_id, _ = unframe(record[: FRAME.size])
        if schema_id not in schemas:
            schemas[schema_id] = parse_schema(json.loads(registry.by_id(schema_id)))
        body = io.BytesIO(record)
        body.seek(FRAME.size)
        return schemaless_reader(body, schemas[schema_id], None)

    reader = kafka.consumer(settings)
    partitions = list(reader.list_topics(topic, timeout=10).topics[topic].partitions)
    ends = sum(kafka.watermarks(reader, topic, partition)[1] for partition in partitions)
    reader.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    wanted, seen = min(rows, ends), 0
    used = time.process_time()
    while seen < wanted:
        for message in reader.consume(1000, timeout=1.0):
            if message.error() is None:
                seen += 1
                decode(message.key())
                if message.value():
                    decode(message.value())
    used = time.process_time() - used
    reader.close()
    return round(1e6 * used / seen, 1)
