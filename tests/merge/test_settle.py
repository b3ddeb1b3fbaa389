"""What ends in a commit: checkpoints, the switch, take-over, alignment, chunks (rules M2, D3, D4, D5; laws 1, 2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from connector.merge.catalog import Catalog, Comparison, ReplayEnd, bounded, with_tributary
from connector.merge.draft import OPS_PER_TRANSACTION
from connector.merge.endings import VERIFY_PATIENCE_MS, expired
from connector.merge.pending import REPLAY_PATIENCE_MS, headed
from tests.builders import (
    TODOS,
    by_owner,
    catalog,
    deployment,
    evaluated,
    everywhere,
    row,
    scan,
    source_key,
    table_of,
    tributary,
    version,
)
from tests.merge.desk import Desk
from tests.oracle import compare

MANY = 45_000


def batch(position: int, names: list[str], *, boundary: bool = True, text: str = "a", **fields: Any) -> Any:
    rows = {source_key(n): row(n, "u1", text) for n in names}
    return evaluated(position, [table_of(rows, {1: by_owner})], boundary=boundary, **fields)


def replay(rows: dict[str, Any], versions: dict[int, Any], *, done: bool = True) -> Any:
    return evaluated(0, [table_of(rows, versions)], stream="t2", replay=scan(0, 10, done=done))


def deploying(*, head: int | None, **changes: Any) -> Desk:
    """Version 1 is exposed; version 2 comes by t2, whose replay begins at position 0."""
    known = catalog(
        version(1),
        version(2, state="pending", stream="t2"),
        deployments=(deployment(1, [1]), deployment(2, [2], state="replaying")),
        tributaries=(tributary(2, [2]),),
    )
    known = bounded(known, known.tributaries[0], [ReplayEnd(TODOS, 0, 10)], now=1)
    if head is not None:
        known = headed(known, known.tributaries[0], head)
    desk = Desk(known, **changes)
    desk.feed(replay({source_key("old"): row("old")}, {2: everywhere}))
    return desk


def test_only_a_boundary_is_a_checkpoint() -> None:
    desk = Desk(catalog(version(1)), records_per_draft=1)
    desk.feed(batch(1, ["a"], boundary=False), batch(2, ["b"], boundary=False), batch(3, ["c"]))
    desk.run()
    assert [(c["position"], c["exposed"]) for c in desk.commits] == [(1, False), (2, False), (3, True)]


def test_a_huge_batch_goes_in_chunks_and_is_exposed_whole() -> None:
    """Rule M2: at most 20,000 ops a commit; no checkpoint before the last of them."""
    desk = Desk(catalog(version(1)))
    desk.feed(batch(1, [f"k{n}" for n in range(MANY)]))
    desk.run()
    sizes = [op["op_id"] >> 20 for op in desk.oplogs[1]]
    assert [sizes.count(n) for n in (1, 2, 3)] == [OPS_PER_TRANSACTION, OPS_PER_TRANSACTION, 5000]
    assert [(c["position"], c["cursor"], c["exposed"]) for c in desk.commits] == [
        (0, 20_000, False),
        (0, 40_000, False),
        (1, 0, True),
    ]


@pytest.mark.parametrize("crash", ["before", "after"])
def test_a_truncate_goes_in_chunks_whatever_crashes(crash: str) -> None:
    desk = Desk(catalog(version(1)))
    desk.feed(batch(1, [f"k{n}" for n in range(MANY)]), evaluated(2, versions=[1], truncate=TODOS), batch(3, ["z"]))
    for _ in range(4):
        desk.round()
    desk.round(crash=crash)
    desk.run()
    assert desk.counted(1)["rows"] == 1
    assert desk.counted(1)["ops"] == 2 * MANY + 1
    assert compare({TODOS: {source_key("z"): row("z", "u1")}}, {1: by_owner}, desk.folded()) == []
    assert exposed_rows(desk)[-1] == (3, 1)
    assert set(exposed_rows(desk)) <= {(0, 0), (1, MANY), (2, 0), (3, 1)}, "no half of it in any checkpoint"


@pytest.mark.parametrize("crash", [None, "before", "after"])
def test_nothing_is_exposed_inside_a_record_of_main_whoever_stands_beside_it(
    crash: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule M2: main's record 2 takes several commits; t2 comes level with main, and brings a boundary, after the first
    of them and a restart. Main's record is not there yet again."""
    monkeypatch.setattr("connector.merge.draft.OPS_PER_TRANSACTION", 3)
    monkeypatch.setattr("connector.merge.draft.SLICE", 1)
    desk = deploying(head=0)
    desk.feed(batch(1, ["a"]), batch(2, [f"k{n}" for n in range(8)]))
    while "main" not in desk.state.cursors:
        assert desk.round()
    desk.crash()
    rest = desk.evaluated["main"].pop()
    desk.feed(evaluated(1, stream="t2", versions=[2]))
    desk.round(crash=crash)
    desk.run()
    assert (desk.catalog.generation, desk.state.streams["t2"].position) == (1, 1)
    desk.feed(rest, evaluated(2, stream="t2", versions=[2]))
    desk.run()
    active = desk.catalog.active
    assert active is not None
    assert (active.generation, active.position) == (2, 2)
    assert set(exposed_rows(desk)) <= {(0, 0), (1, 1), (2, 9)}


