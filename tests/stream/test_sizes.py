"""What a plan takes a table's replay to read: what its snapshot topic holds, not what was ever written there."""

from __future__ import annotations

import time

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType  # type: ignore[attr-defined]

from tests.integration.pipeline import eventually
from tests.stream.feed import LISTS, TODOS, Feeder, todo
from topologies import kafka
from topologies.sizes import table_sizes

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
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in eager.items()]
    resource = ConfigResource(ResourceType.TOPIC, feeder.names.snapshot(TODOS), incremental_configs=entries)
    admin = kafka.admin(feeder.settings)
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(20)
