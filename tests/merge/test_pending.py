"""What becomes of a pending deploy's replays: adopted, queued, started over (rules D2, T5, T7)."""

from __future__ import annotations

from typing import Any

import pytest

from connector.deploy.adopted import adopted_shares
from connector.deploy.diff import diff
from connector.deploy.generation import followed
from connector.deploy.known import adoptable, deployed, retained
from connector.merge.catalog import Catalog, Tributary
from connector.merge.pending import PLACES, REPLAY_PATIENCE_MS, overdue, started
from tests.merge.test_requests import MOMENT, ONE, TWO, active, ask, config_of, deploy

THREE = f"""{TWO}\
  texts:
    data:
      - SELECT id FROM todos WHERE text = 'x'
"""
MINE_ONLY = THREE.replace("id FROM todos WHERE text", "id, owner FROM todos WHERE text")


def deploying(text: str, catalog: Catalog) -> Catalog:
    decision = deploy(catalog, text)
    assert decision.outcome == "accepted"
    return decision.catalog


def scanned(catalog: Catalog, name: str) -> Catalog:
    """The tributary's replay is done."""
    tributary = named(catalog, name)
    tables = sorted({t for v in catalog.versions if v.version in tributary.versions for t in v.tables})
    ends = [{"table": table, "partition": 0, "end": 10} for table in tables]
    catalog = ask(catalog, "bounds", tributary=name, ends=ends).catalog
    return ask(catalog, "head", tributary=name, head=5).catalog


def named(catalog: Catalog, name: str) -> Tributary:
    tributary = catalog.tributary(name)
    assert tributary is not None
    return tributary


def states(catalog: Catalog) -> dict[int, str]:
    return {d.generation: d.state for d in catalog.deployments}


def test_a_deploy_adopts_what_the_pending_one_replays_less_what_it_does_not_want() -> None:
    """Version 2 goes on in t2 as it is, version 3 is given up, version 4 is replayed by a tributary of its own."""
    pending = deploying(THREE, active(ONE))
    assert named(pending, "t2").versions == (2, 3)
    decision = deploy(pending, MINE_ONLY)
    after = decision.catalog
    assert (decision.outcome, decision.generation) == ("accepted", 3)
    assert [(v.version, v.stream) for v in after.versions if v.state == "pending"] == [(2, "t2"), (4, "t3")]
    assert [(t.name, t.generation, t.versions) for t in after.tributaries if t.pending] == [
        ("t2", 3, (2,)),
        ("t3", 3, (4,)),
    ]
    assert states(after) == {1: "active", 2: "dropped", 3: "replaying"}
    assert [d.reason for d in after.deployments if d.generation == 2] == ["superseded by generation 3"]
    assert deployed(after) == deployed(pending), "the active deployment is as it was (law 10)"


@pytest.mark.parametrize("text", [THREE, f"config:\n  edition: 2\n{ONE}"])
def test_a_plan_knows_a_pending_deploy_that_has_all_of_it(text: str) -> None:
    """As the merge answers it; another text of the same definitions too."""
    pending = deploying(text, active(ONE))
    for same in (text, f"# again\n{text}"):
        assert (deploy(pending, same).outcome, deploy(pending, same).catalog) == ("unchanged", pending)
        assert follows(pending, same) == 2
    assert follows(pending, MINE_ONLY) is None
    assert follows(pending, ONE) is None
    assert follows(active(text), text) is None, "it is pending no more"


def follows(catalog: Catalog, text: str) -> int | None:
    config = config_of(text)
    changes = diff(deployed(catalog), config, pending=adoptable(catalog), retained=retained(catalog, MOMENT.standing))
    found = followed(catalog, config, changes)
    return found.generation if found is not None else None


def test_an_adopted_replay_keeps_what_it_has() -> None:
    pending = scanned(deploying(TWO, active(ONE)), "t2")
    before = named(pending, "t2")
    after = named(deploying(THREE, pending), "t2")
    assert (after.start, after.ends, after.head, after.state) == (before.start, before.ends, 5, "catching_up")


def test_nothing_of_a_pending_deploy_is_left_where_nothing_of_it_is_wanted() -> None:
    changed = TWO.replace("owner = bucket.u", "text = bucket.u")
    after = deploying(changed, deploying(TWO, active(ONE)))
    assert [(t.name, t.versions) for t in after.tributaries if t.pending] == [("t3", (3,))]
    assert [v.version for v in after.versions] == [1, 3]


