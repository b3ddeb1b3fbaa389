"""An overlay writes only what differs, into the same buckets, whatever crashes (rule D6; laws 4, 8, 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.definitions.model import Options
from connector.deploy.decision import Moment
from connector.deploy.requests import decide
from connector.merge.catalog import Overlay, bounded
from connector.merge.judge import Verdict, judge
from connector.merge.pending import headed, superseded
from connector.merge.state import Evaluated, RejectedRow
from connector.merge.translate import translated
from tests import builders
from tests.builders import (
    TODOS,
    by_owner,
    catalog,
    deployment,
    ends,
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
from topologies.follow import versions_of

Rows = dict[str, Any]
BOTH = {1: by_owner, 2: everywhere}
PLAN = '{"options": {}}'
LEVEL = Options().evaluation()  # what this release evaluates such a plan as
NOW = 1_000_000


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a handful of rows takes many commits."""
    monkeypatch.setattr("connector.merge.overlay.PORTION", 3)
    monkeypatch.setattr("connector.merge.overlay.ROWS_PER_DRAFT", 6)
    monkeypatch.setattr("connector.merge.overlay.OPS_PER_TRANSACTION", 4)


def evaluated(position: int, tables: Any = (), **fields: Any) -> Evaluated:
    return builders.evaluated(position, tables, evaluation=LEVEL, **fields)


def rows_of(**texts: str) -> Rows:
    return {source_key(name): row(name, text=text) for name, text in texts.items()}


class Stage:
    """Version 2 has the rows `old` and hangs at position 2, so that it is stopped; then the rows become `new`."""

    def __init__(self, old: Rows, new: Rows) -> None:
        self.desk = Desk(catalog(version(1, evaluation=LEVEL), version(2, evaluation=LEVEL, plan=PLAN)))
        self.rows: Rows = {}
        self.position = 0
        self.change(old, versions=(1, 2))
        self.change({}, versions=(1, 2), hung=[2])
        self.change({**dict.fromkeys(old), **new}, versions=(1,))
        self.desk.run()
        assert [v.version for v in self.desk.catalog.versions if v.stopped_at] == [2]
        self.before = len(self.desk.oplogs.get(2, []))

    def change(self, rows: Mapping[str, Any], *, versions: tuple[int, ...] = (1,), **fields: Any) -> None:
        """A batch of main; a None is a deleted row."""
        self.position += 1
        self.rows = {k: r for k, r in {**self.rows, **rows}.items() if r is not None}
        table = table_of(rows, {v: BOTH[v] for v in versions})
        self.desk.feed({**evaluated(self.position, [table], versions=versions), **fields})  # type: ignore[typeddict-item]

    def ask(self, kind: str, **fields: Any) -> str:
        """As the merge decides a request; its outcome."""
        request = {"id": "r", "kind": kind, "expires_at": 0, "config": "", "path": "", "planned": "", "estimate": ""}
        request |= {"max_rate": 0, "generation": 0, "base": self.desk.catalog.generation} | fields
        decision = decide(self.desk.state.catalog, request, Moment(NOW))
        self.desk.commit(decision.catalog)
        return decision.outcome

    def resume(self, rejected: Sequence[RejectedRow] = ()) -> None:
        """Up to where the shadow is about to stand beside main."""
        assert self.ask("resume", definition="d2") == "accepted"
        (entry,) = self.desk.catalog.tributaries
        self.desk.commit(bounded(self.desk.catalog, entry, ends(10), now=NOW))
        replayed = table_of(self.rows, {3: everywhere})
        scanned = scan(0, 10, done=True)
        self.desk.feed(evaluated(0, [replayed], stream=entry.name, replay=scanned, rejected=rejected))
        self.desk.run()
        self.desk.commit(headed(self.desk.catalog, self.desk.catalog.tributaries[0], self.position))

    def to_the_end(self) -> None:
        """A change, which the tributary delivers under its shadow's number; then main takes over."""
        name = "t2"
        self.change(rows_of(late="x"), versions=(1,))
        late = table_of(rows_of(late="x"), {3: everywhere})
        self.desk.feed(evaluated(self.position, [late], stream=name, versions=[3]))
        self.desk.run()
        self.change(rows_of(later="long text"), versions=(1, 2))
        self.desk.run()

    def differences(self) -> list[str]:
        return compare({TODOS: self.rows}, BOTH, self.desk.folded(exposed=True))


