"""How long the change log is, in bytes: the broker tells offsets only, so samples of it are weighed (rule M5)."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from connector.errors import Unavailable
from connector.settings import Settings
from topologies import kafka
from topologies.topics import Topics

PLACES = 8  # looked at, evenly spread
RECORDS = 20  # weighed at each


def change_log_bytes(settings: Settings) -> int:
    """Bytes of the batches in the change log, before compression, estimated. Raises Unavailable."""
    topic = Topics(settings.app).changes
    reader = kafka.consumer(settings)
    try:
        low, high = kafka.watermarks(reader, topic)
        if low >= high:
            return 0
        starts = sorted({low + (high - low) * place // PLACES for place in range(PLACES)})
        weights = [_bytes_per_offset(reader, topic, start) for start in starts]
        return int((high - low) * sum(weights) / len(weights))
    except KafkaException as error:
        raise Unavailable(error.args[0].str(), where=topic) from error
    finally:
        reader.close()


def _bytes_per_offset(reader: Consumer, topic: str, start: int) -> float:
    reader.assign([TopicPartition(topic, 0, start)])
    found: Sequence[Message] = [m for m in reader.consume(RECORDS, timeout=1.0) if m.error() is None]
    if not found:
        return 0.0
    return sum(len(m.value() or b"") for m in found) / ((found[-1].offset() or 0) - start + 1)
