"""A release that evaluates differently: what is deployed goes on as it was, or stops alone, until it is deployed again
(rules T3, D6; law 11)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.definitions.model import Options
from connector.deploy.decision import Moment
from connector.deploy.requests import decide
from connector.merge.catalog import MAIN, bounded, taken_over
from connector.merge.draft import Draft
from connector.merge.judge import Verdict, judge
from connector.merge.pending import headed
from connector.merge.state import Evaluated, standing
from connector.merge.stopped import UNABLE
from tests.builders import (
    TODOS,
    by_owner,
    catalog,
    deployment,
    ends,
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
from tests.merge.test_requests import TWO, active, planned_for
from tests.oracle import compare
from topologies.follow import versions_of

FIRST, SECOND = (Options(level=level).evaluation() for level in (1, 2))
RESULTS = {FIRST: by_owner, SECOND: everywhere}
NOW = 1_000_000
REQUEST = {"id": "r", "kind": "deploy", "expires_at": 0, "path": "f", "estimate": "", "max_rate": 0, "generation": 0}


DEPLOYED = replace(taken_over(active(TWO), frozenset((1, 2))), number=1)


@pytest.fixture(autouse=True)
def upgraded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The merge is of a newer release than what is deployed."""
    monkeypatch.setattr("connector.definitions.model.EVALUATOR_LEVELS", (2,))


class World:
    """Two deployed definitions, the merge, and workers that follow the catalog and know some evaluations."""

    def __init__(self, *, crashes: Iterable[str | None] = ()) -> None:
        self.desk = Desk(DEPLOYED)
        self.known = {FIRST}
        self.rows: dict[str, Any] = {}
        self.position = 0
        self._crashes: Iterator[str | None] = itertools.chain(crashes, itertools.repeat(None))

    def batch(self, *names: str) -> None:
        """Rows that change, evaluated by every stream that runs, by the catalog as it is now."""
        self.position += 1
        changed = {source_key(name): row(name, text=f"{self.position}" * len(name)) for name in names}
        self.rows |= changed
        for stream in (MAIN, *(t.name for t in self.desk.catalog.tributaries if t.bounded)):
            self.desk.feed(self.answer(stream, self.position, changed))

    def answer(self, stream: str, position: int, rows: dict[str, Any], **fields: Any) -> Evaluated:
        asked = versions_of(self.desk.catalog, stream)
        able = {v.version: RESULTS[v.evaluation] for v in asked if v.evaluation in self.known}
        record = evaluated(position, [table_of(rows, able)], stream=stream, **fields)
        record["versions"] = [{"version": v.version, "evaluation": v.evaluation} for v in asked]
        record["unable"] = [v.version for v in asked if v.version not in able]
        return record

    def run(self) -> None:
        while self.desk.round(crash=next(self._crashes)):
            pass

    def deploy(self) -> None:
        """The same config again, while rows change: F is beyond what main has taken when the deploy begins."""
        before, stand = self.desk.state.catalog, standing(self.desk.state)
        wanted = {"base": before.generation, "config": TWO, "planned": planned_for(before, TWO, stand)}
        decision = decide(before, REQUEST | wanted, Moment(NOW, stand))
        assert decision.outcome == "accepted"
        self.desk.commit(decision.catalog)
        (entry,) = self.desk.catalog.tributaries
        assert [o.version for o in entry.overlays] == [1, 2], "into the same buckets (rule D6)"
        self.desk.commit(bounded(self.desk.catalog, entry, ends(10), now=NOW))
        self.desk.feed(self.answer(entry.name, 0, self.rows, replay=scan(0, 10, done=True)))
        self.run()
        self.batch("while it replays")
        self.desk.commit(headed(self.desk.catalog, self.desk.catalog.tributaries[0], self.position))

    def differences(self, evaluation: str) -> list[str]:
        results = RESULTS[evaluation]
        return compare({TODOS: self.rows}, {1: results, 2: results}, self.desk.folded(exposed=True))

    def stands(self) -> bool:
        """All is taken, and clients see it."""
        last = self.desk.commits[-1]
        return (last["position"], last["exposed"]) == (self.position, True)

    def stopped(self) -> list[tuple[int, str]]:
        return [(v.stopped_position, v.stopped_because) for v in self.desk.catalog.versions if v.stopped_at]


def upgraded_world(known: set[str], before: int, after: int, crashes: list[str | None]) -> World:
    """Some batches, then workers of another release, and some more."""
    world = World(crashes=crashes)
    for n in range(before):
        world.batch(f"{n}", "same")
        world.run()
    world.known = known
    for n in range(after):
        world.batch(f"{n}", "again")
    world.run()
    assert world.stands()
    return world


def to_the_end(world: World, late: int) -> None:
    """The same config is deployed; in the end main answers for both as they are evaluated now, and takes them over."""
    world.deploy()
    for n in range(late):
        world.batch(f"{n}", "late")
    for name in ("last", "very last"):
        world.run()
        world.batch(name)
    world.run()
    assert (world.differences(SECOND), world.stopped(), world.stands()) == ([], [], True)
    assert [(v.evaluation, v.stream) for v in world.desk.catalog.versions] == [(SECOND, MAIN)] * 2
    assert (world.desk.catalog.tributaries, world.desk.catalog.rewinds) == ((), {})