def test_a_plan_knows_what_is_left_of_a_replay_that_it_goes_on_with() -> None:
    """By table, the share of its offsets that is not taken."""
    queued = deploying(TWO, active(ONE))
    assert left(queued, THREE) == [("public.todos", 1.0)]
    assert left(queued, ONE) == [], "nothing of it is wanted"
    ends = [{"table": "public.todos", "partition": p, "end": 100} for p in range(4)]
    bounded = ask(queued, "bounds", tributary="t2", ends=ends).catalog
    assert left(bounded, THREE) == [("public.todos", 1.0)]
    taken = [(0, 100, True), (1, 60, False), (2, 0, True)]
    partitions = [{"table": "public.todos", "partition": p, "taken": t, "done": d} for p, t, d in taken]
    commit = {"streams": [{"stream": "t2", "partitions": partitions}]}
    assert left(bounded, THREE, commit) == [("public.todos", 0.35)]
    assert left(ask(bounded, "head", tributary="t2", head=5).catalog, THREE, commit) == [], "it is done"


def left(catalog: Catalog, text: str, commit: dict[str, Any] | None = None) -> list[tuple[str, float]]:
    changes = diff(deployed(catalog), config_of(text), pending=adoptable(catalog))
    return adopted_shares(catalog, changes, commit, ["public.todos"])


def test_a_deployment_catches_up_once_all_of_its_tributaries_do() -> None:
    both = deploying(THREE, scanned(deploying(TWO, active(ONE)), "t2"))
    assert states(both)[3] == "replaying"
    assert states(scanned(both, "t3"))[3] == "catching_up"
    fewer = deploying(THREE, active(ONE))
    assert states(deploying(TWO, scanned(fewer, "t2")))[3] == "catching_up"


def test_the_pending_deploys_config_again_joins_it() -> None:
    pending = deploying(TWO, active(ONE))
    again = deploy(pending, f"# again\n{TWO}")
    assert (again.outcome, again.generation, again.catalog) == ("unchanged", 2, pending)


def test_a_deploy_ends_nothing_that_was_not_pending_when_it_was_planned() -> None:
    """Rule D1: somebody else's deploy came between plan and request, or ended."""
    before = active(ONE)
    pending = deploying(TWO, before)
    for text in (THREE, TWO, ONE):
        stale = deploy(pending, text, pending=0)
        assert (stale.outcome, stale.catalog) == ("stale", pending)
    assert (
        "planned while no deploy was pending, now generation 2 is pending" in deploy(pending, THREE, pending=0).reason
    )
    assert deploy(pending, THREE, pending=2).outcome == "accepted", "it was seen, and gives way"
    assert deploy(pending, THREE, pending=None).outcome == "accepted", "a command of an older release"
    assert deploy(before, TWO, pending=2).outcome == "stale"
    assert deploy(before, TWO, pending=0).outcome == "accepted"


def test_the_active_deploys_config_ends_a_pending_one() -> None:
    decision = deploy(deploying(TWO, active(ONE)), ONE)
    assert (decision.outcome, decision.generation) == ("accepted", 1)
    assert states(decision.catalog) == {1: "active", 2: "dropped"}
    assert [v.version for v in decision.catalog.versions] == [1]


def test_a_cancel_ends_all_that_was_adopted() -> None:
    before = active(ONE)
    after = ask(deploying(THREE, deploying(TWO, before)), "cancel")
    assert (after.generation, after.catalog.versions, after.catalog.tributaries) == (
        3,
        before.versions,
        before.tributaries,
    )


def several(count: int) -> str:
    return ONE + "".join(f"  d{n}:\n    data:\n      - SELECT {n} AS n, id FROM todos\n" for n in range(count))


