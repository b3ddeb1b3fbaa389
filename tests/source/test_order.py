"""Rules S3, S4, S5, S7: many partitions become one commit order, whatever the connector repeats or delays."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.errors import Gap, SourceRefused
from connector.source.lane import Lane, LaneState
from connector.source.order import Order, OrderState
from connector.source.records import End, Kind
from tests.source.debezium import START, TOPIC, Change, Connector, Reader, Tear, fresh, row


def three(connector: Connector) -> None:
    """Three transactions, each over all three partitions."""
    for _ in range(3):
        connector.commit([Change(0), Change(1), Change(2)])


def test_rows_wait_for_their_end_and_for_their_number() -> None:
    connector = Connector()
    connector.commit([Change(1), Change(0)])
    reader = Reader(connector)
    reader.read(0)
    assert reader.give() == []  # rule S3: no END yet
    reader.read_ends()
    assert reader.give() == []  # number 1 is missing
    missing = reader.order.missing()
    assert missing is not None
    assert (missing.number, missing.events) == (1, 2)
    reader.read(1)
    assert [r.order for r in reader.give()] == [1, 2]
    assert reader.order.at_boundary


def test_an_open_transaction_is_no_boundary() -> None:
    connector = Connector()
    connector.commit([Change(0), Change(1)])
    reader = Reader(connector)
    reader.read_ends()
    reader.read(0)
    assert len(reader.give()) == 1
    assert not reader.order.at_boundary
    assert reader.order.snapshot().open == (110, 1)


def test_commits_rule_not_lsn_of_rows() -> None:
    """Debezium trap: row LSNs are not in commit order; only ENDs are."""
    connector = Connector()
    first = connector.commit([Change(0, "a")])
    second = connector.commit([Change(0, "b"), Change(1, "c")])
    reader = Reader(connector)
    reader.read(1)
    reader.read(0, 2)
    reader.read_ends(2)
    reader.give()
    assert reader.numbers() == [(first, 1), (second, 1), (second, 2)]


def test_set_back_over_three_whole_transactions_gives_nothing_twice_and_does_not_stall() -> None:
    connector = Connector()
    three(connector)
    reader = Reader(connector)
    reader.read_all()
    connector.set_back(12)
    last = connector.commit([Change(2), Change(0)])
    reader.read_all()
    assert reader.numbers() == connector.expected()
    assert reader.numbers()[-1] == (last, 2)
    assert reader.order.counters.repeated == 9
    assert reader.order.missing() is None


def test_set_back_before_the_repeats_are_closed() -> None:
    """The repeats lie in front of rows that the open transaction waits for."""
    connector = Connector()
    three(connector)
    connector.set_back(7)
    connector.commit([Change(0), Change(1)])
    reader = Reader(connector)
    reader.read(0, 100)
    reader.read_ends(100)
    reader.give()
    reader.read_all()
    assert reader.numbers() == connector.expected()


def test_set_back_inside_a_transaction_that_is_open() -> None:
    connector = Connector()
    connector.commit([Change(0), Change(1)])
    connector.commit([Change(0), Change(1), Change(0), Change(2)], end=False)
    connector.set_back(3)
    connector.written.append(End(0, 120, 4, "502", START + 120))
    connector.ends.append(End(len(connector.ends), 120, 4, "502", START + 120))
    reader = Reader(connector)
    reader.read_all()
    assert reader.numbers() == connector.expected()
    assert reader.order.counters.repeated == 3


@pytest.mark.parametrize("lost", [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize("sent", range(1, 9))
def test_a_connector_that_goes_on_inside_a_transaction_counts_anew(sent: int, lost: tuple[int, int, int]) -> None:
    """Decision 57: the rows that come again have lower numbers than before, and END counts them alone."""
    for stored in range(sent + 1):
        connector = Connector()
        connector.commit([Change(0), Change(1), Change(2)])
        connector.torn([Change(n % 3, f"k{n}") for n in range(8)], [Tear(sent, stored, lost)])
        connector.commit([Change(0), Change(1), Change(2)])
        reader = Reader(connector)
        reader.read_all()
        assert reader.entries() == connector.entries()
        assert reader.order.at_boundary
        assert reader.order.counters.late == 0


def test_a_merged_transaction_waits_for_nothing_once_it_is_over() -> None:
    connector = Connector()
    connector.torn([Change(n % 3, f"k{n}") for n in range(8)], [Tear(6, 4)])
    reader = Reader(connector)
    reader.read_ends()
    waits = reader.order.missing()
    assert waits is not None and waits.lsn == 110
    for number in range(3):
        reader.read(number, 1 << 30)
    reader.order.all_there({partition: len(log) for partition, log in connector.topics.items()})
    for _ in range(8):
        assert reader.order.peek() is not None
        reader.order.take()
    assert reader.order.missing() is None
    assert reader.order.at_boundary


def test_what_is_counted_anew_is_noticed_without_its_begin() -> None:
    """An END that was written before, rows lost: numbers that fall while LSNs rise tell."""
    connector = Connector()
    connector.torn([Change(n % 3, f"k{n}") for n in range(8)], [Tear(8, 4, (1, 1, 0))])
    first = End(1, 110, 8, "501", START + 110)
    connector.ends = [connector.ends[0], first, *(e._replace(offset=e.offset + 1) for e in connector.ends[1:])]
    reader = Reader(connector)
    reader.read_ends()
    for number in range(3):
        reader.read(number, 1 << 30)
    reader.give()
    reader.read_all()
    assert reader.entries() == connector.entries()
    assert reader.order.at_boundary


def test_rows_of_one_entry_are_told_by_their_keys() -> None:
    """COPY writes many rows with one LSN, and a connector may go on between them."""
    changes = [Change(0, f"k{n}", "c", n > 0) for n in range(6)]
    for sent, stored, lost in product(range(7), range(7), range(4)):
        connector = Connector()
        connector.torn(changes, [Tear(sent, stored, (lost, 0, 0))])
        reader = Reader(connector)
        reader.read_all()
        assert reader.entries() == connector.entries()


def test_rows_of_one_entry_without_keys_are_told_by_their_numbers() -> None:
    """COPY into a table without a key: nothing of it passes, its numbers do."""
    connector = Connector()
    for _ in range(4):
        connector.commit([Change(0, "", "c", n > 0) for n in range(3)])
    reader = Reader(connector)
    reader.read_all()
    assert reader.numbers() == connector.expected()
    assert reader.order.at_boundary


@pytest.mark.parametrize("pause", [False, True])
def test_rows_of_one_entry_pass_as_history(pause: bool) -> None:
    """Where the transaction topic has lost their END they are of no open transaction."""
    connector = Connector()
    connector.commit([Change(0, f"k{n}", "c", n > 0) for n in range(4)])
    connector.ends = []
    reader = Reader(connector, OrderState(lanes={(TOPIC, n): LaneState(0, first_end=4 - 4 * n) for n in (0, 1)}))
    connector.partitions = 2
    connector.commit([Change(1)])
    reader.read_ends()
    reader.read(0, 2)
    reader.give()
    reader = reader.restart() if pause else reader
    reader.read_all()
    assert reader.entries() == connector.entries()


@pytest.mark.parametrize("records", range(1, 9))
def test_a_truncate_that_comes_again_in_another_partition_empties_nothing(records: int) -> None:
    """It has no key, so the producer may put it anywhere."""
    connector = Connector()
    connector.commit([Change(0, "a"), Change(0, op="t"), Change(2, "b")])
    connector.commit([Change(1, "c"), Change(0, op="t"), Change(2, "d")])
    reader = Reader(connector)
    for again in range(3):
        connector.set_back(records)
        if again:
            reader.read_all()
    connector.commit([Change(0, "e")])
    reader.read_all()
    assert reader.entries() == connector.entries()
    assert reader.order.at_boundary


def test_a_truncate_that_comes_again_while_its_transaction_is_merged() -> None:
    changes = [Change(0, "a"), Change(0, op="t"), Change(2, "b"), Change(1, "c"), Change(0, op="t"), Change(0, "d")]
    for sent, stored, lost in product(range(7), range(7), [(0, 0, 0), (1, 0, 0), (0, 2, 1)]):
        connector = Connector()
        connector.torn(changes, [Tear(sent, stored, lost)])
        reader = Reader(connector)
        reader.read_all()
        assert reader.entries() == connector.entries()
        assert reader.order.at_boundary


def test_a_late_row_of_a_closed_transaction_passes() -> None:
    """Rule S4: a partition whose leader was away brings its rows after the transaction was released."""
    connector = Connector()
    connector.commit([Change(2)])
    connector.commit([Change(0), Change(1)])
    reader = Reader(connector)
    reader.read_ends(2)
    reader.read(2)
    reader.read(0)
    reader.give()
    reader.order.release()
    assert reader.order.at_boundary
    reader.read(1)
    assert [r.order for r in reader.give()] == [2]
    assert reader.order.counters.late == 1


def test_a_transaction_without_rows_is_closed_at_once() -> None:
    connector = Connector()
    connector.commit([])
    connector.commit([Change(1)])
    reader = Reader(connector)
    reader.read_all()
    assert reader.numbers() == connector.expected()


def test_first_transaction_after_a_snapshot_has_no_last_commit() -> None:
    """`source.sequence` is [null, lsn] there; its rows are not taken for older ones."""
    connector = Connector()
    connector.read(0, "a")
    connector.commit([Change(0), Change(1)])
    connector.set_back(3)
    connector.commit([Change(0)])
    reader = Reader(connector)
    reader.read_all()
    assert reader.numbers() == connector.expected()
    assert len(reader.given) == 4


@pytest.mark.parametrize("records", range(1, 7))
def test_set_back_inside_the_first_transaction(records: int) -> None:
    """Its rows say null at first, then the LSN of a row inside it: lastCommitLsn does not tell what is repeated."""
    connector = Connector()
    connector.commit([Change(0), Change(1), Change(0), Change(0), Change(1)])
    reader = Reader(connector)
    reader.read_all()
    connector.set_back(records)
    reader.read_all()
    connector.commit([Change(0), Change(1)])
    reader.read_all()
    assert reader.numbers() == connector.expected()
    assert reader.order.counters.repeated == records - 1
    assert reader.order.counters.late == 0


def test_a_connector_begun_anew_is_not_a_repeat() -> None:
    """Its offsets were deleted: null again, but newer than the mark."""
    connector = Connector()
    three(connector)
    connector.begin_anew()
    connector.commit([Change(0), Change(0), Change(1), Change(0)])
    connector.set_back(3)
    reader = Reader(connector)
    reader.read_all()
    assert reader.numbers() == connector.expected()


def test_snapshot_reads_pass_in_their_partitions_order() -> None:
    connector = Connector()
    connector.commit([Change(0, "a"), Change(1, "b")])
    connector.read(0, "a")
    reader = Reader(connector)
    reader.read(0, 2)
    assert reader.give() == []
    reader.read_ends()
    reader.read(1)
    assert [(r.partition[1], r.op) for r in reader.give()] == [(0, "u"), (0, "r"), (1, "u")]


def test_a_repeated_read_is_not_dropped_and_moves_no_mark() -> None:
    connector = Connector()
    connector.commit([Change(0)])
    reader = Reader(connector)
    reader.read_all()
    before = reader.order.snapshot().lanes[TOPIC, 0]
    connector.read(0, "k")
    connector.read(0, "k")
    reader.read_all()
    after = reader.order.snapshot().lanes[TOPIC, 0]
    assert len(reader.given) == 3
    assert (before.last_commit, before.order) == (after.last_commit, after.order)


def test_the_source_went_back() -> None:
    """Rule S4: a row to be dropped that is newer by time than the mark."""
    connector = Connector()
    three(connector)
    reader = Reader(connector)
    reader.read_all()
    stale = row(0, 3, last_commit=100, order=1, transaction="400", committed_at=START + 10_000)
    with pytest.raises(SourceRefused, match="went back"):
        reader.order.push(stale)


def test_an_old_end_that_is_newer_by_time_is_refused() -> None:
    connector = Connector()
    three(connector)
    reader = Reader(connector)
    reader.read_all()
    with pytest.raises(SourceRefused, match="went back"):
        reader.order.push_end(End(9, 105, 1, "400", START + 10_000))


def test_a_change_without_transaction_block_is_refused() -> None:
    order = Order(fresh(Connector()))
    with pytest.raises(SourceRefused, match="no transaction block") as caught:
        order.push(row(0, 0, kind=Kind.BARE))
    assert "provide.transaction.metadata" in str(caught.value.hint)


def test_a_change_without_transaction_block_passes_as_history() -> None:
    """Rule S4: topics kept longer than the transaction topic."""
    lanes = {(TOPIC, 0): LaneState(next=0, first_end=2), (TOPIC, 1): LaneState(next=0, first_end=1)}
    order = Order(OrderState(lanes=lanes))
    order.push(row(0, 0, kind=Kind.BARE))
    order.push(row(0, 1, kind=Kind.BARE))
    assert order.peek() is not None
    order.take()
    order.take() if order.peek() else None
    assert not order.at_boundary  # partition 1 has a past that is not read yet
    order.passed((TOPIC, 1), 1)
    assert order.at_boundary


def test_rows_older_than_the_first_end_are_history() -> None:
    connector = Connector()
    connector.commit([Change(0), Change(1)])
    connector.commit([Change(0), Change(1)])
    connector.ends = [connector.ends[-1]._replace(offset=0)]
    reader = Reader(connector)
    reader.read_all()
    assert sorted(reader.numbers()[:2]) == [("501", 1), ("501", 2)]
    assert reader.numbers()[2:] == [("502", 1), ("502", 2)]


def test_what_was_trimmed_before_the_first_start_is_not_waited_for() -> None:
    connector = Connector()
    connector.commit([Change(0), Change(1)])
    connector.commit([Change(0), Change(1)])
    lanes = {(TOPIC, 0): LaneState(1, first_end=2), (TOPIC, 1): LaneState(0, first_end=2), (TOPIC, 2): LaneState(0)}
    reader = Reader(connector, OrderState(first_end=2, trimmed=True, lanes=lanes))
    reader.read_all()
    assert reader.numbers() == [("501", 2), ("502", 1), ("502", 2)]
    assert reader.order.counters.history_gaps == 1
    assert reader.order.at_boundary


@pytest.mark.parametrize("pause", [False, True])
def test_a_tombstone_follows_its_delete(pause: bool) -> None:
    """Alone it deletes; behind its own delete record it is dropped, also after a restart and when repeated."""
    connector = Connector()
    connector.commit([Change(0, "a", "d")])
    log = connector.topics[TOPIC, 0]
    tombstone = row(0, 1, key="a", op="", kind=Kind.TOMBSTONE)
    reader = Reader(connector)
    reader.read_all()
    if pause:
        reader = reader.restart()
    log.append(tombstone)
    log.append(log[0]._replace(offset=2))
    log.append(tombstone._replace(offset=3))
    reader.read_all()
    assert len(reader.given) == 1
    log.append(tombstone._replace(offset=4))
    reader.read_all()
    assert [r.kind for r in reader.given] == [Kind.NUMBERED, Kind.TOMBSTONE]


def test_an_unreadable_record_passes_in_its_partitions_order() -> None:
    connector = Connector()
    connector.topics[TOPIC, 0].append(row(0, 0, kind=Kind.UNREADABLE, reason="torn"))
    reader = Reader(connector)
    reader.read_all()
    assert [r.kind for r in reader.given] == [Kind.UNREADABLE]


@pytest.mark.parametrize("pause", [False, True])
def test_an_unreadable_record_that_is_repeated_does_not_cover_the_newer_row(pause: bool) -> None:
    """The row after it was settled and is repeated too: it must not be dropped this time."""
    connector = Connector()
    log = connector.topics[TOPIC, 0]
    connector.commit([Change(1)])
    log.append(row(0, 0, key="a", kind=Kind.UNREADABLE, reason="torn"))
    connector.commit([Change(0, "a")])
    reader = Reader(connector)
    reader.read_all()
    log.append(log[0]._replace(offset=2))
    if pause:
        reader.read_all()
        reader = reader.restart()
    log.append(log[1]._replace(offset=3))
    log.append(log[1]._replace(offset=4))
    reader.read_all()
    assert [(r.kind, r.order) for r in reader.given if r.key and '"a"' in r.key] == [
        (Kind.UNREADABLE, 0),
        (Kind.NUMBERED, 1),
        (Kind.UNREADABLE, 0),
        (Kind.NUMBERED, 1),
    ]


def test_release_needs_every_partition_to_be_past() -> None:
    connector = Connector()
    connector.commit([Change(0), Change(1)])
    reader = Reader(connector)
    reader.read_ends()
    reader.read(0)
    reader.give()
    ends = {(TOPIC, 0): 1, (TOPIC, 1): 1, (TOPIC, 2): 0}
    assert not reader.order.read_to(ends)
    reader.read(1)
    assert reader.order.read_to(ends)


def test_three_releases_in_a_row_stop_the_source() -> None:
    """Rule S5: most likely a filtering transform."""
    connector = Connector()
    three(connector)
    for log in (connector.topics[TOPIC, 1],):
        log.clear()
    reader = Reader(connector)
    reader.read_all()
    for _ in range(2):
        assert reader.order.release().number == 2
        reader.give()
    with pytest.raises(SourceRefused, match="3 transactions in a row") as caught:
        reader.order.release()
    assert "transform" in str(caught.value.hint)


def test_an_unreadable_record_excuses_its_gap() -> None:
    """Law 11: bad input does not stop the good."""
    connector = Connector()
    three(connector)
    log = connector.topics[TOPIC, 1]
    log[:] = [row(1, offset, kind=Kind.UNREADABLE, reason="torn") for offset in range(3)]
    reader = Reader(connector)
    for _ in range(3):
        reader.read_ends()
        for number in range(3):
            reader.read(number)
        reader.give()
        reader.order.release()
        reader.give()
    assert reader.order.counters.released == 0
    assert reader.order.at_boundary


def test_a_complete_transaction_between_releases_counts_anew() -> None:
    connector = Connector()
    for n in range(4):
        connector.commit([Change(0), Change(1)])
        if n != 2:
            connector.topics[TOPIC, 1].pop()
    connector.topics[TOPIC, 1][:] = [r._replace(offset=n) for n, r in enumerate(connector.topics[TOPIC, 1])]
    reader = Reader(connector)
    for _ in range(3):
        reader.read_all()
        if reader.order.missing():
            reader.order.release()
            reader.give()
    assert reader.order.counters.released == 3
    assert reader.numbers()[-1] == ("504", 1)


def test_an_offset_that_comes_twice_is_an_error() -> None:
    order = Order(fresh(Connector()))
    order.push(row(0, 0, last_commit=0, order=1, transaction="1"))
    with pytest.raises(Gap):
        order.push(row(0, 0, last_commit=0, order=1, transaction="1"))


def test_buffers_are_counted() -> None:
    connector = Connector()
    connector.commit([Change(0)] * 5)
    reader = Reader(connector)
    reader.read(0, 5)
    assert reader.order.buffered((TOPIC, 0)) == (5, 500)
    reader.read_all()
    assert reader.order.buffered((TOPIC, 0)) == (0, 0)


transactions = st.lists(st.lists(st.integers(0, 2).map(Change), max_size=5), min_size=1, max_size=6)
lost = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
tears = st.lists(st.builds(Tear, st.integers(0, 6), st.integers(0, 6), lost), min_size=1, max_size=3)
entries = st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.sampled_from("uuut")), min_size=1, max_size=9).map(
    lambda made: [
        Change(partition, f"k{number}", op, shares and op == "u" and number > 0 and made[number - 1][2] == "u")
        for number, (partition, shares, op) in enumerate(made)
    ]
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("torn"), st.tuples(entries, tears)),
        st.tuples(st.just("commit"), st.lists(st.integers(0, 2).map(Change), max_size=4)),
        st.tuples(st.just("back"), st.integers(1, 12)),
        st.tuples(st.just("read"), st.integers(0, 2)),
        st.tuples(st.just("snapshot"), st.integers(0, 2)),
        st.tuples(st.just("ends"), st.integers(1, 3)),
        st.tuples(st.just("give"), st.integers(1, 3)),
        st.tuples(st.just("crash"), st.just(0)),
        st.tuples(st.just("anew"), st.just(0)),
    ),
    max_size=60,
)


def write(connector: Connector, action: str, value: Any) -> None:
    if action == "commit":
        connector.commit(value)
    elif action == "torn":
        connector.torn(*value)
    elif action == "back":
        connector.set_back(min(value, len(connector.written)))
    elif action == "snapshot":
        connector.read(value, "s")
    else:
        connector.begin_anew()


def read(reader: Reader, action: str, count: int) -> None:
    if action == "read":
        reader.read(count, 2)
    elif action == "ends":
        reader.read_ends(count)
    else:
        for _ in range(count):
            if (taken := reader.take()) is not None:
                reader.given.append(taken)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_whatever_happens_each_row_comes_once_and_in_commit_order(actions: list[tuple[str, object]]) -> None:
    """Law 5, 8: faults are items in the input; the result is the same as without them."""
    connector = Connector()
    reader = Reader(connector)
    for action, value in actions:
        if action == "crash":
            reader = reader.restart()
        elif action in ("read", "ends", "give"):
            read(reader, action, int(str(value)))
        elif action != "anew" or reader.order.closed:  # before that, its rows are taken for history
            write(connector, action, value)
    reader.read_all()
    assert reader.entries() == connector.entries()
    assert reader.order.at_boundary
    assert reader.restart().order.at_boundary


def test_what_a_transaction_costs_does_not_grow_with_the_partitions_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows are read before the first END: a lane is placed when it is read, when its row is next, and after it."""
    many = 200
    connector = Connector(many)
    for number in range(2 * many):
        connector.commit([Change(number % many)])
    reader = Reader(connector)
    placed: list[Lane] = []
    place = Order._place
    monkeypatch.setattr(Order, "_place", lambda order, lane: (placed.append(lane), place(order, lane)))
    for number in range(many):
        reader.read(number, 2)
    reader.read_ends(2 * many)
    reader.give()
    assert reader.numbers() == connector.expected()
    assert len(placed) <= 3 * len(reader.given)