BATCHES = st.integers(0, 3)
CRASHES = st.lists(st.sampled_from([None, "before", "after"]), max_size=20)


@settings(max_examples=60, deadline=None)
@given(before=st.integers(1, 3), after=BATCHES, late=BATCHES, crashes=CRASHES)
def test_a_release_that_knows_the_level_goes_on_with_it_until_the_overlay_is_laid(
    before: int, after: int, late: int, crashes: list[str | None]
) -> None:
    world = upgraded_world({FIRST, SECOND}, before, after, crashes)
    assert (world.differences(FIRST), world.stopped()) == ([], [])
    to_the_end(world, late)


@settings(max_examples=60, deadline=None)
@given(before=st.integers(1, 3), after=BATCHES, late=BATCHES, crashes=CRASHES)
def test_a_release_that_does_not_know_it_freezes_it_until_it_is_deployed_again(
    before: int, after: int, late: int, crashes: list[str | None]
) -> None:
    world = upgraded_world({SECOND}, before, after, crashes)
    assert world.stopped() == ([(before, UNABLE)] * 2 if after else [])
    to_the_end(world, late)


def unable(position: int, *numbers: int, answered: Iterable[int] = (1, 2), **fields: Any) -> Evaluated:
    changed = {source_key("a"): row("a", text=str(position))}
    able = {n: everywhere for n in answered if n not in numbers}
    return {**evaluated(position, [table_of(changed, able)], versions=answered, **fields), "unable": list(numbers)}  # type: ignore[typeddict-item]


def test_all_others_advance_beside_one_that_is_frozen() -> None:
    desk = Desk(catalog(version(1), version(2)))
    desk.feed(unable(1), unable(2, 2), unable(3, 2), evaluated(4, versions=[1]))
    desk.run()
    assert [(v.version, v.stopped_position) for v in desk.catalog.versions if v.stopped_at] == [(2, 1)]
    assert [[op["position"] for op in desk.oplogs[n]] for n in (1, 2)] == [[1, 2, 3], [1]]
    assert (desk.commits[-1]["position"], desk.commits[-1]["exposed"]) == (4, True)
    assert desk.catalog.rewinds == {}


def test_a_pending_version_that_nobody_can_evaluate_fails_its_deployment() -> None:
    """Law 10."""
    known = catalog(
        version(1),
        version(2, state="pending", stream="t2"),
        deployments=(deployment(1, [1]), deployment(2, [1, 2], state="replaying")),
        tributaries=(tributary(2, [2], bounded=True, ends=ends(10)),),
    )
    desk = Desk(known)
    desk.feed(unable(0, 2, answered=[2], stream="t2", replay=scan(0, 10, done=True)))
    desk.run()
    failed = desk.catalog.deployment(2)
    assert failed is not None
    assert (failed.state, failed.reason) == ("failed", f"version 2 would be stopped: {UNABLE}")


@pytest.mark.parametrize("state", ["retained", "throwaway"])
def test_what_is_kept_or_verified_and_cannot_be_evaluated_is_not_taken_as_empty(state: Any) -> None:
    """A rollback to it would bring back holes, and a verify would find every row different."""
    verify = deployment(2, [], kind="verify", state="catching_up")
    known = catalog(version(1), version(2, state=state, stream="main" if state == "retained" else "t2"))
    catching_up = tributary(2, [2], state="catching_up", bounded=True, head=9)
    if state == "throwaway":
        known = replace(known, deployments=(known.deployments[0], verify), tributaries=(catching_up,))
    desk = Desk(known)
    desk.feed(unable(1, 2) if state == "retained" else unable(1, answered=[1]))
    desk.feed(unable(1, 2, answered=[2], stream="t2"))
    desk.run()
    two = desk.catalog.version(2)
    assert two is None or two.stopped_because == UNABLE
    assert [d.state for d in desk.catalog.deployments[1:]] == (["failed"] if state == "throwaway" else [])


def test_main_takes_nothing_over_that_it_cannot_evaluate() -> None:
    """Its tributary, of a newer release, goes on with it (rule D5)."""
    entry = tributary(2, [2], state="taking_over", bounded=True, head=0)
    desk = Desk(catalog(version(1), version(2, stream="t2"), tributaries=(entry,)))
    for position in (1, 2):
        desk.feed(unable(position, 2), unable(position, answered=[2], stream="t2"))
    desk.feed(unable(2, 2))  # an announcement: it repeats a position
    desk.run()
    assert [(v.stream, v.stopped_at) for v in desk.catalog.versions] == [("main", 0), ("t2", 0)]
    assert (desk.commits[-1]["position"], desk.commits[-1]["exposed"]) == (2, True)
    draft = Draft(desk.state)
    draft.announced(unable(2, 2))
    assert draft.state.catalog.versions[1].stream == "t2"


def test_it_is_not_frozen_inside_a_record_that_is_taken_in_part() -> None:
    desk = Desk(catalog(version(1), version(2)))
    begun = replace(desk.state, cursors={MAIN: 3})
    assert judge(desk.state, MAIN, unable(1, 2)) is Verdict.TAKE
    assert judge(begun, MAIN, unable(1, 2)) is Verdict.REFUSE