def test_at_most_three_tributaries_replay_and_the_next_begins_when_one_has_caught_up() -> None:
    catalog = Catalog()
    for count in range(1, PLACES + 2):
        catalog = deploying(several(count), catalog)
    assert [t.state for t in catalog.tributaries] == ["replaying"] * PLACES + ["queued"]
    queued = catalog.tributaries[-1]
    assert (queued.name, queued.start_offset, queued.started_at) == ("t4", 0, 0)
    assert ask(catalog, "bounds", tributary="t4", ends=[]).outcome == "refused"
    freed = started(scanned(catalog, "t2"), position=90, change_offset=900, now=5000)
    begun = named(freed, "t4")
    assert (begun.state, begun.start, begun.start_offset) == ("replaying", 7, 70)
    assert named(freed, "t2").state == "catching_up", "it waits for the switch, and that for t4"
    fewer = ask(catalog, "cancel").catalog
    assert fewer.tributaries == ()
    less = deploying(several(PLACES + 1).replace("2 AS n", "7 AS n"), catalog)
    assert [(t.name, t.state) for t in less.tributaries] == [
        ("t1", "replaying"),
        ("t2", "replaying"),
        ("t4", "replaying"),  # t3's place
        ("t5", "queued"),
    ]
    later = started(less, position=90, change_offset=900, now=5000)
    assert later == less, "no place is free"


def test_only_unchanged_parts_are_adoptable_and_only_from_a_deploy() -> None:
    assert [one.version for one in adoptable(deploying(TWO, active(ONE)))] == [2]
    assert adoptable(ask(active(ONE), "verify").catalog) == []


def test_a_replay_that_compaction_may_have_overtaken_starts_over_once() -> None:
    """Rule T7: under new version numbers, from a new S0; what is active stays as it was."""
    before = active(ONE)
    pending = deploying(TWO, before)
    in_time = MOMENT.now + REPLAY_PATIENCE_MS - 1
    assert overdue(pending, in_time) is pending
    over = overdue(pending, in_time + 1)
    (again,) = [t for t in over.tributaries if t.generation == 2]
    assert (again.name, again.versions, again.state, again.bounded) == ("t2r", (3,), "queued", False)
    assert [(v.version, v.stream, v.state) for v in over.versions] == [(1, "t1", "exposed"), (3, "t2r", "pending")]
    assert over.deployments[-1].versions() == {1, 3}
    assert over.next_version == 4
    begun = started(over, position=20, change_offset=200, now=in_time + 1)
    assert (named(begun, "t2r").start, named(begun, "t2r").started_at) == (20, in_time + 1)
    ended = overdue(begun, in_time + 1 + REPLAY_PATIENCE_MS)
    assert states(ended) == {1: "active", 2: "failed"}
    assert "compaction" in ended.deployments[-1].reason
    assert (ended.versions, ended.tributaries) == (before.versions, before.tributaries)


def test_a_replay_may_take_as_long_as_its_topics_wait_for_compaction() -> None:
    """Rule T7: whoever raises min.compaction.lag.ms has that time, and a lower one shortens nothing."""
    pending = deploying(TWO, active(ONE))
    ends = [{"table": "public.todos", "partition": 0, "end": 10}]
    hour = 6 * REPLAY_PATIENCE_MS
    longer = ask(pending, "bounds", tributary="t2", ends=ends, lag_ms=hour).catalog
    assert overdue(longer, MOMENT.now + hour - 1) is longer
    again = overdue(longer, MOMENT.now + hour)
    assert named(again, "t2r").lag_ms == 0, "not asked for again yet"
    for lag_ms in (0, 1):
        usual = ask(pending, "bounds", tributary="t2", ends=ends, lag_ms=lag_ms).catalog
        assert overdue(usual, MOMENT.now + REPLAY_PATIENCE_MS - 1) is usual
        assert overdue(usual, MOMENT.now + REPLAY_PATIENCE_MS).tributary("t2r") is not None


def test_the_clock_of_a_queued_replay_does_not_run() -> None:
    catalog = Catalog()
    for count in range(1, PLACES + 2):
        catalog = deploying(several(count), catalog)
    assert overdue(catalog, MOMENT.now + REPLAY_PATIENCE_MS).tributary("t4") == catalog.tributary("t4")


def test_a_verify_starts_over_too() -> None:
    over = overdue(ask(active(TWO), "verify").catalog, MOMENT.now + REPLAY_PATIENCE_MS)
    assert [(c.version, c.original) for c in over.deployments[-1].comparisons] == [(5, 1), (6, 2)]


def test_a_replay_that_is_done_has_all_the_time_to_catch_up() -> None:
    catalog = scanned(deploying(ONE, Catalog()), "t1")
    assert overdue(catalog, MOMENT.now + 2 * REPLAY_PATIENCE_MS) is catalog
