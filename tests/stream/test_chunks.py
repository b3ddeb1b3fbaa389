"""A replay's ranges do not depend on how its records happen to arrive (rule T6)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from connector.deploy.catalog import ReplayEnd
from connector.errors import Gap
from topologies.chunks import CHUNK, LARGE, Chunk, Range

END = 4 * CHUNK + 500


class Record:
    """A message of the snapshot topic, or what the consumer says in place of one."""

    def __init__(self, offset: int, error: int | None = None, size: int = 100) -> None:
        self._offset, self._error, self._size = offset, error, size

    def __len__(self) -> int:
        return self._size

    def offset(self) -> int:
        return self._offset

    def error(self) -> KafkaError | None:
        return KafkaError(self._error) if self._error is not None else None

    def topic(self) -> str:
        return "app.snapshot.public.todos"


def read(start: int, blocks: list[list[Record]]) -> list[Chunk]:
    """The chunks of a scan that gets its records block by block."""
    found, over = Range(ReplayEnd("public.todos", 0, END), start), []
    for block in blocks:
        for record in block:
            found.take(cast(Any, record))
        over += found.chunks()
        if found.done:
            break
    assert found.done
    return over


def spans(chunks: list[Chunk]) -> list[tuple[int, int]]:
    return [(c.start, c.end) for c in chunks]


@st.composite
def partitions(draw: st.DrawFn) -> list[Record]:
    """Committed records below the end with gaps between them, and the word that nothing more is there."""
    offsets = sorted(draw(st.sets(st.integers(0, END - 1), max_size=60)))
    sizes = st.sampled_from((100, LARGE // 3, LARGE))
    return [*(Record(offset, size=draw(sizes)) for offset in offsets), Record(END, KafkaError._PARTITION_EOF)]


def in_blocks(records: list[Record], cuts: list[int]) -> list[list[Record]]:
    places = sorted({min(c, len(records)) for c in cuts} | {0, len(records)})
    return [records[a:b] for a, b in pairwise(places)]


@given(partitions(), st.lists(st.integers(0, 60)), st.lists(st.integers(0, 60)))
def test_ranges_are_the_same_however_records_arrive(records: list[Record], one: list[int], other: list[int]) -> None:
    first = read(0, in_blocks(records, one))
    assert spans(first) == spans(read(0, in_blocks(records, other)))
    assert [m.offset() for c in first for m in c.messages] == [r.offset() for r in records[:-1]]
    assert all(c.start <= cast(int, m.offset()) < c.end for c in first for m in c.messages)
    assert [c.end for c in first[:-1]] == [c.start for c in first[1:]], "contiguous"
    assert first[-1].end >= END
    assert all(sum(map(len, c.messages[:-1])) < LARGE for c in first), "a chunk is full with the record that fills it"
    assert all(c.end < END for c in first[:-1]), "one chunk says that the partition is done"


@given(partitions(), st.lists(st.integers(0, 60)), st.data())
def test_a_scan_that_starts_over_goes_on_with_the_same_ranges(
    records: list[Record], cuts: list[int], data: st.DataObject
) -> None:
    first = read(0, in_blocks(records, cuts))
    start = data.draw(st.sampled_from([c.start for c in first]))
    rest = [r for r in records if r.offset() >= start]
    assert spans(read(start, [rest])) == [span for span in spans(first) if span[0] >= start]


def test_a_log_that_does_not_reach_back_is_a_gap() -> None:
    with pytest.raises(Gap, match="offset 7 is not there any more"):
        read(7, [[Record(7, KafkaError.OFFSET_OUT_OF_RANGE)]])
