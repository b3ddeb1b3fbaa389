"""What `plan` tells and writes, and which plan files `deploy` refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from connector.cli.plan_text import plan_lines, table_lines
from connector.cli.planning import refuse_too_long
from connector.deploy.catalog import Catalog
from connector.deploy.costs import SourceRead, TableSize
from connector.deploy.plan import Plan, make_plan
from connector.deploy.plan_file import check_still, read, written
from connector.deploy.rates import Rate, measured_rate
from connector.deploy.resume import staying_stopped
from connector.errors import BadConfig, RequestRefused
from connector.sync.connected import Connected
from tests.builders import deployment, version
from tests.definitions.test_diff import LISTS, TODOS, config, deployed
from topologies.pace import Pace

NOTES = {"data": [*LISTS["data"], "SELECT id, name FROM notes"]}
SIZES = {name: TableSize(name, rows, rows * 100) for name, rows in {"public.lists": 5000, "public.notes": 1000}.items()}


def plan(before: dict[str, Any], after: dict[str, Any], **fields: Any) -> Plan:
    known = deployed(config(**before)) if before else []
    given: dict[str, Any] = {"base": int(bool(before)), "same": before == after, "sizes": SIZES, "counts": {}}
    return make_plan(config(**after), active=known, **given | fields)


def test_a_modified_part_is_one_line_with_both_versions_and_its_costs() -> None:
    made = plan(
        {"lists": LISTS, "todos": TODOS},
        {"lists": NOTES, "todos": TODOS},
        counts={1: (200, 5000)},
        rate=Rate(2000.0, 4.0, measured=True),
    )
    told = "\n".join(plan_lines(made)).splitlines()
    assert told[2].split() == ["definition", "part", "version", "replays", "takes", "clients", "download", "again"]
    assert " ".join(told[3].split()) == "lists lists changed 1 → new 6,000 rows 600.0 kB 3.0 s 200 buckets, 5,000 rows"
    assert [line.strip().split(":")[0] for line in told[4:6]] == ["old", "new"]
    assert told[6].split() == ["todos", "todos", "unchanged", "2"]
    assert told[7].split() == ["todos#1", "unchanged", "3"]
    assert "about 3.0 s at 2,000 rows/s (as the last replays)" in told[9]
    assert "active after about 7.0 s; nothing is paused meanwhile" in told
    assert "clients download again: 200 buckets, 5,000 rows" in told


def test_the_connected_clients_that_download_again_are_those_that_have_what_is_replaced() -> None:
    nodes = [
        {"clients": 40, "holdings": [{"versions": [1, 2], "clients": 10}, {"versions": [2], "clients": 30}]},
        {"clients": 17, "holdings": [{"versions": [1], "clients": 2}, {"versions": [], "clients": 15}]},
    ]
    made = plan(
        {"lists": LISTS, "todos": TODOS},
        {"lists": NOTES, "todos": TODOS},
        counts={1: (200, 5000)},
        clients=Connected(nodes),
    )
    told = "\n".join(plan_lines(made)).splitlines()
    assert "200 buckets, 5,000 rows, 12 clients" in told[3]
    assert "clients download again: 200 buckets, 5,000 rows, by 12 of 57 connected clients" in told
    assert made.as_json()["clients"] == {"connected": 57, "download_again": 12}
    assert [download["clients"] for download in made.as_json()["downloads"]] == [12]


def test_clients_of_a_definition_that_comes_back_are_those_that_have_what_it_takes_the_place_of() -> None:
    before, after = config(lists=NOTES), config(lists=LISTS)
    kept = [replace(one, version=7) for one in deployed(after)]
    given: dict[str, Any] = {"base": 2, "same": False, "sizes": SIZES, "counts": {7: (3, 9)}, "retained": kept}
    clients = Connected(
        [{"clients": 5, "holdings": [{"versions": [1], "clients": 4}, {"versions": [7], "clients": 1}]}]
    )
    made = make_plan(after, active=deployed(before), clients=clients, **given)
    assert [(download.buckets, download.clients) for download in made.downloads] == [(3, 4)]
    alone = make_plan(after, active=[], clients=clients, **given)
    assert [(download.buckets, download.clients) for download in alone.downloads] == [(3, None)]
    assert (alone.affected, alone.as_json()["clients"]) == (None, None)


def test_parts_that_go_and_come_stand_alone() -> None:
    made = plan({"todos": TODOS}, {"lists": LISTS})
    assert [(line.word, line.was, line.change.version) for line in table_lines(made)] == [
        ("new", None, None),
        ("removed", None, 1),
        ("removed", None, 2),
    ]


def test_nothing_to_do_is_said_below_the_unchanged_parts() -> None:
    told = list(plan_lines(plan({"lists": LISTS}, {"lists": LISTS})))
    assert told[3].split() == ["lists", "lists", "unchanged", "1"]
    assert told[-1] == "nothing to do"


def test_a_deploy_on_its_way_is_followed_where_it_is_the_same_and_else_loses_its_place() -> None:
    told = list(plan_lines(plan({"lists": LISTS}, {"lists": NOTES}, supersedes=2, follows=2)))
    assert told[1] == "generation 2, which is pending, has all of it: a deploy follows that one"
    assert not any("takes the place" in line for line in told)
    told = list(plan_lines(plan({"lists": LISTS}, {"lists": NOTES}, supersedes=2)))
    assert told[1] == "takes the place of generation 2, which is pending; what both want goes on"


def test_a_limit_makes_the_replay_longer_and_is_no_measurement() -> None:
    made = plan({}, {"lists": LISTS}, max_rate=100)
    assert (made.seconds, made.estimate()["max_rate"]) == (50.0, 100)
    assert any("at 100 rows/s (--max-rate)" in line for line in plan_lines(made))
    slow = deployment(1, [1], replayed_rows=5000, replay_ms=50_000, estimate=json.dumps(made.estimate()))
    fast = deployment(2, [2], replayed_rows=5000, replay_ms=1000, requested_at=1000, switched_at=4000)
    tiny = deployment(3, [3], replayed_rows=9, replay_ms=900)
    assert measured_rate([slow]) == Rate(30_000.0, 2.0, measured=False), "a guess"
    assert measured_rate([slow, fast, tiny]) == Rate(5000.0, 2.0, measured=True)


def test_an_outage_in_a_replay_has_no_deploy_refused() -> None:
    times: dict[str, Any] = {"requested_at": 1000, "replayed_rows": 5000}
    fast = deployment(1, [1], **times, replay_ms=1000, switched_at=4000)
    disturbed = deployment(2, [2], **times, replay_ms=500_000, switched_at=502_000)
    assert measured_rate([fast, disturbed, fast]).rows_per_second == 5000.0
    assert (measured_rate([disturbed]).rows_per_second, measured_rate([disturbed]).best) == (10.0, 30_000.0)
    assert measured_rate([disturbed] * 4 + [fast]).best == 5000.0
    once = measured_rate([disturbed])
    refuse_too_long(plan({}, {"lists": NOTES}, rate=once))
    with pytest.raises(RequestRefused, match="at least 400 s"):
        refuse_too_long(plan({}, {"lists": NOTES}, rate=once, max_rate=15))


def test_what_is_stopped_and_unchanged_stays_stopped() -> None:
    made = plan({"lists": LISTS, "other": NOTES}, {"lists": LISTS, "other": LISTS})
    versions = [version(change.version, stopped_at=1) for change in made.changes if change.version is not None]
    assert staying_stopped(Catalog(versions=tuple(versions)), made.changes) == ["lists"], "the other one is changed"
    assert staying_stopped(Catalog(), made.changes) == []


def test_only_deploys_are_measured_and_no_clock_that_was_set() -> None:
    times: dict[str, Any] = {"requested_at": 1000, "replayed_rows": 5000, "replay_ms": 1000}
    fast = deployment(1, [1], **times, switched_at=4000)
    slow: dict[str, Any] = times | {"replay_ms": 50_000, "switched_at": 90_000}
    waited = deployment(4, [4], **times, switched_at=600_000, estimate=json.dumps({"source_seconds": 0.0}))
    assert measured_rate(
        [fast, deployment(2, [2], kind="verify", **slow), deployment(3, [3], kind="repair", **slow)]
    ) == (measured_rate([fast]))
    assert measured_rate([fast, waited]) == Rate(5000.0, 2.0, measured=True), "it waited for the database"
    assert measured_rate([waited]) == Rate(5000.0, Rate().besides, measured=True)
    back = deployment(5, [5], **times | {"replay_ms": -7450}, switched_at=4000)
    assert measured_rate([back]) == Rate()
    assert measured_rate([back, fast]) == measured_rate([fast])
    adopted = deployment(6, [6], **times | {"replay_ms": 9000}, switched_at=4000)
    assert measured_rate([adopted]).besides == Rate().besides, "its replay began before it was asked for"


def test_a_replay_that_goes_on_is_counted_as_far_as_it_is_left() -> None:
    """And is not refused: its clock runs already."""
    one = replace(deployed(config(lists=NOTES))[0], version=7)
    made = plan(
        {"lists": LISTS}, {"lists": NOTES}, pending=[one], adopted=[TableSize("public.lists", 5000, 1)], max_rate=10
    )
    assert made.replays == ()
    assert (made.adopted_rows, made.seconds, made.active_in) == (5000, 500.0, 502.0)
    told = list(plan_lines(made))
    assert (
        "goes on with a replay that has 5,000 rows left of public.lists, about 8 min 20 s at 10 rows/s (--max-rate)"
        in told
    )
    assert "replays nothing" not in told
    assert not made.too_long
    beside = replace(made, replays=(TableSize("public.notes", 100, 1),))
    assert (beside.own_seconds, beside.too_long) == (30.0, False), "three at once, each as fast"
    assert replace(made, replays=(TableSize("public.notes", 2000, 1),)).too_long


def test_a_table_that_is_not_complete_costs_what_the_database_says_of_it() -> None:
    """Its rows come with the change log: compaction does not overtake them."""
    new = SourceRead("public.notes", 8_000_000, True, 1_200_000_000)
    made = plan({"lists": LISTS}, {"lists": NOTES}, sizes={"public.lists": SIZES["public.lists"]}, reads=[new])
    told = list(plan_lines(made))
    assert (
        "captures public.notes, which is new, and reads it (about 8,000,000 rows, 1.2 GB by the database's own "
        "estimate) once by incremental snapshot, about 26 min 40 s at 5,000 rows/s (a guess)"
    ) in told
    assert [size.table for size in made.replays] == ["public.lists"]
    assert "8,005,000 rows" in told[3]
    assert (made.source_seconds, round(made.active_in)) == (1600.0, 1602)
    assert not made.too_long
    reading = replace(new, new=False, arrived=6_000_000)
    assert (reading.left, reading.bytes_left, reading.seconds) == (2_000_000, 300_000_000, 400.0)
    uncounted = SourceRead("public.notes", None, True, 800_000)
    assert (uncounted.left, replace(uncounted, arrived=10_000).left) == (8000, 0)


def test_a_read_that_nothing_waits_for_takes_no_time() -> None:
    """The table of a part that is kept is read again, say."""
    read = SourceRead("public.lists", 8_000_000, False, 1)
    made = plan({"lists": LISTS}, {"lists": LISTS, "todos": TODOS}, reads=[replace(read, table="public.others")])
    assert (made.source_seconds, made.estimate()["source_seconds"]) == (None, None)


def test_a_plan_file_is_carried_out_as_long_as_it_is_the_plan() -> None:
    made = plan({"lists": LISTS}, {"lists": NOTES})
    file = read(written(made, "sync-config.yaml", "text"), "plan.json")
    assert file is not None
    assert (file.path, file.config) == ("sync-config.yaml", "text")
    check_still(plan({"lists": LISTS}, {"lists": NOTES}), file.expected)
    beside = plan({"lists": LISTS}, {"lists": NOTES}, supersedes=2)
    file = read(written(beside, "sync-config.yaml", "text"), "plan.json")
    assert file is not None
    check_still(beside, file.expected)
    with pytest.raises(RequestRefused, match="while generation 2 was pending, now no deploy is pending"):
        check_still(plan({"lists": LISTS}, {"lists": NOTES}), file.expected)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (plan({"lists": LISTS}, {"lists": NOTES}, base=2), "planned against generation 1, active is 2 now"),
        (
            plan({"lists": LISTS}, {"lists": NOTES}, supersedes=2),
            "planned while no deploy was pending, now generation 2 is pending",
        ),
        (
            plan({"lists": LISTS}, {"lists": NOTES}, supersedes=2, follows=2),
            "planned while no deploy was pending, now generation 2 is pending",
        ),
        (plan({"lists": NOTES}, {"lists": NOTES}), "the plan would be another now: lists (lists)"),
    ],
)
def test_a_plan_file_is_refused_once_anything_would_be_otherwise(now: Plan, said: str) -> None:
    file = read(written(plan({"lists": LISTS}, {"lists": NOTES}), "f", ""), "plan.json")
    assert file is not None
    with pytest.raises(RequestRefused, match=said.replace("(", r"\(").replace(")", r"\)")) as refused:
        check_still(now, file.expected)
    assert refused.value.hint


@pytest.mark.parametrize("text", ['{"syncline_plan": 1}', '{"syncline_plan": 3}', '{"syncline_plan": 2, "base": 1}'])
def test_a_plan_file_that_cannot_be_read_is_said_to_be_so(text: str) -> None:
    with pytest.raises(BadConfig) as refused:
        read(text, "plan.json")
    assert "plan again" in (refused.value.hint or "")


@pytest.mark.parametrize("text", ["bucket_definitions: {}", '{"bucket_definitions": {}}', "[1]"])
def test_a_sync_config_is_no_plan_file(text: str) -> None:
    assert read(text, "sync-config.yaml") is None


@pytest.mark.parametrize(("minutes", "refused"), [(10, True), (13, True), (14, False), (60, False)])
def test_a_replay_is_refused_by_the_topics_own_lag_and_the_hint_mends_it(minutes: int, refused: bool) -> None:
    """Rule T7: half of the lag; 6,000 rows at 15 rows/s take 400 s."""
    made = plan({}, {"lists": NOTES}, max_rate=15, lag_ms=minutes * 60_000)
    if not refused:
        refuse_too_long(made)
        return
    with pytest.raises(RequestRefused, match=f"400 s, more than {minutes * 30} s") as told:
        refuse_too_long(made)
    assert "to 840,000 or more" in (told.value.hint or ""), "14 minutes"


def test_a_pace_spreads_rows_over_time_and_saves_up_nothing() -> None:
    now = 100.0
    pace = Pace(1000, lambda: now)
    assert [pace.due(500), pace.due(500), pace.due(500)] == [100.0, 100.5, 101.0]
    now = 200.0
    assert [pace.due(500), pace.due(500)] == [200.0, 200.5]
    free = Pace(0, lambda: now)
    assert [free.due(500), free.due(500)] == [200.0, 200.0]
