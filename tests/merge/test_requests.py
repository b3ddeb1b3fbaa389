"""How requests are decided (rules D1, D2, T5; law 10)."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from connector.definitions.check import check
from connector.definitions.model import SyncConfig
from connector.deploy.decision import Decision, Moment, arrived
from connector.deploy.diff import diff
from connector.deploy.generation import is_active
from connector.deploy.known import adoptable, deployed, retained
from connector.deploy.plan import make_plan, planned
from connector.deploy.requests import check_plans, decide
from connector.errors import BadConfig
from connector.merge.catalog import Catalog, switched, with_deployment
from connector.merge.endings import VERIFY_PATIENCE_MS, expired
from connector.merge.pending import started

ONE = """\
bucket_definitions:
  everything:
    data:
      - SELECT id, text FROM todos
"""
TWO = f"""{ONE}\
  mine:
    parameters: SELECT request.user_id() AS u
    data:
      - SELECT id, text FROM todos WHERE owner = bucket.u
"""
OTHER = ONE.replace("id, text", "id, owner")
MOMENT = Moment(now=1000, standing=frozenset((1, 2)))


def config_of(text: str) -> SyncConfig:
    checked = check(text)
    assert checked.config is not None
    return checked.config


def ask(catalog: Catalog, kind: str, **fields: Any) -> Decision:
    request = {
        "id": "r1",
        "kind": kind,
        "expires_at": 0,
        "generation": 0,
        "base": 0,
        "path": "f",
        "config": "",
        "head": 0,
        "tributary": "",
        "planned": "",
        "estimate": "",
        "max_rate": 0,
    } | fields
    decision = decide(catalog, request, MOMENT)
    begun = started(decision.catalog, position=7, change_offset=70, now=MOMENT.now)
    return replace(decision, catalog=decision.catalog if begun == decision.catalog else begun)


def planned_for(catalog: Catalog, text: str, standing: Collection[int]) -> str:
    """What the command line asks for."""
    pending, before = adoptable(catalog), retained(catalog, standing)
    return planned(diff(deployed(catalog), config_of(text), pending=pending, retained=before))


def deploy(catalog: Catalog, text: str, **fields: Any) -> Decision:
    plan = planned_for(catalog, text, MOMENT.standing)
    return ask(catalog, "deploy", **{"base": catalog.generation, "config": text, "planned": plan} | fields)


def active(text: str, catalog: Catalog | None = None) -> Catalog:
    """Deployed and switched."""
    accepted = deploy(catalog or Catalog(), text)
    assert accepted.outcome == "accepted"
    pending = accepted.catalog.deployment(accepted.generation)
    assert pending is not None
    return switched(accepted.catalog, pending, position=8, commit=3, now=2000, dropped_at=9000)


def test_a_first_deploy_gets_generation_versions_and_a_tributary() -> None:
    catalog = deploy(Catalog(), TWO).catalog
    assert [(v.version, v.definition, v.state, v.stream) for v in catalog.versions] == [
        (1, "everything", "pending", "t1"),
        (2, "mine", "pending", "t1"),
    ]
    (entry,) = catalog.tributaries
    assert (entry.name, entry.versions, entry.start, entry.start_offset) == ("t1", (1, 2), 7, 70)
    assert catalog.deployments[0].state == "replaying"
    assert (catalog.next_generation, catalog.next_version) == (2, 3)


def test_only_what_is_new_is_replayed() -> None:
    """Law 1."""
    catalog = deploy(active(ONE), TWO).catalog
    assert catalog.tributaries[-1].versions == (2,)
    pending = catalog.deployments[-1]
    assert {p.version for d in pending.definitions for p in d.parts} == {1, 2}


def test_version_numbers_never_come_back() -> None:
    catalog = active(OTHER, active(ONE))
    assert [(v.version, v.state) for v in catalog.versions] == [(1, "retained"), (2, "exposed")]
    gone = expired(catalog, 9000)
    assert [v.version for v in active(ONE, gone).versions] == [2, 3]


def test_a_retained_version_comes_back_without_a_replay() -> None:
    """A deploy of what was deployed before: its version is still kept up to date, and gets a new life."""
    catalog = active(OTHER, active(ONE))
    decision = deploy(catalog, ONE)
    pending = decision.catalog.deployments[-1]
    assert (decision.outcome, pending.state, pending.versions()) == ("accepted", "catching_up", {1})
    assert [t.generation for t in decision.catalog.tributaries if t.pending] == []
    assert [v.version for v in expired(decision.catalog, 9000).versions] == [1, 2], "wanted: kept beyond its date"
    back = switched(decision.catalog, pending, position=9, commit=4, now=3000, dropped_at=9500)
    assert [(v.version, v.state, v.dropped_at) for v in back.versions] == [(1, "exposed", 0), (2, "retained", 9500)]
    assert [v.state for v in expired(back, 9600).versions] == ["exposed"]


def test_a_retained_version_that_missed_an_answer_does_not_come_back() -> None:
    """It would never stand at main's position again: its part is replayed like any other."""
    wanted = config_of(ONE)
    catalog = active(OTHER, active(ONE))
    assert [change.kind for change in diff(deployed(catalog), wanted, retained=retained(catalog, {2}))] == [
        "new",
        "removed",
    ]
    behind = replace(MOMENT, standing=frozenset((2,)))
    request = {"id": "r", "kind": "deploy", "expires_at": 0, "base": 2, "path": "f", "config": ONE}
    request |= {"estimate": "", "max_rate": 0}
    planned_so = planned(diff(deployed(catalog), wanted, retained=retained(catalog, {2})))
    decision = decide(catalog, request | {"planned": planned_so}, behind)
    assert [v.version for v in decision.catalog.versions] == [1, 2, 3]


