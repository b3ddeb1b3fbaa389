"""Replay of a tributary on a real broker: rules T5 to T7."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Producer

from connector.merge.catalog import Version
from tests.stream.feed import (
    LISTS,
    TODOS,
    Feeder,
    Merged,
    gone,
    key_of,
    positions,
    rows_of,
    stream_state,
    todo,
    tributary,
    versions,
)
from tests.stream.processes import StreamProcess, running, until
from topologies import kafka

pytestmark = pytest.mark.stack

OPEN_MS = 120_000  # a process starts while the transaction is open

CONFIG = """
bucket_definitions:
  all:
    data:
      - SELECT id, title FROM todos
"""


def pending() -> tuple[Version, ...]:
    return versions(CONFIG, state="pending", stream="t1")


@contextmanager
def replaying(feeder: Feeder, merged: Merged, *, start: int, **environment: str) -> Iterator[StreamProcess]:
    """A tributary's process, its replay not bounded yet."""
    new = pending()
    merged.begin(tributary(new, start=start, start_offset=offset_after(feeder, start)), *new)
    with running(feeder.settings, "t1", **environment) as worker:
        yield worker


def offset_after(feeder: Feeder, position: int) -> int:
    """Offset in the change log of the batch after `position`, or of its end."""
    reader = kafka.consumer(feeder.settings)
    found = 0
    for message in kafka.read_all(reader, feeder.names.changes):
        if feeder.codec.decode(message.value() or b"")["position"] <= position:
            found = message.offset() + 1
    reader.close()
    return found