OLD = rows_of(same="a", same2="long text", other="a", gone="a", gone2="long text", shrinks="long text")
NEW = rows_of(same="a", same2="long text", other="b", fresh="a", shrinks="a")


def test_a_resume_writes_only_what_differs() -> None:
    stage = Stage(OLD, NEW)
    desk = stage.desk
    frozen = desk.folded(exposed=True)
    stage.resume()
    begun = len(desk.commits)
    desk.run()
    laying = desk.commits[begun:-1]
    assert len(laying) > 1
    assert not [c for c in laying if c["exposed"]], "half an overlay is never seen"
    assert desk.commits[-1]["exposed"]
    assert stage.differences() == []
    ops = [(op["op"], op["object_id"], op["bucket"]) for op in desk.oplogs[2][stage.before :]]
    assert sorted(ops) == [
        ("PUT", "fresh", "[]"),
        ("PUT", "other", "[]"),
        ("PUT", "shrinks", "[]"),
        ("REMOVE", "gone", "[]"),
        ("REMOVE", "gone2", '["long"]'),
        ("REMOVE", "gone2", "[]"),
        ("REMOVE", "shrinks", '["long"]'),
    ]
    assert frozen.of_version(2).keys() == {"[]", '["long"]'}
    assert desk.counted(2)["rows"] == sum(len(b.rows) for b in desk.folded().of_version(2).values())
    assert desk.counted(2)["changed_ops"] == stage.before, "none of an overlay's ops is a change's"
    two = desk.catalog.version(2)
    assert two is not None
    assert (two.stopped_at, two.state, two.stream, two.evaluation) == (
        0,
        "exposed",
        "t2",
        desk.catalog.versions[1].evaluation,
    )
    assert desk.catalog.version(3) is None
    over = desk.catalog.deployment(2)
    assert over is not None
    assert (over.state, over.reason, over.position) == ("dropped", "resume done", 3)


def test_what_a_resume_met_counts_no_more_against_what_comes_after_it() -> None:
    stage = Stage(OLD, NEW)
    place = {"topic": "source.public.todos", "partition": 0, "offset": 7}
    bad: Any = {"version": 3, "table": TODOS, "key": source_key("bad"), "reason": "no such column", **place}
    stage.resume([bad])
    stage.desk.run()
    stage.desk.crash()
    two = stage.desk.state.versions[2]
    assert (two.rejected, two.excused) == (1, 1)


def test_after_the_overlay_the_tributary_delivers_until_main_takes_over() -> None:
    """Rule D5: by its shadow's number, which is the version's now."""
    stage = Stage(OLD, NEW)
    stage.resume()
    stage.desk.run()
    taking_over = stage.desk.catalog
    stage.to_the_end()
    assert [v.version for v in versions_of(taking_over, "t2")] == [3], "its process still knows no other number"
    assert [v.version for v in versions_of(taking_over, "main")] == [1, 2]
    assert stage.desk.catalog.tributaries == ()
    assert stage.desk.catalog.versions[1].stream == "main"
    assert stage.differences() == []
    assert (stage.desk.commits[-1]["position"], stage.desk.commits[-1]["exposed"]) == (stage.position, True)


def test_main_and_the_tributary_are_held_while_it_lands() -> None:
    stage = Stage(OLD, NEW)
    stage.resume()
    stage.desk.round()
    (entry,) = stage.desk.catalog.tributaries
    assert entry.state == "landing"
    pending = stage.desk.catalog.deployment(2)
    assert pending is not None
    assert pending.pending, "whoever waits for it goes on waiting"
    for name in ("main", "t2"):
        record = evaluated(4, stream=name, versions=[1, 3])
        assert judge(stage.desk.state, name, record) is Verdict.HOLD
    for kind in ("deploy", "cancel", "verify", "resume", "drop"):
        assert stage.ask(kind, generation=2, definition="d2") == "refused", kind