def test_other_options_evaluate_every_part_anew_into_the_same_buckets() -> None:
    """Rule D6."""
    catalog = active(TWO)
    decision = deploy(catalog, f"config:\n  edition: 2\n{TWO}")
    pending, entry = decision.catalog.deployments[-1], decision.catalog.tributaries[-1]
    assert (decision.outcome, pending.versions()) == ("accepted", {1, 2})
    assert [(o.shadow, o.version) for o in entry.overlays] == [(3, 1), (4, 2)]
    assert [(v.version, v.state) for v in decision.catalog.versions if v.stream == entry.name] == [
        (3, "throwaway"),
        (4, "throwaway"),
    ]
    again = deploy(decision.catalog, f"config:\n  edition: 2\n{TWO}")
    assert (again.outcome, again.reason) == ("unchanged", "the pending deployment has all of it")
    back = deploy(decision.catalog, TWO)
    assert [(v.version, v.state) for v in back.catalog.versions] == [(1, "exposed"), (2, "exposed")]
    mixed = deploy(decision.catalog, f"config:\n  edition: 2\n{ONE}").catalog
    assert [(o.shadow, o.version) for t in mixed.tributaries if t.pending for o in t.overlays] == [(5, 1)]


def test_a_cancel_leaves_the_active_deployment_as_it_was() -> None:
    """Law 10."""
    catalog = active(ONE)
    pending = deploy(catalog, TWO)
    decision = ask(pending.catalog, "cancel")
    assert (decision.outcome, decision.generation) == ("accepted", pending.generation)
    assert decision.catalog.versions == catalog.versions
    assert decision.catalog.active == catalog.active
    assert decision.catalog.deployments[-1].state == "cancelled"
    assert ask(decision.catalog, "cancel", generation=pending.generation).outcome == "unchanged"
    assert deploy(decision.catalog, TWO).outcome == "accepted"


@pytest.mark.parametrize("kind", ["verify", "resume", "repair"])
def test_a_cancel_ends_whatever_is_pending(kind: str) -> None:
    """One that waits for a table that is never complete would wait for ever."""
    catalog = active(ONE)
    if kind == "resume":
        catalog = replace(catalog, versions=tuple(replace(v, stopped_at=5) for v in catalog.versions))
    pending = ask(catalog, kind, definition="everything")
    assert pending.outcome == "accepted"
    after = ask(pending.catalog, "cancel")
    assert (after.outcome, after.reason, after.generation) == ("accepted", kind, pending.generation)
    assert after.catalog.versions == catalog.versions
    assert after.catalog.tributaries == catalog.tributaries
    assert after.catalog.deployments[-1].state == "cancelled"


def test_a_verify_that_is_being_compared_can_be_cancelled() -> None:
    catalog = ask(active(ONE), "verify").catalog
    stands = with_deployment(catalog, replace(catalog.deployments[1], state="aligned", switched_at=10))
    after = ask(stands, "cancel", generation=2).catalog
    assert [v.state for v in after.versions] == ["exposed"]
    assert ask(after, "drop", generation=2).outcome == "unchanged"


def test_only_what_is_pending_can_be_cancelled() -> None:
    catalog = active(ONE)
    assert ask(catalog, "cancel").reason == "nothing is pending"
    assert (
        ask(catalog, "cancel", generation=1).reason == "generation 1 is active, only what is pending can be cancelled"
    )
    assert ask(catalog, "cancel", generation=7).reason == "generation 7 is not known"