def exposed_rows(desk: Desk) -> list[tuple[int, int]]:
    """Position and rows of version 1, at each checkpoint."""
    return [(c["position"], c["versions"][0]["rows"]) for c in desk.commits if c["exposed"]]


def test_the_switch_is_at_one_boundary_with_main() -> None:
    """Law 2, rule D4; and law 1: no op for the version that stays."""
    desk = deploying(head=0)
    desk.feed(batch(1, ["a"]), batch(2, ["b"], boundary=False), batch(3, ["c"]))
    desk.feed(evaluated(1, stream="t2", versions=[2]), evaluated(2, stream="t2", versions=[2], boundary=False))
    desk.run()
    assert desk.catalog.generation == 1
    desk.feed(evaluated(3, stream="t2", versions=[2]))
    desk.run()
    active = desk.catalog.active
    assert active is not None
    assert (active.generation, active.position, active.commit) == (2, 3, desk.commits[-1]["number"])
    assert (active.ended_at, active.replayed_rows) == (desk.now, 1)
    assert desk.commits[-1]["exposed"]
    assert [(v.version, v.state) for v in desk.catalog.versions] == [(1, "retained"), (2, "exposed")]
    counts = {number: (desk.counted(number)["ops"], desk.counted(number)["changed_ops"]) for number in (1, 2)}
    assert counts == {1: (3, 3), 2: (1, 0)}, "changes gave all of version 1, the replay all of version 2"
    assert desk.catalog.tributaries[0].state == "taking_over"
    assert [o["position"] for o in desk.oplogs[1]] == [1, 2, 3]


def test_no_switch_before_the_head() -> None:
    """Rule T7: only from F on is the tributary exact."""
    desk = deploying(head=2)
    desk.feed(batch(1, ["a"]), evaluated(1, stream="t2", versions=[2]))
    desk.run()
    assert desk.catalog.generation == 1
    desk.feed(batch(2, ["b"]), evaluated(2, stream="t2", versions=[2]))
    desk.run()
    assert desk.catalog.generation == 2


def test_no_switch_while_the_tributary_lags() -> None:
    desk = deploying(head=1)
    desk.feed(batch(1, ["a"]), batch(2, ["b"]), evaluated(1, stream="t2", versions=[2]))
    desk.run()
    assert desk.catalog.generation == 1
    assert desk.state.streams["t2"].position == 1


