"""What the connector tells of its snapshots (rule D3)."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from confluent_kafka import KafkaError, Message, TopicPartition
from fastavro import parse_schema

from connector.deploy.connector import notification_topic
from connector.settings import Settings
from connector.source import avro
from connector.source.wishes import Told
from schemas.codec import unframe
from topologies import kafka
from topologies.schemas import Schemas

INITIAL = "Initial Snapshot"
INCREMENTAL = "Incremental Snapshot"
COMPLETED = "COMPLETED"


class Notifications:
    """Reads the notification topic from its beginning; remembers which snapshots are completed."""

    def __init__(self, settings: Settings, schemas: Schemas) -> None:
        self.initial_completed = False
        self.covered: set[str] = set()  # tables that initial snapshots go over
        self.read_to_end = False  # what was told before now is known
        self.told = Told()  # of incremental snapshots
        self._schemas = schemas
        self._parsed: dict[int, Any] = {}
        self._consumer = kafka.follower(settings)
        topic = notification_topic(settings)
        if kafka.topic_exists(settings, topic):
            low, _ = kafka.watermarks(self._consumer, topic)
            self._consumer.assign([TopicPartition(topic, 0, low)])
        else:
            self.read_to_end = True

    def read(self) -> None:
        """Take in what came since the last time; never waits."""
        for message in self._consumer.consume(100, timeout=0):
            error = message.error()
            if error is not None:
                self.read_to_end |= error.code() == KafkaError._PARTITION_EOF
            elif message.value() is not None:
                self._take(message)

    def close(self) -> None:
        self._consumer.close()

    def _take(self, message: Message) -> None:
        schema_id, body = unframe(message.value() or b"")
        if schema_id not in self._parsed:
            self._parsed[schema_id] = parse_schema(avro.raw(json.loads(self._schemas.text(schema_id))))
        record = avro.read(BytesIO(body), self._parsed[schema_id])
        more = record["additional_data"] or {}
        if record["aggregate_type"] == INITIAL:
            self.covered.update(filter(None, more.get("data_collections", "").split(",")))
            self.initial_completed |= record["type"] == COMPLETED
        elif record["aggregate_type"] == INCREMENTAL:
            self.told.take(str(record["id"]), record["type"], more.get("status"))
