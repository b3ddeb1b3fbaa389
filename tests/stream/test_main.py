"""The stream `main` on a real broker: rules T1 to T3, D5, M1, laws 5 and 6."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from confluent_kafka import TopicPartition

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
    versions,
)
from tests.stream.processes import running, until
from topologies import kafka
from topologies.exits import REWOUND
from topologies.topics import Topics

pytestmark = pytest.mark.stack

BY_LIST = """
bucket_definitions:
  by_list:
    parameters: SELECT request.parameters() ->> 'list' AS list
    data:
      - SELECT id, title FROM todos WHERE list_id = bucket.list
"""
TWO = (
    BY_LIST
    + """
  open:
    data:
      - SELECT id, title FROM todos WHERE done = 0
"""
)


def test_only_the_committed_one_of_two_records_at_a_position_is_evaluated(feeder: Feeder) -> None:
    """Rule T1: a batch is aborted, then its position is used again with other content."""
    merged = Merged(feeder)
    merged.expose(*versions(BY_LIST))
    with running(feeder.settings):
        feeder.aborted(todo("a", title="never"), todo("ghost"))
        feeder.batch(todo("a", title="committed"))
        feeder.aborted(todo("b", title="never"))
        feeder.batch(gone(TODOS, "b"))
        records = until(lambda: [r for r in [merged.evaluated()] if len(r) == 2])[0]
    assert positions(records) == [1, 2]
    assert rows_of(records, 1) == {key_of(TODOS, "a"): [('["l1"]', "a", '{"id":"a","title":"committed"}')]}


def test_before_the_first_deploy_every_batch_is_answered(feeder: Feeder) -> None:
    merged = Merged(feeder)
    with running(feeder.settings):
        feeder.batches([[todo("a")], [todo("b")], []])
        records = until(lambda: [r for r in [merged.evaluated()] if len(r) == 3])[0]
    assert positions(records) == [1, 2, 3]
    assert all(r["versions"] == [] and r["tables"] == [] for r in records)


def test_versions_join_and_leave_between_two_batches_without_a_new_process(feeder: Feeder) -> None:
    """Rule D5: the take-over needs neither a rebalance nor a restart."""
    merged = Merged(feeder)
    both = versions(TWO)
    merged.expose(both[0])
    with running(feeder.settings) as worker:
        feeder.batch(todo("a"))
        until(lambda: len(merged.evaluated()) == 1)
        merged.expose(*both)
        until(lambda: _answering(feeder, merged) == [1, 2])
        merged.expose(both[1])
        until(lambda: _answering(feeder, merged) == [2])
        assert worker.log.count("starts at offset") == 1
    positions(merged.evaluated())


def _answering(feeder: Feeder, merged: Merged) -> list[int]:
    position = feeder.batch(todo("a"))
    newest = until(lambda: [r for r in merged.evaluated() if r["position"] == position])[-1]
    return [v["version"] for v in newest["versions"]]


def test_on_an_idle_source_main_announces_what_it_takes_over(feeder: Feeder) -> None:
    """Rule D5: no batch comes, so main says at the position the merge has taken that it answers from then on."""
    merged = Merged(feeder)
    merged.expose(versions(BY_LIST)[0])
    with running(feeder.settings):
        feeder.batch(todo("a"))
        [record] = until(merged.evaluated)
        merged.commit(stream_state(position=1, change_offset=record["change_offset"] + 1))
        merged.expose(versions(TWO)[0], replace(versions(TWO)[1], stream="t1"))
        announced = until(lambda: merged.evaluated()[1:])[0]
        merged.expose(*versions(TWO))
        feeder.batch(todo("b"))
        until(lambda: merged.evaluated()[-1]["position"] == 2)
    assert (announced["position"], announced["tables"]) == (1, [])
    assert [v["version"] for v in announced["versions"]] == [1, 2]


def test_versions_of_the_catalog_are_known_before_the_first_batch(feeder: Feeder) -> None:
    merged = Merged(feeder)
    merged.expose(*versions(TWO))
    feeder.batch(todo("a"))
    with running(feeder.settings):
        record = until(merged.evaluated)[0]
    assert [v["version"] for v in record["versions"]] == [1, 2]
    outputs = record["tables"][0]["rows"][0]["outputs"]
    assert [(o["versions"], o["bucket"]) for o in outputs] == [([1], '["l1"]'), ([2], "[]")]


def test_it_says_what_it_cannot_evaluate_as_the_catalog_does_and_goes_on(feeder: Feeder) -> None:
    """Rule T3: a plan that another release has deployed."""
    merged = Merged(feeder)
    merged.expose(replace(versions(TWO)[0], evaluation="of another level"), versions(TWO)[1])
    feeder.batch(todo("a"))
    with running(feeder.settings) as worker:
        record = until(merged.evaluated)[0]
        assert "version 1 cannot be evaluated as it was deployed" in worker.log
    assert [v["evaluation"] == "of another level" for v in record["versions"]] == [True, False]
    assert record["unable"] == [1]
    assert [t["versions"] for t in record["tables"]] == [[2]]


def test_killed_under_load_it_leaves_no_hole(feeder: Feeder) -> None:
    """Law 5: whatever is lost or repeated, positions in the evaluated topic have no jump."""
    merged = Merged(feeder)
    merged.expose(*versions(TWO))
    last = 0
    for _ in range(4):
        with running(feeder.settings) as worker:
            seen = len(merged.evaluated())
            deadline = time.monotonic() + 90
            while len(merged.evaluated()) < seen + 40:
                last = feeder.batches([[todo(str(n)) for n in range(20)]] * 10)
                assert time.monotonic() < deadline, worker.log
            worker.kill()
        taken = merged.evaluated()[positions(merged.evaluated())[-1] // 2]
        merged.commit(stream_state(position=taken["position"], change_offset=taken["change_offset"] + 1))
    with running(feeder.settings):
        until(lambda: positions(merged.evaluated())[-1] == last)
    assert positions(merged.evaluated()) == list(range(1, last + 1))


def test_restart_goes_on_from_the_groups_offset(feeder: Feeder) -> None:
    """Law 1: a restart does not evaluate everything anew where the merge has taken it all."""
    merged = Merged(feeder)
    merged.expose(*versions(BY_LIST))
    with running(feeder.settings) as worker:
        feeder.batches([[todo(str(n))] for n in range(50)])
        until(lambda: len(merged.evaluated()) == 50)
        assert worker.end() == 0
    taken = merged.evaluated()[-1]["change_offset"] + 1
    merged.commit(stream_state(position=50, change_offset=taken))
    with running(feeder.settings) as worker:
        feeder.batch(todo("next"))
        until(lambda: len(merged.evaluated()) == 51)
        assert f"starts at offset {taken} (taken: {taken}, committed: {taken})" in worker.log


def test_start_is_the_lower_of_group_and_commit_record(feeder: Feeder) -> None:
    """Rule M1: what the merge has not taken is evaluated again, although the group has committed beyond it."""
    merged = Merged(feeder)
    merged.expose(*versions(BY_LIST))
    with running(feeder.settings) as worker:
        feeder.batches([[todo(str(n))] for n in range(10)])
        until(lambda: len(merged.evaluated()) == 10)
        assert worker.end() == 0
    offset = merged.evaluated()[3]["change_offset"] + 1
    merged.commit(stream_state(position=4, change_offset=offset))
    with running(feeder.settings):
        records = until(lambda: [r for r in [merged.evaluated()] if len(r) == 16])[0]
    assert [r["position"] for r in records[10:]] == [5, 6, 7, 8, 9, 10]


def test_a_rewind_ends_the_process_which_starts_at_the_commit_record(feeder: Feeder) -> None:
    merged = Merged(feeder)
    merged.expose(*versions(BY_LIST))
    with running(feeder.settings) as worker:
        feeder.batches([[todo(str(n))] for n in range(5)])
        until(lambda: len(merged.evaluated()) == 5)
        merged.commit(stream_state(position=2, change_offset=merged.evaluated()[1]["change_offset"] + 1))
        merged.publish(replace(merged.catalog, rewinds={"main": 1}))
        assert worker.exited() == REWOUND
    with running(feeder.settings):
        records = until(lambda: [r for r in [merged.evaluated()] if len(r) == 8])[0]
        assert [r["position"] for r in records[5:]] == [3, 4, 5]
        feeder.batch(todo("on"))
        until(lambda: merged.evaluated()[-1]["position"] == 6)


def test_paused_and_continued_beside_another_worker_it_makes_no_hole(feeder: Feeder) -> None:
    """Law 7, rule M1: a second worker takes over; the first comes back late and finds the group without it."""
    merged = Merged(feeder)
    merged.expose(*versions(BY_LIST))
    other = replace(feeder.settings, path=feeder.settings.path.parent / "other" / "syncline.yaml")
    other.path.parent.mkdir()
    other.path.write_text(feeder.settings.path.read_text().replace("/state", "/other_state"))
    with running(feeder.settings) as first:
        feeder.batches([[todo(str(n))] for n in range(20)])
        until(lambda: len(merged.evaluated()) == 20)
        first.pause()
        last = feeder.batches([[todo(str(n))] for n in range(20)])
        with running(other):
            until(lambda: positions(merged.evaluated())[-1] == last)
            last = feeder.batches([[todo(str(n))] for n in range(20)])
            first.resume()
            last = feeder.batches([[todo(str(n))] for n in range(20)])
            until(lambda: positions(merged.evaluated())[-1] == last)
    assert positions(merged.evaluated()) == list(range(1, last + 1))


def test_unknown_tables_cost_nothing_and_truncates_pass(feeder: Feeder) -> None:
    merged = Merged(feeder)
    merged.expose(*versions(BY_LIST))
    with running(feeder.settings):
        feeder.batch(todo("a"), (LISTS, "l1", {"id": "l1", "owner_id": "u", "title": "L"}))
        feeder.truncate(TODOS)
        records = until(lambda: [r for r in [merged.evaluated()] if len(r) == 2])[0]
    assert [t["table"] for t in records[0]["tables"]] == [TODOS]
    assert records[1]["truncate"] == TODOS
    assert rows_of(records, 1) == {}


def test_a_change_log_that_does_not_reach_back_is_refused(feeder: Feeder) -> None:
    """No automatic reset: what is gone is a gap and said so (rule T1)."""
    merged = Merged(feeder)
    merged.expose(*versions(BY_LIST))
    merged.commit(stream_state(position=1, change_offset=2))
    feeder.batches([[todo(str(n))] for n in range(10)])
    trimmed = TopicPartition(Topics(feeder.settings.app).changes, 0, 6)
    client = kafka.admin(feeder.settings)
    for future in client.delete_records([trimmed]).values():
        future.result(60)
    with running(feeder.settings) as worker:
        assert worker.exited() == 1
        assert "from offset 2, it begins at 6" in worker.log
    assert merged.evaluated() == []