def test_a_retained_version_comes_back_only_where_it_stands_beside_main() -> None:
    """It may lag, which held no checkpoint back; with its answers it is exposed at the same position. Where it misses
    one the deployment fails and says so, and the active one is as it was."""
    known = catalog(
        version(1),
        version(2, state="retained", dropped_at=2_000_000),
        deployments=(deployment(1, [1]), deployment(2, [2], state="catching_up")),
    )
    desk = Desk(known)
    desk.feed(evaluated(1, [table_of({source_key("a"): row("a")}, {1: by_owner})]))
    desk.run()
    assert desk.catalog.generation == 1
    failed = desk.catalog.deployments[1]
    assert (failed.state, failed.reason, failed.ended_at) == (
        "failed",
        "version 2, which was to come back, missed its answer at position 1",
        desk.now,
    )
    assert desk.commits[-1]["exposed"]
    lagging = Desk(known)
    lagging.feed(evaluated(1, [table_of({source_key("a"): row("a")}, {1: by_owner, 2: everywhere})]))
    lagging.run()
    assert lagging.catalog.generation == 2
    assert [(v.version, v.state) for v in lagging.catalog.versions] == [(1, "retained"), (2, "exposed")]


@pytest.mark.parametrize(("complete", "generation"), [({}, 1), ({TODOS: None}, 1), ({TODOS: 2}, 1), ({TODOS: 1}, 2)])
def test_no_switch_before_the_tables_are_complete(complete: dict[str, int | None], generation: int) -> None:
    """Rule D3."""
    desk = deploying(head=0, complete=complete)
    desk.feed(batch(1, ["a"]), evaluated(1, stream="t2", versions=[2]))
    desk.run()
    assert desk.catalog.generation == generation


@pytest.mark.parametrize(
    ("complete", "generation"),
    [
        ({}, 1),  # nothing is known of the source yet
        ({TODOS: 1}, 2),
        ({TODOS: 1, "public.log_1": 1}, 2),
        ({TODOS: 1, "public.log_1": 2}, 1),
        ({TODOS: 1, "public.log_1": None}, 1),
        ({TODOS: 1, "other.log_1": None}, 2),
        ({"public.log_1": 1}, 1),
    ],
)
def test_every_known_table_of_a_wildcard_must_be_complete(complete: dict[str, int | None], generation: int) -> None:
    """Rule D3: one that the sequencer has not met yet begins in the change log, wholly."""
    desk = deploying(head=0, complete=complete)
    wild = replace(desk.catalog.versions[1], tables=(TODOS, "public.log_%"))
    desk.state = desk.state.with_catalog(replace(desk.catalog, versions=(desk.catalog.versions[0], wild)))
    desk.feed(batch(1, ["a"]), evaluated(1, stream="t2", versions=[2]))
    desk.run()
    assert desk.catalog.generation == generation


def test_after_the_switch_both_streams_are_exposed_in_step_until_the_take_over() -> None:
    """Rules M2, D5: main answers for version 2 from position 4 on."""
    desk = deploying(head=0)
    desk.run()
    assert desk.catalog.generation == 2
    for position in (1, 2, 3):
        desk.feed(batch(position, [f"k{position}"]))
    desk.run()
    assert desk.commits[-1]["position"] == 0  # main may go one ahead, clients see none of it
    both = {1: by_owner, 2: everywhere}
    for position in (1, 2, 3):
        changes = {source_key(f"k{position}"): row(f"k{position}")}
        desk.feed(evaluated(position, [table_of(changes, {2: everywhere})], stream="t2"))
    desk.run()
    assert (desk.commits[-1]["position"], desk.commits[-1]["exposed"]) == (3, True)
    desk.feed(evaluated(4, [table_of({source_key("k4"): row("k4")}, both)]))
    desk.run()
    assert desk.catalog.tributaries == ()
    assert {v.stream for v in desk.catalog.versions} == {"main"}
    rows = {source_key(n): row(n) for n in ("old", "k1", "k2", "k3", "k4")}
    assert compare({TODOS: rows}, {2: everywhere}, desk.folded()) == []


def test_a_tributary_that_goes_on_after_the_take_over_is_not_read() -> None:
    """Rule T6, M1: a worker stopped before the switch and continued after it."""
    desk = deploying(head=0)
    desk.run()
    both = {1: by_owner, 2: everywhere}
    desk.feed(evaluated(1, [table_of({source_key("a"): row("a")}, both)]))
    desk.run()
    ops = len(desk.oplogs[2])
    desk.feed(evaluated(1, [table_of({source_key("a"): None}, {2: everywhere})], stream="t2"))
    desk.run()
    assert len(desk.oplogs[2]) == ops
    assert "t2" not in desk.state.streams


