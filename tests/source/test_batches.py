"""Rule S8: how changes are cut into batches; rule S2: progress survives as JSON."""

from __future__ import annotations

import pytest

from connector.position import Position
from connector.source.batches import BETWEEN, MAX_BYTES, MAX_ROWS, Batcher, due_in
from connector.source.lane import LaneState
from connector.source.order import Counters, OrderState
from connector.source.progress import Progress, from_record, known_tables, refused_tables, table_completeness, truncates
from connector.source.records import Change, Truncate
from connector.source.tables import TableState
from tests.source.debezium import TABLE, TOPIC, row


def change(size: int = 10, table: str = TABLE) -> Change:
    return Change(table, TOPIC, "UPSERT", '["public.todos","k"]', 7, b"x" * size, 0, 0)


def test_positions_are_dense_and_rows_are_counted() -> None:
    batcher = Batcher(Position(41), 100)
    batcher.add(change(), 5)
    batcher.add(change(), 3)
    first = batcher.close(boundary=False)
    emptied = batcher.truncate(Truncate(TABLE, TOPIC), 7, boundary=True)
    assert [(b.position, b.rows, b.committed_at, b.boundary) for b in (first, emptied)] == [
        (42, 102, 5, False),
        (43, 102, 7, True),
    ]
    assert emptied.changes == ()


def test_a_batch_is_full_by_rows() -> None:
    batcher = Batcher(Position(0), 0)
    for _ in range(MAX_ROWS - 1):
        batcher.add(change(), 0)
    assert batcher.fits(row(0, 0))
    batcher.add(change(), 0)
    assert not batcher.fits(row(0, 0))


def test_a_batch_is_full_by_bytes() -> None:
    batcher = Batcher(Position(0), 0)
    batcher.add(change(MAX_BYTES), 0)
    assert not batcher.fits(row(0, 0))  # a larger row is a batch alone
    assert len(batcher) == 1


def test_room_keeps_small_transactions_whole() -> None:
    batcher = Batcher(Position(0), 0)
    assert batcher.room(MAX_ROWS + 1)  # a large one begins a batch of its own
    batcher.add(change(), 0)
    assert batcher.room(MAX_ROWS - 1)
    assert not batcher.room(MAX_ROWS)


def test_a_record_names_each_table_once() -> None:
    batcher = Batcher(Position(0), 0)
    for table in (TABLE, "public.lists", TABLE):
        batcher.add(change(table=table), 0)
    record = batcher.close(boundary=True).as_record()
    assert [table["table"] for table in record["tables"]] == [TABLE, "public.lists"]
    assert [each["table"] for each in record["changes"]] == [0, 1, 0]


PROGRESS = Progress(
    position=7,
    change_offset=12,
    rows=30,
    order=OrderState(
        5, 100, 1700, (120, 3), 1, 9, True, {(TOPIC, 2): LaneState(8, 100, 2, 1700, "k", 9, ("j",), "501")}
    ),
    tables={
        TABLE: TableState(TOPIC, (("id", "text"),), complete=4, truncated=3),
        "public.a": TableState("source.public.a", refused="has no primary key", hint="add one"),
        "public.b": TableState("source.public.b", complete=6, holes={"k": 5}),
    },
    topics={TOPIC: "abc"},
    counters=Counters(1, 2, 3, 4),
    rejected=5,
    waiting="transaction 5: row 1 of 2",
)


def test_progress_survives_as_json() -> None:
    assert from_record(PROGRESS.as_record()) == PROGRESS


def test_what_others_read_of_it() -> None:
    record = PROGRESS.as_record()
    assert table_completeness(record) == {TABLE: 4, "public.b": None}  # of a refused table nothing passes
    assert known_tables(record) == [TABLE, "public.a", "public.b"]
    assert refused_tables(record) == {"public.a": ("has no primary key", "add one")}
    assert truncates(record)[TABLE] == 3


@pytest.mark.parametrize(("apart", "together"), [(0.1, 1), (0.04, 1), (0.01, 4), (0.001, 35)])
def test_source_transactions_share_a_kafka_transaction_where_they_follow_closely(apart: float, together: int) -> None:
    """On a clock of the test's own, where a Kafka transaction takes 5 ms."""
    commit, wrote, waited, shared = 0.005, float("-inf"), [], []
    arrivals = [1 + n * apart for n in range(40 * together)]
    while arrivals:
        ready = max(arrivals[0], wrote)
        began = ready + due_in(ready, wrote)
        batch = [arrival for arrival in arrivals if arrival <= began]
        del arrivals[: len(batch)]
        waited.append(began - batch[0])
        shared.append(len(batch))
        wrote = began + commit
    assert max(shared) == together
    assert max(waited) <= (0 if together == 1 else BETWEEN + commit + 1e-9)