def test_a_removal_needs_no_replay() -> None:
    decision = deploy(active(TWO), ONE)
    assert decision.outcome == "accepted"
    pending = decision.catalog.deployments[-1]
    assert pending.state == "catching_up"
    assert [t.generation for t in decision.catalog.tributaries] == [1]


REORDERED = "bucket_definitions:\n" + TWO.removeprefix(ONE) + ONE.removeprefix("bucket_definitions:\n")


@pytest.mark.parametrize("text", [f"# hello\n{TWO}", TWO.replace("SELECT id, ", "select  id,\n          "), REORDERED])
def test_another_text_of_the_same_is_no_change(text: str) -> None:
    """The plan says so as the merge does."""
    assert text != TWO and deploy(active(TWO), text).outcome == "unchanged"
    assert nothing_to_do(active(TWO), text)


@pytest.mark.parametrize(
    "text",
    [
        ONE,
        OTHER,
        TWO.replace("mine:", "mine:\n    priority: 1"),
        TWO.replace("mine:", "yours:"),
        f"config:\n  edition: 2\n{TWO}",
    ],
)
def test_what_a_deploy_would_change_is_something_to_do(text: str) -> None:
    assert deploy(active(TWO), text).outcome == "accepted"
    assert not nothing_to_do(active(TWO), text)


def nothing_to_do(catalog: Catalog, text: str) -> bool:
    config = config_of(text)
    changes = diff(deployed(catalog), config)
    same = is_active(catalog, config, changes)
    return make_plan(
        config, active=deployed(catalog), base=catalog.generation, same=same, sizes={}, counts={}
    ).nothing_to_do


def test_a_plan_against_an_older_generation_is_stale() -> None:
    assert deploy(active(ONE), TWO, base=0).outcome == "stale"


def test_a_request_that_comes_too_late_has_expired() -> None:
    decision = deploy(Catalog(), ONE, requested_at=500, expires_at=999)
    assert decision.outcome == "expired"
    assert decision.reason == "the broker had it 0.5 s ago by the merge's clock, and it was given 0.5 s"
    assert decision.catalog == Catalog()


@pytest.mark.parametrize("skew", [-3_600_000, 3_600_000])
def test_the_askers_clock_does_not_decide_what_has_expired(skew: int) -> None:
    """The broker's does: it had the request at 900, the merge comes to it at 1000."""
    request = {"requested_at": 880 + skew, "expires_at": 880 + skew + 200}
    assert deploy(Catalog(), ONE, **arrived(request, 900)).outcome == "accepted"
    assert deploy(Catalog(), ONE, **arrived(request, 700)).outcome == "expired"
    assert arrived({"expires_at": 0}, 900) == {"expires_at": 0}


@pytest.mark.parametrize("kind", ["bounds", "head"])
def test_what_a_replay_asks_for_never_expires(kind: str) -> None:
    """Else a worker whose clock is behind would ask for ever, and its replay be called too slow."""
    catalog = deploy(Catalog(), ONE).catalog
    fields: dict[str, Any] = {
        "tributary": "t1",
        "head": 9,
        "ends": [{"table": "public.todos", "partition": 0, "end": 3}],
    }
    late = {"requested_at": 1, "expires_at": 2}
    known = catalog if kind == "bounds" else ask(catalog, "bounds", **fields).catalog
    assert ask(known, kind, **fields, **late).outcome == "accepted"


def test_a_plan_that_the_merge_does_not_share_differs() -> None:
    assert deploy(Catalog(), ONE, planned="[]").outcome == "differs"


def test_a_broken_config_is_refused_with_its_place() -> None:
    decision = ask(Catalog(), "deploy", config="bucket_definitions: [", planned="[]")
    assert decision.outcome == "refused"
    assert "f:1" in decision.reason


def test_a_deploy_ends_a_verify() -> None:
    accepted = deploy(ask(active(ONE), "verify").catalog, TWO)
    assert accepted.outcome == "accepted"
    assert [d.state for d in accepted.catalog.deployments] == ["active", "dropped", "replaying"]
    assert [v.state for v in accepted.catalog.versions] == ["exposed", "pending"]


def test_a_verify_copies_every_active_part_under_throwaway_versions() -> None:
    catalog = ask(active(TWO), "verify").catalog
    verify = catalog.deployments[-1]
    assert [(c.version, c.original) for c in verify.comparisons] == [(3, 1), (4, 2)]
    assert [v.state for v in catalog.versions] == ["exposed", "exposed", "throwaway", "throwaway"]
    assert json.loads(catalog.versions[2].plan) == json.loads(catalog.versions[0].plan)
    assert catalog.generation == 1


