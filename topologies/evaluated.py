"""One stream's evaluated topic as the merge reads it: by assign(), one record ahead at most (rule M1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from connector.errors import Gap, Unavailable
from connector.merge.assembly import Assembly
from connector.merge.hole import Hole
from connector.merge.state import Evaluated
from connector.settings import Settings
from schemas.codec import Codec
from topologies import kafka


@dataclass(frozen=True, slots=True)
class Ahead:
    """The next record of a stream and the offset after it."""

    record: Evaluated
    next_offset: int


class Input:
    """Reads from `offset` on; `peek` shows the next record until `pop` passes it."""

    def __init__(self, settings: Settings, codec: Codec, stream: str, topic: str, offset: int) -> None:
        self.stream = stream
        self.assembly = Assembly()
        self.hole = Hole()
        self._codec = codec
        self._topic = topic
        self._reader = kafka.follower(settings)
        self._reader.assign([TopicPartition(topic, 0, offset)])
        self._ahead: Ahead | None = None

    def peek(self, timeout: float = 0.0) -> Ahead | None:
        """The next record, or None where none has come within `timeout` seconds."""
        if self._ahead is None:
            message = next_message(self._reader, self._topic, timeout)
            if message is not None:
                record = cast(Evaluated, self._codec.decode(message.value() or b""))
                self._ahead = Ahead(record, cast(int, message.offset()) + 1)
        return self._ahead

    def whole(self) -> Ahead | None:
        """The next record, whole: the last of its parts gives way to it. None where there was one of its parts only,
        which is passed."""
        assert self._ahead is not None
        record = self.assembly.add(self._ahead.record)
        self._ahead = Ahead(record, self._ahead.next_offset) if record is not None else None
        return self._ahead

    def pop(self) -> None:
        self._ahead = None

    def close(self) -> None:
        self._reader.close()


def next_message(reader: Consumer, topic: str, timeout: float) -> Message | None:
    """The next record; None where there is none yet or the broker is away for a while.

    Raises Gap where the log does not reach back to the offset that is next, Unavailable at a fatal error.
    """
    message = reader.poll(timeout)
    if message is None:
        return None
    error = message.error()
    if error is None:
        return message
    if error.code() in (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET):
        raise Gap(f"the log does not reach back to the next offset: {error.str()}", where=f"{topic} [0]")
    if error.fatal():
        raise Unavailable(error.str(), where=topic)
    return None