@pytest.mark.parametrize("crash", ["before", "after"])
@pytest.mark.parametrize("at", range(12))
def test_a_crash_between_any_two_commits_changes_nothing(at: int, crash: str) -> None:
    """Law 8; on an idle source too, where no later batch would make good for a checkpoint that was missed."""
    stage = Stage(OLD, NEW)
    stage.resume()
    for _ in range(at):
        stage.desk.round()
    stage.desk.round(crash=crash)
    stage.desk.run()
    assert len(stage.desk.oplogs[2]) - stage.before == 7
    assert stage.desk.commits[-1]["exposed"]
    assert stage.differences() == []
    stage.to_the_end()
    assert stage.differences() == []


def test_an_overlay_of_what_is_equal_writes_nothing() -> None:
    """Law 4."""
    stage = Stage(OLD, OLD)
    stage.resume()
    stage.desk.run()
    assert len(stage.desk.oplogs[2]) == stage.before
    assert stage.desk.catalog.versions[1].stopped_at == 0


def test_a_resume_of_what_is_not_stopped_or_not_there() -> None:
    stage = Stage(OLD, NEW)
    assert stage.ask("resume", definition="d1") == "unchanged"
    assert stage.ask("resume", definition="d9") == "refused"


def test_a_resume_waits_for_no_verify_but_for_a_deploy() -> None:
    stage = Stage(OLD, NEW)
    assert stage.ask("verify") == "accepted"
    compared = stage.desk.catalog.deployments[-1].comparisons
    assert [c.original for c in compared] == [1], "what is stopped cannot be equal"
    assert stage.ask("resume", definition="d2") == "accepted"
    assert [d.state for d in stage.desk.catalog.deployments] == ["active", "dropped", "replaying"]
    assert stage.ask("resume", definition="d2") == "refused"


def test_where_nothing_goes_on_there_is_nothing_to_repair() -> None:
    """A tributary without versions would never end."""
    desk = Desk(catalog(version(1, evaluation=LEVEL, plan=PLAN, stopped_at=5, stopped_because="bad")))
    stage = object.__new__(Stage)
    stage.desk = desk
    assert stage.ask("repair", definition="") == "refused"
    assert desk.catalog.tributaries == ()


def test_a_failed_resume_leaves_the_version_stopped() -> None:
    """Law 10."""
    stage = Stage(OLD, NEW)
    assert stage.ask("resume", definition="d2") == "accepted"
    assert stage.ask("drop", generation=2) == "accepted"
    assert [(v.version, v.stopped_at > 0) for v in stage.desk.catalog.versions] == [(1, False), (2, True)]
    assert len(stage.desk.oplogs[2]) == stage.before


def test_records_by_shadows_numbers_are_translated_whole() -> None:
    place = {"table": TODOS, "topic": "t", "partition": 0, "offset": 0, "key": "k", "reason": "bad"}
    shadowed = evaluated(
        1,
        [table_of(rows_of(a="a"), {3: everywhere})],
        rejected=[{"version": 3, **place}],  # type: ignore[typeddict-item]
    )
    wanted = evaluated(
        1,
        [table_of(rows_of(a="a"), {2: everywhere})],
        rejected=[{"version": 2, **place}],  # type: ignore[typeddict-item]
    )
    found = translated({**shadowed, "hung": [3], "unable": [3]}, {3: 2})
    assert found == {**wanted, "hung": [2], "unable": [2]}
    assert translated(shadowed, {}) is shadowed