def live(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [r for r in records if r["replay"] is None]


def taken(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The replay records that a merge takes: contiguous per partition (rule T6)."""
    at: dict[tuple[str, int], int] = {}
    kept = []
    for record in records:
        replay = record["replay"]
        if replay is not None and replay["start"] == at.get((replay["table"], replay["partition"]), 0):
            kept.append(record)
            if record["part"] == record["parts"] - 1:
                at[replay["table"], replay["partition"]] = replay["end"]
    return kept


def titles(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {key: outputs[0][2] for key, outputs in rows_of(records, 1).items()}


def expected(**todos: str) -> dict[str, str]:
    return {key_of(TODOS, key): f'{{"id":"{key}","title":"{title}"}}' for key, title in todos.items()}


def test_rows_up_to_s0_come_from_the_snapshot_and_the_rest_from_the_log(feeder: Feeder) -> None:
    """Rule T5, T7: deleted rows are gone, rows beyond S0 are left to the change log, no range is left out."""
    merged = Merged(feeder)
    feeder.batch(todo("a", title="1"), todo("b", title="1"), todo("c", title="1"))
    s0 = feeder.batch(todo("a", title="2"), gone(TODOS, "b"))
    feeder.batch(todo("c", title="3"), todo("d", title="3"))
    with replaying(feeder, merged, start=s0):
        bounds = merged.answer("bounds")
        assert {(e["table"], e["partition"]) for e in bounds["ends"]} == {(TODOS, 0), (TODOS, 1)}
        assert bounds["lag_ms"] == 600_000
        head = merged.answer("head")["head"]
        assert head == 3
        records = until(lambda: [r for r in [merged.evaluated("t1")] if live(r)])[0]
    replayed = taken(records)
    assert titles(replayed) in (expected(a="2"), expected(a="2", c="1"))
    assert titles(records) == expected(a="2", c="3", d="3")
    assert positions(records) == [3]
    done = {(r["replay"]["table"], r["replay"]["partition"]): r["replay"] for r in replayed if r["replay"]["done"]}
    for end in bounds["ends"]:
        assert done[end["table"], end["partition"]]["end"] >= end["end"]


def test_a_wildcard_means_the_tables_up_to_s0_and_later_ones_come_with_the_log(feeder: Feeder) -> None:
    """Rule T5: what is scanned is fixed with the ends; a table that comes later is wholly in the change log."""
    merged = Merged(feeder)
    wild = versions(CONFIG.replace("FROM todos", 'FROM "%"'), state="pending", stream="t1")
    s0 = feeder.batch(todo("a", title="1"))
    merged.begin(tributary(wild, start=s0, start_offset=offset_after(feeder, s0)), *wild)
    with running(feeder.settings, "t1"):
        bounds = merged.answer("bounds")
        assert {e["table"] for e in bounds["ends"]} == {TODOS}
        merged.answer("head")
        feeder.batch((LISTS, "l", {"id": "l", "owner_id": "u", "title": "L"}), todo("b", title="2"))
        records = until(lambda: [r for r in [merged.evaluated("t1")] if live(r)])[0]
    assert titles(records) == expected(a="1", b="2") | {key_of(LISTS, "l"): '{"id":"l","title":"L"}'}


def test_a_row_is_alive_only_above_its_tables_last_truncate(feeder: Feeder) -> None:
    """Rule S9: the truncate is known before the first row is read, whatever the partition."""
    merged = Merged(feeder)
    feeder.batch(*(todo(str(n)) for n in range(20)), (LISTS, "l", {"id": "l", "owner_id": "u", "title": "L"}))
    feeder.truncate(TODOS)
    s0 = feeder.batch(todo("5", title="new"))
    with replaying(feeder, merged, start=s0):
        merged.answer("bounds")
        merged.answer("head")
        records = merged.evaluated("t1")
    assert titles(taken(records)) == expected(**{"5": "new"})


def test_a_truncate_after_s0_reaches_rows_of_the_replay(feeder: Feeder) -> None:
    merged = Merged(feeder)
    s0 = feeder.batch(*(todo(str(n)) for n in range(20)))
    feeder.truncate(TODOS)
    last = feeder.batch(todo("5", title="new"))
    with replaying(feeder, merged, start=s0):
        merged.answer("bounds")
        merged.answer("head")
        records = until(lambda: [r for r in [merged.evaluated("t1")] if positions(r)[-1:] == [last]])[0]
    assert titles(records) == expected(**{"5": "new"})


def open_transaction(feeder: Feeder) -> Producer:
    """From now on the feeder writes into this producer's transaction, which stays open."""
    late = kafka.transactional_producer(
        feeder.settings, f"{feeder.settings.app}.late", **{"transaction.timeout.ms": OPEN_MS}
    )
    late.init_transactions()
    feeder.producer = late
    late.begin_transaction()
    return late


def test_a_scan_waits_for_a_delayed_transaction_marker(feeder: Feeder) -> None:
    """Rule T5: the high watermark is captured uncommitted; a partition whose commit marker is late is not done."""
    merged = Merged(feeder)
    feeder.batch(todo("a", title="1"))
    late = open_transaction(feeder)
    feeder.write([todo(str(n), title="late") for n in range(10)])
    late.flush()
    s0 = feeder.position  # as if the marker were in the change log already, and on its way to the snapshot topics
    new = pending()
    merged.begin(tributary(new, start=s0, start_offset=0), *new)
    with running(feeder.settings, "t1"):
        bounds = merged.answer("bounds")
        assert sum(e["end"] for e in bounds["ends"]) >= 11
        threading.Timer(1.0, late.commit_transaction).start()
        merged.answer("head")
        records = merged.evaluated("t1")
    assert titles(taken(records)) == expected(a="1", **{str(n): "late" for n in range(10)})


def test_the_head_counts_a_batch_whose_marker_is_late(feeder: Feeder) -> None:
    """Rule T5: F is below an uncommitted watermark too, or the switch could come before a batch that S0's rows saw."""
    merged = Merged(feeder)
    s0 = feeder.batch(todo("a", title="1"))
    new = pending()
    merged.begin(tributary(new, start=s0, start_offset=offset_after(feeder, s0)), *new)
    late = open_transaction(feeder)
    feeder.append_batch(todo("a", title="2"))
    late.flush()
    with running(feeder.settings, "t1"):
        merged.answer("bounds")
        until(lambda: merged.evaluated("t1"))
        threading.Timer(1.0, late.commit_transaction).start()
        assert merged.answer("head")["head"] == s0 + 1


def test_ranges_have_no_hole_where_records_were_aborted(feeder: Feeder) -> None:
    """Rule T6: consumer positions, not offsets of records seen."""
    merged = Merged(feeder)
    for n in range(5):
        feeder.batch(todo(str(n)))
        feeder.aborted(*(todo(str(m), title="never") for m in range(30)))
    with replaying(feeder, merged, start=feeder.position):
        bounds = merged.answer("bounds")
        merged.answer("head")
        records = merged.evaluated("t1")
    ends = {(e["table"], e["partition"]): e["end"] for e in bounds["ends"]}
    for (table, partition), end in ends.items():
        ranges = [r["replay"] for r in taken(records) if r["replay"]["partition"] == partition]
        assert ranges[0]["start"] == 0
        assert ranges[-1]["end"] >= end, (table, ranges)
        assert ranges[-1]["done"]
    assert titles(taken(records)) == expected(**{str(n): f"Todo {n}" for n in range(5)})


def test_a_restart_goes_on_from_what_is_taken_within_the_same_bounds(feeder: Feeder) -> None:
    merged = Merged(feeder)
    s0 = feeder.batches([[todo(str(n)) for n in range(500)]] * 10)
    with replaying(feeder, merged, start=s0, SYNCLINE_CRASH_POINT="replay.after_scan") as worker:
        bounds = merged.answer("bounds")
        assert worker.exited() == -signal.SIGKILL
    first = next(r["replay"] for r in merged.evaluated("t1"))
    seen = len(merged.evaluated("t1"))
    partitions = [{"table": TODOS, "partition": 0, "taken": first["end"], "done": False, "rows": 0}]
    merged.commit(stream_state("t1", position=s0, change_offset=offset_after(feeder, s0), partitions=partitions))
    feeder.batches([[todo("more")]] * 3)
    with running(feeder.settings, "t1"):
        assert merged.answer("head")["head"] == s0 + 3
        again = [r for r in merged.evaluated("t1")[seen:] if r["replay"] is not None]
    starts = {p: min(r["replay"]["start"] for r in again if r["replay"]["partition"] == p) for p in (0, 1)}
    assert starts == {0: first["end"], 1: 0}
    kept = [(e.table, e.partition, e.end) for e in merged.catalog.tributaries[0].ends]
    assert kept == [(e["table"], e["partition"], e["end"]) for e in bounds["ends"]]


def test_killed_while_replaying_and_catching_up_it_ends_with_the_same_rows(feeder: Feeder) -> None:
    """Law 8: overlap is dropped by its ranges and positions; a hole would be seen."""
    merged = Merged(feeder)
    s0 = feeder.batches([[todo(str(n), title=str(b)) for n in range(200)] for b in range(20)])
    last = feeder.batches([[todo(str(n), title="new") for n in range(0, 200, 2)]] * 5)
    with replaying(feeder, merged, start=s0) as worker:
        merged.answer("bounds")
        until(lambda: merged.evaluated("t1"))
        worker.kill()
    with running(feeder.settings, "t1") as worker:
        merged.answer("head")
        until(lambda: positions(merged.evaluated("t1")))
        worker.kill()
    with running(feeder.settings, "t1"):
        until(lambda: positions(merged.evaluated("t1"))[-1:] == [last])
    records = merged.evaluated("t1")
    wanted = {str(n): "new" if n % 2 == 0 else "19" for n in range(200)}
    assert titles([*taken(records), *live(records)]) == expected(**wanted)


def test_a_tributary_that_has_ended_ends_its_process(feeder: Feeder) -> None:
    merged = Merged(feeder)
    feeder.batch(todo("a"))
    with replaying(feeder, merged, start=1) as worker:
        merged.answer("bounds")
        merged.answer("head")
        feeder.batch(todo("b"))
        until(lambda: live(merged.evaluated("t1")))
        merged.publish(merged.catalog.__class__())
        assert worker.exited() == 0
    with running(feeder.settings, "t1") as worker:
        assert worker.exited() == 0


def test_a_paused_tributary_that_comes_back_after_the_switch_ends_and_revives_nothing(feeder: Feeder) -> None:
    """Rules T6, M1, D7: its catalog entry and its topic are gone when it goes on."""
    merged = Merged(feeder)
    s0 = feeder.batches([[todo(str(n)) for n in range(300)]] * 10)
    with replaying(feeder, merged, start=s0) as worker:
        merged.answer("bounds")
        merged.answer("head")
        feeder.batch(todo("a"))
        until(lambda: live(merged.evaluated("t1")))
        worker.pause()
        feeder.batches([[todo(str(n)) for n in range(300)]] * 10)
        merged.publish(replace(merged.catalog, tributaries=()))
        client = kafka.admin(feeder.settings)
        for future in client.delete_topics([feeder.names.evaluated("t1")]).values():
            future.result(60)
        until(lambda: not kafka.topic_exists(feeder.settings, feeder.names.evaluated("t1")))
        worker.resume()
        assert worker.exited() in (0, 1)
    assert not kafka.topic_exists(feeder.settings, feeder.names.evaluated("t1"))


def test_a_paused_scanner_that_comes_back_beside_its_successor_adds_nothing(feeder: Feeder) -> None:
    """Rule T6: both answer for ranges of the same bounds; a merge takes each range once and in order."""
    merged = Merged(feeder)
    s0 = feeder.batches([[todo(str(n), title=str(b)) for n in range(300)] for b in range(20)])
    with replaying(feeder, merged, start=s0) as first:
        merged.answer("bounds")
        until(lambda: merged.evaluated("t1"))
        first.pause()
        with running(feeder.settings, "t1"):
            merged.answer("head")
            last = feeder.batch(todo("0", title="new"))
            until(lambda: positions(live(merged.evaluated("t1")))[-1:] == [last])
            first.resume()
            last = feeder.batch(todo("1", title="new"))
            until(lambda: positions(live(merged.evaluated("t1")))[-1:] == [last])
    records = merged.evaluated("t1")
    wanted = {str(n): "new" if n < 2 else "19" for n in range(300)}
    assert titles([*taken(records), *live(records)]) == expected(**wanted)