def test_a_verify_without_anything_deployed_is_refused() -> None:
    assert ask(Catalog(), "verify").outcome == "refused"


def test_a_verify_of_nothing_is_refused() -> None:
    """All of it is stopped."""
    catalog = active(ONE)
    stopped = replace(catalog, versions=tuple(replace(v, stopped_at=5) for v in catalog.versions))
    assert ask(stopped, "verify").reason == "no active part goes on, so that there is nothing to compare"


def test_a_verify_that_is_kept_goes_on() -> None:
    """Its command compares for longer than the merge would wait for one that is gone."""
    catalog = ask(active(ONE), "verify").catalog
    assert ask(catalog, "keep", generation=2).outcome == "unchanged", "it is not aligned yet"
    stands = with_deployment(catalog, replace(catalog.deployments[1], state="aligned", switched_at=10))
    late = MOMENT.now + VERIFY_PATIENCE_MS - 1
    kept = ask(stands, "keep", generation=2)
    assert kept.outcome == "accepted"
    assert [d.state for d in expired(kept.catalog, late).deployments] == ["active", "aligned"]
    gone = expired(stands, late)
    assert ask(gone, "keep", generation=2).reason.startswith("generation 2 has ended as dropped: its command was not")
    assert ask(gone, "keep", generation=7).outcome == "refused"
    assert ask(catalog, "keep", generation=1).outcome == "unchanged"


@pytest.mark.parametrize("kind", ["verify", "deploy"])
def test_a_drop_leaves_the_active_deployment_as_it_was(kind: str) -> None:
    """Law 10."""
    before = active(ONE)
    pending = (ask(before, "verify") if kind == "verify" else deploy(before, TWO)).catalog
    after = ask(pending, "drop", generation=2).catalog
    assert after.versions == before.versions
    assert after.active == before.active
    assert after.tributaries == before.tributaries
    assert ask(after, "drop", generation=2).outcome == "unchanged"
    assert ask(after, "drop", generation=1).outcome == "refused"


def test_bounds_and_head_are_written_once() -> None:
    """Rule T5: a second worker uses what the first has captured."""
    catalog = deploy(Catalog(), ONE).catalog
    end = {"table": "public.todos", "partition": 0, "end": 10}
    assert ask(catalog, "head", tributary="t1", head=5).outcome == "refused"
    assert ask(catalog, "bounds", tributary="t1", ends=[]).outcome == "refused"
    catalog = ask(catalog, "bounds", tributary="t1", ends=[end]).catalog
    again = ask(catalog, "bounds", tributary="t1", ends=[{**end, "end": 99}])
    assert (again.outcome, again.catalog) == ("unchanged", catalog)
    catalog = ask(catalog, "head", tributary="t1", head=5).catalog
    assert catalog.deployments[0].state == "catching_up"
    assert ask(catalog, "head", tributary="t1", head=9).catalog.tributaries[0].head == 5
    assert ask(catalog, "head", tributary="t2", head=9).outcome == "refused"


def test_what_a_wildcard_means_is_the_workers_to_say() -> None:
    """Rule T5: the ends fix it; a table named outright must be among them."""
    wild = ONE.replace("FROM todos", 'FROM "log_%"') + "      - SELECT id FROM todos\n"
    catalog = deploy(Catalog(), wild).catalog
    assert catalog.versions[0].tables == ("public.log_%", "public.todos")
    log, todos = ({"table": f"public.{name}", "partition": 0, "end": 10} for name in ("log_1", "todos"))
    assert ask(catalog, "bounds", tributary="t1", ends=[log]).outcome == "refused"
    for ends in ([todos], [todos, log]):
        tributary = ask(catalog, "bounds", tributary="t1", ends=ends).catalog.tributaries[0]
        assert [end.table for end in tributary.ends] == [end["table"] for end in ends]


@pytest.mark.parametrize("what", ["plan", "queriers"])
def test_plans_of_another_version_are_refused_by_name(what: str) -> None:
    catalog = active(TWO)
    check_plans(catalog)
    (deployed_one,) = catalog.deployments
    old = json.dumps({"plan_version": 1})
    if what == "plan":
        damaged = replace(catalog, versions=(replace(catalog.versions[0], plan=old), *catalog.versions[1:]))
    else:
        definition = replace(deployed_one.definitions[1], queriers=old)
        damaged = replace(catalog, deployments=(replace(deployed_one, definitions=(definition,)),))
    with pytest.raises(BadConfig, match=r"plan version 1 of .* cannot be used"):
        check_plans(damaged)


def test_an_unknown_request_is_refused() -> None:
    assert ask(Catalog(), "dance").outcome == "refused"
