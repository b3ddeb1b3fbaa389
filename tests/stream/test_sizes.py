"""What a plan takes a table's replay to read: what its snapshot topic holds, not what was ever written there."""

from __future__ import annotations

import time

import pytest

from tests.integration.pipeline import eventually
from tests.stream.feed import LISTS, TODOS, Feeder, todo
from topologies.sizes import table_sizes
from topologies.topic_settings import alter, compaction_lag_ms

pytestmark = pytest.mark.stack


def test_transaction_markers_are_no_rows(feeder: Feeder) -> None:
    """One row a transaction: every other offset is a marker."""
    for number in range(500):
        feeder.batch(todo(str(number)))
    sizes = table_sizes(feeder.settings, [TODOS, LISTS, "public.unknown"])
    assert sizes.keys() == {TODOS, LISTS}
    assert (sizes[LISTS].rows, sizes[LISTS].bytes) == (0, 0)
    assert sizes[TODOS].rows == pytest.approx(500, rel=0.1)
    assert 20 * 500 < sizes[TODOS].bytes < 100 * 500


def test_a_busy_table_is_as_large_as_its_rows_once_it_is_cleaned(feeder: Feeder) -> None:
    """Offsets rise for ever; a deploy is not to be refused for what compaction has taken."""
    rows, writes = 2_000, 60_000
    feeder.batches([[todo(f"{n + m}") for m in range(500)] for n in range(0, rows, 500)])
    for first in range(0, writes, 20_000):
        feeder.batches(
            [
                [todo(str(n % 100), n=n) for n in range(first + start, first + start + 500)]
                for start in range(0, 20_000, 500)
            ]
        )
    before = table_sizes(feeder.settings, [TODOS])[TODOS].rows
    assert before == pytest.approx(rows + writes, rel=0.1)
    _clean(feeder)
    time.sleep(1.1)
    feeder.batch(todo("rolls the segment"))

    def cleaned() -> bool:
        feeder.batch(*(todo(str(n)) for n in range(10)))
        return table_sizes(feeder.settings, [TODOS])[TODOS].rows < 2 * rows

    eventually(cleaned, within=60, what="the cleaner has been there")
    began = time.monotonic()
    now = table_sizes(feeder.settings, [TODOS])[TODOS].rows
    print(f"{before} records, {now} once cleaned, told in {time.monotonic() - began:.3f} s")
    assert now > 0.7 * rows


def _clean(feeder: Feeder) -> None:
    eager = {"segment.ms": "1000", "min.compaction.lag.ms": "0", "min.cleanable.dirty.ratio": "0.001"}
    alter(feeder.settings, feeder.names.snapshot(TODOS), eager)


def test_a_replay_may_take_as_long_as_the_first_of_its_topics_waits(feeder: Feeder) -> None:
    """Rule T7; a lag below what `init` sets shortens nothing."""

    def lag(minutes: int, table: str) -> int:
        alter(feeder.settings, feeder.names.snapshot(table), {"min.compaction.lag.ms": str(minutes * 60_000)})
        return compaction_lag_ms(feeder.settings, [TODOS, LISTS, "public.unknown"]) // 60_000

    assert compaction_lag_ms(feeder.settings, []) == 600_000
    assert [lag(60, TODOS), lag(30, LISTS), lag(0, TODOS)] == [10, 30, 10]
