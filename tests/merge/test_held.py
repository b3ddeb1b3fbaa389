"""What holds main up after a switch has a name (rule M6)."""

from __future__ import annotations

from dataclasses import replace

from connector.cli.status import lines
from connector.deploy.status import status
from connector.merge.draft import Draft
from connector.merge.held import PATIENCE, Held
from connector.merge.judge import Verdict, held_by, judge
from connector.merge.settle import settle
from tests.builders import (
    TODOS,
    by_owner,
    catalog,
    deployment,
    evaluated,
    row,
    source_key,
    table_of,
    tributary,
    version,
)
from tests.merge.desk import Desk

ROWS = {source_key("a"): row("a")}


def switched() -> Desk:
    """Version 2 is exposed; t2 delivers it, and main's backlog is from before it was asked for it."""
    entry = tributary(2, [2], state="taking_over", bounded=True, head=0)
    pending = deployment(3, [1, 2], state="replaying")
    desk = Desk(
        catalog(
            version(1),
            version(2, stream="t2"),
            deployments=(deployment(1, [1, 2]), pending),
            tributaries=(entry, tributary(3, [])),
        )
    )
    desk.feed(*(evaluated(n, [table_of(ROWS, {1: by_owner})]) for n in (1, 2)))
    return desk


def test_main_waits_for_a_tributary_that_does_not_go_on() -> None:
    desk = switched()
    desk.run()
    assert desk.commits == [] or desk.commits[-1]["position"] == 0
    waiting = evaluated(1, versions=[1])
    assert judge(desk.state, "main", waiting) is Verdict.HOLD
    assert held_by(desk.state, waiting) == {"t2"}
    desk.feed(evaluated(1, [table_of(ROWS, {2: by_owner})], stream="t2"))
    desk.run()
    assert desk.commits[-1]["position"] == 1
    assert held_by(desk.state, evaluated(2, versions=[1])) == {"t2"}
    assert held_by(desk.state, evaluated(2, versions=[1, 2])) == frozenset(), "it takes it over"


def test_one_that_is_behind_holds_main_whatever_main_says() -> None:
    desk = switched()
    desk.feed(evaluated(1, [table_of(ROWS, {2: by_owner})], stream="t2"))
    desk.state = desk.state.with_stream(replace(desk.state.main, position=2))
    assert held_by(desk.state, evaluated(3, versions=[1, 2])) == {"t2"}


def test_it_is_told_once_it_has_lasted_and_no_longer_than_it_lasts() -> None:
    held, t2 = Held(), frozenset(["t2"])
    held.by(t2, 7, 10.0)
    assert held.for_long(10.0 + PATIENCE / 2) == frozenset()
    held.by(t2, 7, 10.0 + PATIENCE)
    assert held.for_long(10.0 + PATIENCE) == t2
    held.by(t2, 8, 11.0 + PATIENCE)
    assert held.for_long(11.0 + PATIENCE) == frozenset(), "main has gone on"
    held.by(frozenset(), 8, 12.0)
    assert held.for_long(99.0) == frozenset()


def test_status_and_whoever_waits_for_a_deploy_are_told() -> None:
    desk = switched()
    said = "main waits for t2, which is at 0 and not taken over yet"
    draft = Draft(desk.state)
    draft.held = frozenset(["t2", "gone"])
    settle(draft, now=desk.now, complete={TODOS: 0}, retain_ms=1000)
    waits = [{"generation": w.generation, "reason": w.reason} for w in draft.state.waits]
    assert [w["generation"] for w in waits if w["reason"] == said] == [1, 3]
    commit = {"streams": [], "versions": [], "waits": waits}
    seen = status(endpoint="", now_ms=0, head=None, progress=None, commit=commit, checkpoint=None, catalog=desk.catalog)
    assert seen["waits"] == [said]
    assert f"waits        {said}" in list(lines(seen))
    assert draft.changed, "it is written, though nothing else moves"