def reevaluating(old: Rows, new: Rows) -> Desk:
    """Generation 2 evaluates version 1 anew, as shadow 3, and brings version 4 in the place of version 2."""
    known = catalog(
        version(1, evaluation=LEVEL, plan="old"),
        version(2, evaluation=LEVEL),
        version(3, evaluation="other", plan="new", state="throwaway", stream="t2"),
        version(4, evaluation="other", state="pending", stream="t2"),
        deployments=(deployment(1, [1, 2]), deployment(2, [1, 4], state="catching_up")),
        tributaries=(
            tributary(2, [3, 4], state="catching_up", bounded=True, ends=ends(10), head=0, overlays=(Overlay(3, 1),)),
        ),
    )
    desk = Desk(known)
    desk.feed(evaluated(1, [table_of(old, {1: by_owner, 2: by_owner})]))
    fields: dict[str, Any] = {"stream": "t2", "evaluation": "other"}
    desk.feed(
        builders.evaluated(0, [table_of(new, {3: by_owner, 4: everywhere})], replay=scan(0, 10, done=True), **fields)
    )
    desk.feed(builders.evaluated(1, [table_of({}, {3: by_owner, 4: everywhere})], **fields))
    return desk


@pytest.mark.parametrize("crash", [None, "before", "after"])
@pytest.mark.parametrize("at", range(6))
def test_a_deploy_lays_what_it_evaluates_anew_and_then_switches(at: int, crash: str | None) -> None:
    """A changed `config:` option: one checkpoint shows the new buckets, and the old ones as they are evaluated now."""
    desk = reevaluating(OLD, NEW)
    for _ in range(at):
        desk.round()
    desk.round(crash=crash)
    desk.run()
    active = desk.catalog.active
    assert active is not None
    assert (active.generation, active.position) == (2, 1)
    assert [(v.version, v.state, v.stream) for v in desk.catalog.versions] == [
        (1, "exposed", "t2"),
        (2, "retained", "main"),
        (4, "exposed", "t2"),
    ]
    assert (desk.catalog.versions[0].plan, desk.catalog.versions[0].evaluation) == ("new", "other")
    assert desk.commits[-1]["exposed"]
    assert [c["exposed"] for c in desk.commits if c["catalog"] == desk.catalog.number] == [True]
    assert compare({TODOS: NEW}, {1: by_owner, 4: everywhere}, desk.folded(exposed=True)) == []
    changed = [op["object_id"] for op in desk.oplogs[1] if op["op_id"] > desk.oplogs[1][len(OLD) - 1]["op_id"]]
    assert sorted(changed) == ["fresh", "gone", "gone2", "other", "shrinks"]
    both = {1: by_owner, 4: everywhere}
    desk.feed(evaluated(2, [table_of(rows_of(late="x"), {1: by_owner, 2: by_owner})]))  # main has not seen the switch
    late = table_of(rows_of(late="x"), {3: by_owner, 4: everywhere})
    desk.feed(builders.evaluated(2, [late], stream="t2", evaluation="other"))
    desk.run()
    assert desk.commits[-1]["position"] == 2
    desk.feed(builders.evaluated(3, [table_of(rows_of(later="x"), both)], evaluation="other"))
    desk.run()
    assert (desk.commits[-1]["position"], desk.commits[-1]["exposed"]) == (3, True)
    assert desk.catalog.tributaries == ()
    assert compare({TODOS: {**NEW, **rows_of(late="x", later="x")}}, both, desk.folded()) == []