def test_a_retained_version_is_dropped_at_its_date() -> None:
    desk = deploying(head=0)
    desk.run()
    assert desk.catalog.version(1) is not None
    desk.now += 1000
    desk.run()
    assert desk.catalog.version(1) is None
    assert [d.state for d in desk.catalog.deployments] == ["dropped", "active"]
    assert [v["version"] for v in desk.commits[-1]["versions"]] == [2]


def test_a_verify_leaves_out_what_stops_meanwhile() -> None:
    """Its buckets are of an earlier position, so that they differ by right."""
    still = version(1, stopped_at=1, stopped_position=0, stopped_because="bad")
    compared = (Comparison(3, 0, 1, 0), Comparison(4, 0, 2, 0))
    known = catalog(
        still,
        version(2),
        version(3, state="throwaway", stream="t2"),
        version(4, state="throwaway", stream="t2"),
        deployments=(
            deployment(1, [1, 2]),
            deployment(2, [], kind="verify", state="catching_up", comparisons=compared),
        ),
        tributaries=(tributary(2, [3, 4], state="catching_up", bounded=True, head=0),),
    )
    desk = Desk(known)
    desk.feed(evaluated(1, versions=[2]), evaluated(1, stream="t2", versions=[3, 4]))
    desk.run()
    verify = desk.catalog.deployment(2)
    assert verify is not None
    assert (verify.state, [c.original for c in verify.comparisons]) == ("aligned", [2])


def test_a_verify_aligns_and_takes_no_more() -> None:
    known = catalog(
        version(1),
        version(2, state="throwaway", stream="t2"),
        deployments=(
            deployment(1, [1]),
            deployment(2, [], kind="verify", state="replaying", comparisons=(Comparison(2, 0, 1, 0),)),
        ),
        tributaries=(tributary(2, [2]),),
    )
    known = headed(known, known.tributaries[0], 1)
    known = bounded(known, known.tributaries[0], [ReplayEnd(TODOS, 0, 10)], now=1)
    desk = Desk(known)
    desk.feed(replay({source_key("a"): row("a", "u1")}, {2: by_owner}), batch(1, ["a"]))
    desk.feed(evaluated(1, stream="t2", versions=[2]), evaluated(2, stream="t2", versions=[2]))
    desk.run()
    verify = desk.catalog.deployment(2)
    assert verify is not None
    assert (verify.state, verify.position) == ("aligned", 1)
    assert verify.comparisons == (Comparison(2, 1, 1, 1),)
    desk.feed(batch(2, ["b"]))
    desk.run()
    assert desk.commits[-1]["position"] == 2
    assert desk.state.streams["t2"].position == 1
    assert desk.catalog.active is not None and desk.catalog.active.generation == 1
    desk.now += VERIFY_PATIENCE_MS
    desk.run()
    assert desk.catalog.tributaries == ()
    assert [v.version for v in desk.catalog.versions] == [1]


def test_a_rejected_row_is_counted_and_set_aside() -> None:
    """Law 11."""
    refused: Any = {
        "version": 1,
        "table": TODOS,
        "key": source_key("a"),
        "topic": "source.public.todos",
        "partition": 0,
        "offset": 5,
        "reason": "division by zero",
    }
    desk = Desk(catalog(version(1)))
    desk.feed(batch(1, ["b"], rejected=[refused]))
    desk.run()
    assert desk.counted(1)["rejected"] == 1
    assert [(r.row, r.position) for r in desk.rejected] == [(refused, 1)]


def test_a_hole_is_asked_for_in_the_catalog() -> None:
    desk = Desk(catalog(version(1)))
    desk.feed(batch(1, ["a"]), batch(3, ["c"]))
    desk.run()
    assert desk.catalog.rewinds == {"main": 1}
    assert desk.commits[-1]["position"] == 1


