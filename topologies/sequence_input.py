"""What the sequencer reads: all captured partitions, decoded and pushed into the order (rules S6, S7, S12)."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping
from typing import cast

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from connector.errors import SourceRefused
from connector.settings import Settings
from connector.source.decode import Decoder, Headers
from connector.source.order import Order
from connector.source.records import Begin, Partition
from topologies import kafka
from topologies.captured import transaction_topic

log = logging.getLogger(__name__)

AT_ONCE = 2_000  # messages taken from the consumer in one go
CAP_ROWS = 10_000
CAP_BYTES = 8 * 1024 * 1024
CAP_ENDS = 5_000
# What a fetch brings is decompressed at once, whatever is queued already: repetitive rows become twenty times as much.
FETCHED = {
    "queued.max.messages.kbytes": 16 * 1024,
    "fetch.message.max.bytes": 256 * 1024,
    "fetch.max.bytes": 4 * 1024 * 1024,
}

_LOST = (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET)
_GONE = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC)


class Input:
    """Reads by `assign()`; only a partition over its cap is paused, and polling never stops."""

    def __init__(
        self,
        settings: Settings,
        order: Order,
        decoder: Decoder,
        *,
        cap_rows: int = CAP_ROWS,
        cap_bytes: int = CAP_BYTES,
    ) -> None:
        self._consumer = kafka.consumer(settings, **FETCHED)
        self._settings = settings
        self._order = order
        self._decoder = decoder
        self._ends = transaction_topic(settings)
        self._cap_rows = cap_rows
        self._cap_bytes = cap_bytes
        self._paused: set[Partition] = set()
        self._left: deque[Message] = deque()  # read, but their schema is out of reach for now
        self._assigned: set[Partition] = set()

    def watermarks(self, partition: Partition) -> tuple[int, int]:
        """(low, high) of a partition, high being the read_uncommitted end.

        Raises Unavailable where the broker is out of reach or does not know a new partition yet.
        """
        try:
            return kafka.watermarks(self._consumer, *partition)
        except KafkaException as error:
            raise kafka.unavailable(self._settings, error.args[0], f"ends of {partition[0]}") from error

    def learn(self, topic: str) -> None:
        """Make the consumer see how many partitions a topic has now. Raises Unavailable."""
        try:
            self._consumer.list_topics(topic, timeout=kafka.PATIENCE)
        except KafkaException as error:
            raise kafka.unavailable(self._settings, error.args[0], f"look at {topic}") from error

    def high_watermarks(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        return {partition: self.watermarks(partition)[1] for partition in partitions}

    def assign(self, starts: Mapping[Partition, int]) -> None:
        """Read further partitions, from the given offsets on."""
        fresh = {partition: start for partition, start in starts.items() if partition not in self._assigned}
        if fresh:
            self._consumer.incremental_assign([TopicPartition(*p, start) for p, start in fresh.items()])
            self._assigned |= fresh.keys()

    def poll(self, timeout: float) -> None:
        """Read what there is, waiting up to `timeout` seconds for the first record.

        Raises Unavailable where a schema is out of reach: nothing is lost, call again.
        """
        if not self._left:
            self._left.extend(self._read(timeout))
        while self._left:
            self._push(self._left[0])
            self._left.popleft()
        self._balance()

    def close(self) -> None:
        self._consumer.close()

    def _read(self, timeout: float) -> list[Message]:
        first = self._consumer.poll(timeout)
        if first is None:
            return []
        return [first, *self._consumer.consume(AT_ONCE, timeout=0)]

    def _push(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            self._failed(message, error)
            return
        topic, offset = str(message.topic()), int(message.offset() or 0)
        if topic == self._ends:
            self._push_end(message, offset)
            return
        partition = (topic, int(message.partition() or 0))
        self._order.push(
            self._decoder.row(partition, offset, message.key(), message.value(), cast(Headers, message.headers))
        )

    def _push_end(self, message: Message, offset: int) -> None:
        value = message.value()
        read = None if value is None else self._decoder.transaction(offset, value)
        if read is None:
            self._order.passed_end(offset + 1)
        elif isinstance(read, Begin):
            self._order.push_begin(read)
        else:
            self._order.push_end(read)

    def _failed(self, message: Message, error: KafkaError) -> None:
        topic = message.topic()
        if error.code() == KafkaError._PARTITION_EOF:
            offset = int(message.offset() or 0)
            if topic == self._ends:
                self._order.passed_end(offset)
            else:
                self._order.passed((str(topic), int(message.partition() or 0)), offset)
        elif error.code() in _LOST or error.code() in _GONE:
            raise SourceRefused(
                f"what the sequencer has to read next is not there any more: {error.str()}",
                where=f"{topic} [{message.partition()}] {message.offset()}",
                hint="the topic lost records by retention, or was deleted: snapshot the source anew",
            )
        else:
            log.debug("consumer: %s", error.str())  # librdkafka reconnects by itself

    def _balance(self) -> None:
        full = [p for p in self._order.partitions() if p not in self._paused and self._over(p, 1)]
        eased = [p for p in self._paused if p[0] != self._ends and not self._over(p, 2)]
        if self._order.ends_buffered > CAP_ENDS:
            full.append((self._ends, 0))
        elif (self._ends, 0) in self._paused and self._order.ends_buffered < CAP_ENDS // 2:
            eased.append((self._ends, 0))
        full = [p for p in full if p in self._assigned and p not in self._paused]
        if full:
            self._consumer.pause([TopicPartition(*p) for p in full])
            self._paused.update(full)
        if eased:
            self._consumer.resume([TopicPartition(*p) for p in eased])
            self._paused.difference_update(eased)

    def _over(self, partition: Partition, share: int) -> bool:
        rows, size = self._order.buffered(partition)
        return rows * share > self._cap_rows or size * share > self._cap_bytes