def test_a_deploy_in_anothers_place_keeps_its_replay_and_evaluates_anew_once_more() -> None:
    """Rules D2, D6: of the pending one the new version stays with what is replayed of it; its shadow goes."""
    desk = reevaluating(OLD, NEW)
    taken = superseded(desk.catalog, desk.catalog.deployments[1], 3, {1, 4})
    assert [(t.name, t.generation, t.versions, t.overlays) for t in taken.tributaries] == [("t2", 3, (4,), ())]
    assert [v.version for v in taken.versions] == [1, 2, 4]
    shadow = version(5, evaluation="other", plan="newer", state="throwaway", stream="t3")
    ready: dict[str, Any] = {"state": "catching_up", "bounded": True, "ends": ends(10), "head": 0}
    third = tributary(3, [5], overlays=(Overlay(5, 1),), **ready)
    desk.state = desk.state.with_catalog(
        replace(
            taken,
            next_version=6,
            next_generation=4,
            versions=(*taken.versions, shadow),
            deployments=(*taken.deployments, deployment(3, [1, 4], state="catching_up")),
            tributaries=(*taken.tributaries, third),
        )
    )
    fields: dict[str, Any] = {"stream": "t3", "evaluation": "other"}
    desk.feed(builders.evaluated(0, [table_of(NEW, {5: by_owner})], replay=scan(0, 10, done=True), **fields))
    desk.feed(builders.evaluated(1, [table_of({}, {5: by_owner})], **fields))
    desk.run()
    active = desk.catalog.active
    assert active is not None
    assert active.generation == 3
    assert [(v.version, v.state, v.stream) for v in desk.catalog.versions] == [
        (1, "exposed", "t3"),
        (2, "retained", "main"),
        (4, "exposed", "t2"),
    ]
    assert desk.catalog.versions[0].plan == "newer"
    assert compare({TODOS: NEW}, {1: by_owner, 4: everywhere}, desk.folded(exposed=True)) == []


def test_a_repair_mends_what_is_live_while_it_goes_on() -> None:
    """The same overlay, over every active part."""
    desk = Desk(catalog(version(1, evaluation=LEVEL, plan=PLAN)))
    desk.feed(evaluated(1, [table_of(OLD, {1: by_owner})]), evaluated(2, [table_of(rows_of(live="x"), {1: by_owner})]))
    desk.run()
    stage = object.__new__(Stage)
    stage.desk, stage.position, stage.rows = desk, 2, {**NEW, **rows_of(live="x")}
    assert stage.ask("repair", definition="") == "accepted"
    (entry,) = desk.catalog.tributaries
    desk.commit(bounded(desk.catalog, entry, ends(10), now=NOW))
    desk.feed(evaluated(0, [table_of(stage.rows, {2: by_owner})], stream=entry.name, replay=scan(0, 10, done=True)))
    desk.run()
    desk.commit(headed(desk.catalog, desk.catalog.tributaries[0], 2))
    desk.run()
    assert compare({TODOS: stage.rows}, {1: by_owner}, desk.folded(exposed=True)) == []
    desk.feed(evaluated(3, [table_of(rows_of(live="y"), {1: by_owner})]))
    desk.run()
    assert desk.catalog.tributaries == ()
    assert desk.counted(1)["position"] == desk.commits[-1]["position"] == 3


TABLES = st.dictionaries(st.sampled_from([f"k{n}" for n in range(12)]), st.sampled_from(["a", "bb", "long text"]))
CRASHES = st.lists(st.sampled_from([None, None, "before", "after"]), max_size=20)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(TABLES, TABLES, CRASHES)
def test_whatever_crashes_the_overlay_is_the_difference(
    old: dict[str, str], new: dict[str, str], crashes: list[str | None]
) -> None:
    stage = Stage(rows_of(**old), rows_of(**new))
    stage.resume()
    seen = len(stage.desk.commits)
    frozen = {v["version"]: v["oplog_offset"] for v in stage.desk.commits[-1]["versions"]}[2]
    for crash in crashes:
        stage.desk.round(crash=crash)
        for commit in stage.desk.commits[seen:]:
            if commit["exposed"] and any(v["version"] == 3 for v in commit["versions"]):
                assert next(v["oplog_offset"] for v in commit["versions"] if v["version"] == 2) == frozen
    stage.desk.run()
    assert stage.differences() == []
    changed = compare({TODOS: rows_of(**old)}, {2: everywhere}, stage.desk.folded())
    assert len(stage.desk.oplogs.get(2, [])) - stage.before == len(changed)
    assert stage.desk.commits[-1]["exposed"]
    stage.to_the_end()
    assert stage.differences() == []