def test_a_catalog_is_the_same_after_its_record() -> None:
    known = deploying(head=3).catalog
    known = replace(known, rewinds={"main": 2})
    assert Catalog.from_record(known.to_record()) == known


def test_time_changes_nothing_that_is_not_due() -> None:
    known = deploying(head=3).catalog
    assert expired(known, 5_000_000) is known


def test_a_queued_tributary_begins_where_main_stands_when_there_is_a_place() -> None:
    """Rules D2, T5: until then it is no stream; its versions begin with it."""
    running = [tributary(n, [n]) for n in (2, 3, 4)]
    known = catalog(
        version(1),
        *(version(n, state="pending", stream=f"t{n}") for n in (2, 3, 4, 5)),
        deployments=(deployment(1, [1]), deployment(5, [1, 2, 3, 4, 5], state="replaying")),
        tributaries=(*running, tributary(5, [5], state="queued", started_at=0)),
    )
    desk = Desk(known)
    desk.feed(batch(1, ["a"]), batch(2, ["b"]))
    desk.run()
    assert "t5" not in desk.state.streams
    desk.state = desk.state.with_catalog(replace(desk.state.catalog, tributaries=known.tributaries[1:]))
    desk.feed(batch(3, ["c"]))
    desk.run()
    begun = desk.catalog.tributary("t5")
    assert begun is not None
    assert (begun.state, begun.start, begun.start_offset, begun.started_at) == ("replaying", 3, 3, desk.now)
    assert (desk.state.streams["t5"].position, desk.state.streams["t5"].change_offset) == (3, 3)
    assert desk.counted(5)["position"] == 3


def test_a_commit_says_what_a_pending_deployment_waits_for() -> None:
    """Rule M6: also where nothing but that has changed since the last commit."""
    desk = deploying(head=0, complete={TODOS: None})
    desk.run()
    assert desk.commits[-1]["waits"] == [{"generation": 2, "reason": f"{TODOS} is not complete"}]
    commits = len(desk.commits)
    desk.run()
    assert len(desk.commits) == commits, "the same again is no commit"
    desk.crash()
    desk.run()
    assert len(desk.commits) == commits, "nor after a start"
    desk.complete = {TODOS: 0}
    desk.run()
    assert desk.catalog.generation == 2
    assert desk.commits[-1]["waits"] == []


def test_a_replay_is_measured_once_all_of_it_is_taken() -> None:
    desk = deploying(head=0, complete={TODOS: None})
    known = desk.catalog.tributaries[0]
    desk.state = desk.state.with_catalog(with_tributary(desk.catalog, replace(known, bounded_at=desk.now - 5000)))
    desk.run()
    desk.now += 60_000
    desk.complete = {TODOS: 0}
    desk.run()
    done = desk.catalog.deployment(2)
    assert done is not None
    assert (done.state, done.replayed_rows, done.replay_ms) == ("active", 1, 5000)


def test_a_replay_that_starts_over_is_taken_from_its_beginning() -> None:
    """Rule T7: nothing of the first scan, the old tributary's stragglers included, gets into the new versions."""
    desk = deploying(head=None)
    desk.feed(batch(1, ["a"]))
    desk.run()
    assert len(desk.oplogs[2]) == 1
    desk.now += REPLAY_PATIENCE_MS
    desk.run()
    again = desk.catalog.tributary("t2r")
    assert again is not None
    assert (again.state, again.start, again.versions) == ("replaying", 1, (3,))
    assert (desk.counted(3)["position"], desk.counted(3)["rows"]) == (1, 0)
    assert "t2" not in desk.state.streams
    known = bounded(desk.catalog, again, [ReplayEnd(TODOS, 0, 10)], now=1)
    desk.state = desk.state.with_catalog(headed(known, known.tributaries[0], 1))
    records = replay({source_key("new"): row("new")}, {3: everywhere})
    desk.feed(replay({source_key("late"): row("late")}, {2: everywhere}), {**records, "stream": "t2r"})
    desk.run()
    assert desk.catalog.generation == 2
    assert [op["object_id"] for op in desk.oplogs[3]] == ["new"]
