"""The ranges of a snapshot partition that a replay answers for, one by one (rule T6)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple, cast

from confluent_kafka import KafkaError, Message

from connector.deploy.catalog import ReplayEnd
from connector.errors import Gap

CHUNK = 250  # source records at most that one Evaluated record answers for: live traffic waits for one in the merge
LARGE = 4 * 1024 * 1024  # bytes of their values with which it is full


class Chunk(NamedTuple):
    """Committed records of one partition in their order, and the consumer positions they lie between."""

    of: ReplayEnd
    messages: list[Message]
    start: int
    end: int


class Range:
    """What of a partition is read and not answered for yet."""

    def __init__(self, of: ReplayEnd, start: int) -> None:
        self._of = of
        self._start = self.position = start
        self._messages: list[Message] = []
        self._measured = self._bytes = 0  # of those in the chunk to come

    @property
    def done(self) -> bool:
        return self.position >= self._of.end

    def take(self, message: Message) -> None:
        error, offset = message.error(), _offset(message)
        if error is None:
            self._messages.append(message)
            self.position = offset + 1
        elif error.code() == KafkaError._PARTITION_EOF:
            self.position = max(self.position, offset)
        elif error.code() in (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET):
            where = f"{message.topic()} [{self._of.partition}]"
            raise Gap(f"offset {self.position} is not there any more", where=where)

    def chunks(self) -> Iterator[Chunk]:
        """What can be answered for, once it is whole.

        Chunks end where offsets are multiples of CHUNK, or with the record that makes them LARGE: a scan that starts
        over answers for the same ranges, and the merge takes up its records where those of the one before end. What
        is passed without a record belongs to the next chunk.
        """
        while self._messages or self.done:
            edge = self._edge() if self._messages else self.position
            if edge > self.position and not self.done:
                return
            end = min(edge, self.position)
            count = bisect_left(self._messages, end, key=_offset)
            yield Chunk(self._of, self._messages[:count], self._start, end)
            self._messages, self._start = self._messages[count:], end
            self._measured = self._bytes = 0
            if end >= self._of.end:
                return

    def _edge(self) -> int:
        """Where the chunk to come ends, as far as its records tell."""
        edge = (_offset(self._messages[0]) // CHUNK + 1) * CHUNK
        for message in islice(self._messages, self._measured, None):
            if _offset(message) >= edge:
                break
            self._measured += 1
            self._bytes += len(message)
            if self._bytes >= LARGE:
                return _offset(message) + 1
        return edge


def _offset(message: Message) -> int:
    return cast(int, message.offset())
