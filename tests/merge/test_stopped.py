"""A bad definition alone suffers: it stops, its buckets freeze, all others go on (law 11, rules T2, M6)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.merge.catalog import DeployedDefinition, DeployedPart, Overlay
from connector.merge.state import Evaluated, RejectedRow, standing
from connector.merge.stopped import Patience
from tests.builders import (
    TODOS,
    by_owner,
    catalog,
    deployment,
    evaluated,
    everywhere,
    row,
    source_key,
    table_of,
    tributary,
    version,
)
from tests.merge.desk import Desk

TWO = {1: by_owner, 2: everywhere}


def rejected(number: int, name: str) -> RejectedRow:
    place = {"topic": "source.public.todos", "partition": 0, "offset": 7}
    return {"version": number, "table": TODOS, "key": source_key(name), "reason": "no such column", **place}  # type: ignore[typeddict-item]


def batch(position: int, name: str, bad: tuple[int, ...] = (), **fields: Any) -> Evaluated:
    good = {v: e for v, e in TWO.items() if v not in bad}
    table = table_of({source_key(name): row(name)}, good) | {"versions": [1, 2]}
    rows = [rejected(v, name) for v in bad]
    return evaluated(position, [table], versions=[1, 2], rejected=rows, **fields)  # type: ignore[list-item]


def both(**patience: Any) -> Desk:
    return Desk(catalog(version(1), version(2)), patience=Patience(**patience))


def stopped(desk: Desk) -> list[tuple[int, int]]:
    return [(v.version, v.stopped_position) for v in desk.catalog.versions if v.stopped_at]


def test_beyond_the_threshold_it_stops_before_the_batch_and_the_others_go_on() -> None:
    desk = both(stop_after=2)
    desk.feed(batch(1, "a"), batch(2, "b", (2,)), batch(3, "c", (2,)), batch(4, "a", (2,)), batch(5, "d"))
    desk.run()
    assert stopped(desk) == [(2, 3)]
    assert "3 rows rejected, more than stop_after = 2" in desk.catalog.versions[1].stopped_because
    assert "no such column" in desk.catalog.versions[1].stopped_because
    assert desk.counted(2)["rejected"] == 3
    assert len(desk.rejected) == 3
    last = desk.commits[-1]
    assert (last["position"], last["exposed"]) == (5, True)
    assert [op["position"] for op in desk.oplogs[1]] == [1, 2, 3, 5]
    assert [op["position"] for op in desk.oplogs[2]] == [1], "frozen: the row of position 4 keeps its last good image"
    assert 2 not in standing(desk.state)


def test_without_a_threshold_nothing_stops() -> None:
    desk = both()
    desk.feed(*[batch(n, "a", (2,)) for n in range(1, 50)])
    desk.run()
    assert stopped(desk) == []


@pytest.mark.parametrize("crash", [False, True])
def test_what_was_rejected_before_the_switch_counts_no_more_after_it(crash: bool) -> None:
    desk = pending("catching_up")
    desk.patience = Patience(stop_after=2)
    for position in (1, 2):
        desk.feed(evaluated(position, versions=[1]))
        desk.feed(evaluated(position, stream="t2", versions=[2], rejected=[rejected(2, "a")]))
    desk.run()
    assert (desk.catalog.generation, desk.counted(2)["rejected"]) == (2, 2)
    if crash:
        desk.crash()
    desk.feed(*[evaluated(position, versions=[1, 2], rejected=[rejected(2, "a")]) for position in (3, 4, 5)])
    desk.run()
    assert stopped(desk) == [(2, 4)]
    assert desk.catalog.versions[1].stopped_because.startswith("3 rows rejected, more than stop_after = 2")
    assert desk.counted(2)["rejected"] == 5, "status counts them all"


def test_a_definition_that_asks_for_it_stops_at_the_first_rejected_row() -> None:
    desk = both(none_for=frozenset(["d2"]))
    desk.feed(batch(1, "a"), batch(2, "b", (1, 2)), batch(3, "c"))
    desk.run()
    assert stopped(desk) == [(2, 1)]
    assert desk.catalog.versions[1].stopped_because.startswith("on_error is stop; ")
    assert desk.commits[-1]["position"] == 3


def test_a_version_that_hangs_stops_without_any_threshold() -> None:
    """Rule T2."""
    desk = both()
    desk.feed(batch(1, "a"), {**batch(2, "b", (2,)), "hung": [2]}, batch(3, "c"))
    desk.run()
    assert stopped(desk) == [(2, 1)]


def test_main_need_not_answer_for_a_stopped_version() -> None:
    desk = both(stop_after=1)
    desk.feed(batch(1, "a", (2,)), batch(2, "b", (2,)))
    desk.feed(evaluated(3, [table_of({source_key("c"): row("c")}, {1: by_owner})]))
    desk.run()
    assert desk.commits[-1]["position"] == 3


@pytest.mark.parametrize("crash", ["before", "after"])
def test_it_stays_stopped_whatever_crashes(crash: str) -> None:
    desk = both(stop_after=1)
    desk.records_per_draft = 1
    desk.feed(batch(1, "a", (2,)), batch(2, "b", (2,)), batch(3, "c"))
    desk.round()
    desk.round(crash=crash)
    desk.run()
    assert stopped(desk) == [(2, 1)]
    assert desk.oplogs.get(2, []) == []
    assert desk.commits[-1]["position"] == 3


def test_its_definition_stops_as_a_whole_but_not_what_others_share() -> None:
    """Lookups and buckets stay of one position."""
    known = catalog(version(1), version(2), version(3))
    parts = {n: DeployedPart("bucket", f"p{n}", n, "") for n in (1, 2, 3)}
    definitions = (
        DeployedDefinition("x", 3, "[]", (parts[1], parts[2])),
        DeployedDefinition("y", 3, "[]", (parts[2], parts[3])),
    )
    active = replace(known.deployments[0], definitions=definitions)
    desk = Desk(replace(known, deployments=(active,)), patience=Patience(0, frozenset("x")))
    desk.feed(evaluated(1, versions=[1, 2, 3], rejected=[rejected(1, "a")]))
    desk.run()
    assert [v for v, _ in stopped(desk)] == [1]
    desk.feed(evaluated(2, versions=[2, 3], rejected=[rejected(2, "a")]))
    desk.run()
    assert [v for v, _ in stopped(desk)] == [1, 2, 3], "a part of x, which may have no error"
    assert desk.commits[-1]["position"] == 2


def pending(state: str, **changes: Any) -> Desk:
    """Version 1 is exposed; version 2 comes by t2."""
    head = 0 if state == "catching_up" else None
    known = catalog(
        version(1),
        version(2, state="pending", stream="t2"),
        deployments=(deployment(1, [1]), deployment(2, [1, 2], state=state)),
        tributaries=(tributary(2, [2], state=state, bounded=True, head=head),),
    )
    return Desk(known, patience=Patience(1), **changes)


def test_a_pending_version_that_would_be_stopped_fails_its_deployment() -> None:
    """Law 10: the active one goes on untouched."""
    desk = pending("catching_up", complete={})
    one = {1: by_owner}
    desk.feed(*[evaluated(n, [table_of({source_key("a"): row("a", text=str(n))}, one)]) for n in (1, 2, 3)])
    desk.feed(*[evaluated(n, stream="t2", versions=[2], rejected=[rejected(2, "a")]) for n in (1, 2, 3)])
    desk.run()
    failed = desk.catalog.deployment(2)
    assert failed is not None
    assert failed.state == "failed"
    assert "version 2 would be stopped: 2 rows rejected" in failed.reason
    assert [(v.version, v.stopped_at) for v in desk.catalog.versions] == [(1, 0)]
    assert desk.catalog.tributaries == ()
    assert (desk.commits[-1]["position"], desk.commits[-1]["exposed"]) == (3, True)
    assert len(desk.oplogs[1]) == 3


def test_a_tributary_is_done_with_a_version_that_stops_after_the_switch() -> None:
    """It would wait for its take-over for ever."""
    known = catalog(
        version(1),
        version(2, stream="t2"),
        tributaries=(tributary(2, [2], state="taking_over", bounded=True, head=0),),
    )
    desk = Desk(known, patience=Patience(0, frozenset(["d2"])))
    desk.feed(*[evaluated(n, versions=[1]) for n in (1, 2)])
    desk.feed(evaluated(1, stream="t2", versions=[2], rejected=[rejected(2, "a")]))
    desk.run()
    assert stopped(desk) == [(2, 0)]
    assert desk.catalog.tributaries == ()
    assert desk.commits[-1]["position"] == 2


def taking_over(*, parts: dict[str, tuple[int, ...]], streams: dict[int, str], **patience: Any) -> Desk:
    """Definitions by the numbers of their parts; main delivers what `streams` does not name."""
    known = catalog(*(version(n, stream=streams.get(n, "main")) for n in range(1, 1 + max(map(max, parts.values())))))
    definitions = tuple(
        DeployedDefinition(name, 3, "[]", tuple(DeployedPart("bucket", f"p{n}", n, "") for n in numbers))
        for name, numbers in parts.items()
    )
    names = {stream: [n for n, s in streams.items() if s == stream] for stream in streams.values()}
    tributaries = tuple(
        tributary(int(name[1:]), numbers, state="taking_over", bounded=True, head=0) for name, numbers in names.items()
    )
    active = replace(known.deployments[0], definitions=definitions)
    known = replace(known, deployments=(active,), tributaries=tributaries)
    return Desk(known, patience=Patience(**patience))


def of_one(number: int, position: int, stream: str, *, bad: bool = False) -> Evaluated:
    """What a stream says of one version whose row changes at each position; or that it cannot be evaluated."""
    table = table_of({source_key("a"): row("a", text=str(position))}, {} if bad else {number: everywhere})
    table = table | {"versions": [number]}  # type: ignore[assignment]
    rows = [rejected(number, "a")] if bad else []
    return evaluated(position, [table], versions=[number], stream=stream, rejected=rows)


@pytest.mark.parametrize("late", [False, True])
def test_a_definition_split_between_main_and_a_tributary_stops_at_one_position(late: bool) -> None:
    """Main has position 2 long before the tributary says that it cannot evaluate it."""
    desk = taking_over(parts={"x": (1, 2), "y": (3,)}, streams={2: "t2"}, none_for=frozenset("x"))
    for position in (1, 2, 3):
        changed = {source_key("a"): row("a", text=str(position))}
        desk.feed(evaluated(position, [table_of(changed, {1: everywhere, 3: everywhere})]))
    desk.feed(of_one(2, 1, "t2"))
    if late:
        desk.run()
        assert desk.commits[-1]["position"] == 1
    desk.feed(of_one(2, 2, "t2", bad=True))
    desk.run()
    assert stopped(desk) == [(1, 1), (2, 1)]
    assert [op["position"] for op in desk.oplogs[1]] == [1]
    assert [op["position"] for op in desk.oplogs[2]] == [1]
    assert (desk.commits[-1]["position"], desk.commits[-1]["exposed"]) == (3, True)
    assert [op["position"] for op in desk.oplogs[3]] == [1, 2, 3]
    assert len(desk.rejected) == 1


@pytest.mark.parametrize("crash", [None, "before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("order", [("t2", "t3"), ("t3", "t2")])
def test_a_definition_split_between_tributaries_stops_at_one_position(
    order: tuple[str, str], at: int, crash: str | None
) -> None:
    desk = taking_over(parts={"x": (1, 2)}, streams={1: "t2", 2: "t3"}, none_for=frozenset("x"))
    desk.records_per_draft = 1
    desk.feed(*(evaluated(n, versions=[]) for n in (1, 2, 3)))
    for stream in order:
        number = {"t2": 1, "t3": 2}[stream]
        desk.feed(*(of_one(number, n, stream, bad=(stream, n) == ("t3", 2)) for n in (1, 2, 3)))
    for _ in range(at):
        desk.round()
    desk.round(crash=crash)
    desk.run()
    assert stopped(desk) == [(1, 1), (2, 1)]
    assert [op["position"] for op in desk.oplogs[1]] == [1]
    assert (desk.commits[-1]["position"], desk.commits[-1]["exposed"]) == (3, True)


@settings(max_examples=80, deadline=None)
@given(
    moved=st.integers(1, 5),
    bad=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    arrivals=st.lists(st.sampled_from(["main", "t2", "t3"]), max_size=12),
    crashes=st.lists(st.sampled_from([None, "before", "after"]), max_size=12),
)
def test_whoever_delivers_it_and_when_a_definition_stops_at_one_position(
    moved: int, bad: tuple[int, int], arrivals: list[str], crashes: list[str | None]
) -> None:
    """Version 1 is main's, 2 and 3 are taken over by it at position `moved`; one of them has a bad row somewhere."""
    desk = taking_over(parts={"x": (1, 2, 3), "y": (4,)}, streams={2: "t2", 3: "t3"}, none_for=frozenset("x"))
    coming = {
        "main": [of_main(n, (1, 2, 3) if n >= moved else (1,), bad) for n in range(1, 5)],
        "t2": [of_one(2, n, "t2", bad=(2, n) == bad) for n in range(1, 5)],
        "t3": [of_one(3, n, "t3", bad=(3, n) == bad) for n in range(1, 5)],
    }
    after = itertools.chain(crashes, itertools.repeat(None))
    for stream in [*arrivals, *(name for name in coming for _ in range(4))]:
        if coming[stream]:
            desk.feed(coming[stream].pop(0))
        desk.round(crash=next(after))
    desk.run()
    assert stopped(desk) == [(number, bad[1] - 1) for number in (1, 2, 3)]
    assert [op["position"] for op in desk.oplogs[4]] == [1, 2, 3, 4]
    for number in (1, 2, 3):
        assert [op["position"] for op in desk.oplogs.get(number, [])] == list(range(1, bad[1]))
    assert (desk.commits[-1]["position"], desk.commits[-1]["exposed"]) == (4, True)


def renamed(desk: Desk, name: str, number: int) -> None:
    """The merge accepts a deploy in which a definition of this name has the version too, and commits that."""
    wanted = DeployedDefinition(name, 3, "[]", (DeployedPart("bucket", f"p{number}", number, ""),))
    coming = replace(deployment(7, [], state="catching_up"), definitions=(wanted,))
    desk.catalog = replace(desk.catalog, deployments=(*desk.catalog.deployments, coming))
    desk.state = desk.state.with_catalog(desk.catalog)
    desk.complete = {}  # it stays pending


def test_what_a_deploy_asks_between_the_look_and_the_record_counts_for_all_of_a_definition() -> None:
    """Main's record comes after the request: neither part of the definition is taken to it."""
    desk = taking_over(parts={"x": (1, 2)}, streams={2: "t2"}, none_for=frozenset("z"))
    desk.feed(of_one(1, 1, "main"), of_one(2, 1, "t2"), of_one(2, 2, "t2", bad=True))
    desk.run()
    assert desk.state.looked == {"t2": 2}
    renamed(desk, "z", 2)
    desk.feed(of_one(1, 2, "main"))
    desk.run()
    assert stopped(desk) == [(1, 1), (2, 1)]


def test_what_a_deploy_asks_once_main_has_a_position_counts_from_the_next_one_on() -> None:
    desk = taking_over(parts={"x": (1, 2)}, streams={2: "t2"}, none_for=frozenset("z"))
    desk.feed(of_one(1, 1, "main"), of_one(2, 1, "t2"), of_one(2, 2, "t2", bad=True))
    desk.run()
    late = desk.evaluated["t2"].pop()
    desk.feed(of_one(1, 2, "main"))
    desk.run()
    assert desk.state.main.position == 2
    renamed(desk, "z", 2)
    desk.feed(late, of_one(1, 3, "main"), of_one(2, 3, "t2", bad=True))
    desk.run()
    assert stopped(desk) == [(1, 2), (2, 2)]
    assert desk.counted(2)["rejected"] == 2


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("name", ["x", "y"])
def test_nothing_is_stopped_inside_a_record_whatever_is_asked_meanwhile(
    name: str, crash: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Main's record 2 takes several commits. Between two of them what may have no error becomes another; the record
    of t2, which had been looked at, need not be looked at again."""
    monkeypatch.setattr("connector.merge.draft.OPS_PER_TRANSACTION", 3)
    monkeypatch.setattr("connector.merge.draft.SLICE", 1)
    desk = taking_over(parts={"x": (1, 2), "y": (3,)}, streams={2: "t2"}, none_for=frozenset())
    many = {source_key(f"k{n}"): row(f"k{n}") for n in range(8)}
    for number, rows in ((1, {}), (2, many)):
        bad = [rejected(1, "bad"), rejected(3, "bad")] if number == 2 else []
        desk.feed(evaluated(number, [table_of(rows, {1: everywhere, 3: everywhere})], rejected=bad))
        desk.feed(of_one(2, number, "t2"))
    while "main" not in desk.state.cursors:
        assert desk.round()
    if crash:
        desk.crash()
    desk.patience = Patience(none_for=frozenset(name))
    desk.run()
    assert stopped(desk) == []
    assert desk.commits[-1]["position"] == 2
    desk.feed(evaluated(3, versions=[1, 3], rejected=[rejected(1, "bad"), rejected(3, "bad")]), of_one(2, 3, "t2"))
    desk.run()
    assert {number for number, at in stopped(desk) if at == 2} == {"x": {1, 2}, "y": {3}}[name]


def of_main(position: int, numbers: tuple[int, ...], bad: tuple[int, int]) -> Evaluated:
    """What main says of these and of version 4."""
    answered = [*numbers, 4]
    good = {n: everywhere for n in answered if (n, position) != bad}
    table = table_of({source_key("a"): row("a", text=str(position))}, good) | {"versions": answered}
    rows = [rejected(n, "a") for n in answered if (n, position) == bad]
    return evaluated(position, [table], versions=answered, rejected=rows)  # type: ignore[list-item]


def test_what_a_tributary_says_in_parts_is_looked_at_whole() -> None:
    """Rule T4: only the last part has the row that cannot be evaluated."""
    desk = taking_over(parts={"x": (1, 2)}, streams={2: "t2"}, none_for=frozenset("x"))
    desk.feed(*(of_one(1, n, "main") for n in (1, 2)))
    first, last = of_one(2, 1, "t2"), of_one(2, 1, "t2", bad=True)
    desk.feed({**first, "part": 0, "parts": 2}, {**last, "part": 1, "parts": 2})
    desk.run()
    assert stopped(desk) == [(1, 0), (2, 0)]
    assert desk.oplogs == {}
    assert desk.commits[-1]["position"] == 2


def test_an_answer_that_lacks_a_version_holds_main_up_no_longer_than_the_true_one_needs() -> None:
    desk = taking_over(parts={"x": (1, 2)}, streams={2: "t2"}, none_for=frozenset("x"))
    desk.feed(of_one(1, 1, "main"), evaluated(1, stream="t2", versions=[]), of_one(2, 1, "t2"))
    desk.run()
    assert stopped(desk) == []
    assert desk.commits[-1]["position"] == 1


def test_a_verify_copy_never_stops() -> None:
    """It has the rejected rows that the live one had."""
    desk = pending("catching_up", complete={})
    copy = replace(desk.catalog.versions[1], state="throwaway")
    known = replace(desk.catalog, versions=(desk.catalog.versions[0], copy))
    deployments = (known.deployments[0], replace(known.deployments[1], kind="verify", definitions=()))
    desk.catalog = replace(known, deployments=deployments)
    desk.crash()
    desk.feed(*[evaluated(n, versions=[1]) for n in (1, 2, 3)])
    records = [evaluated(n, stream="t2", versions=[2], rejected=[rejected(2, "a")]) for n in (1, 2, 3)]
    desk.feed(*records)
    desk.run()
    assert [t.name for t in desk.catalog.tributaries] == ["t2"]
    assert desk.counted(2)["rejected"] == 3


def test_a_kept_version_that_hangs_does_not_come_back() -> None:
    """Its stream asked it for nothing, so that all rows of the batch seem to be without output (law 9)."""
    known = catalog(version(1), version(2, state="retained", dropped_at=9_000_000))
    coming = deployment(3, [1, 2], state="catching_up")
    deployments = (deployment(1, [2], state="retained"), deployment(2, [1]), coming)
    desk = Desk(replace(known, deployments=deployments[:2], next_generation=4), patience=Patience(1))
    desk.feed(batch(1, "a"), batch(2, "a", (2,)), batch(3, "b", (2,)))
    desk.run()
    assert stopped(desk) == [], "rejected rows alone are outputs like others"
    desk.feed(batch(4, "c"), {**batch(5, "c", (2,)), "hung": [2]})
    desk.run()
    assert stopped(desk) == [(2, 4)]
    assert 2 not in standing(desk.state)
    assert [op["op"] for op in desk.oplogs[2]] == ["PUT", "REMOVE", "PUT"]
    desk.catalog = replace(desk.catalog, deployments=(*deployments[:2], coming))
    desk.crash()
    desk.run()
    failed = desk.catalog.deployment(3)
    assert failed is not None
    assert failed.state == "failed"


def test_an_overlay_that_would_be_stopped_fails_and_the_stopped_one_stays() -> None:
    desk = pending("catching_up", complete={})
    still = replace(desk.catalog.versions[0], stopped_at=5, stopped_because="bad")
    copy = replace(desk.catalog.versions[1], state="throwaway")
    known = replace(desk.catalog, versions=(still, copy))
    overlay = replace(known.tributaries[0], overlays=(Overlay(2, 1),))
    resume = replace(known.deployments[1], kind="resume", definitions=())
    desk.catalog = replace(known, tributaries=(overlay,), deployments=(known.deployments[0], resume))
    desk.crash()
    desk.feed(*[evaluated(n, versions=[]) for n in (1, 2)])
    desk.feed(*[evaluated(n, stream="t2", versions=[2], rejected=[rejected(2, "a")]) for n in (1, 2)])
    desk.run()
    failed = desk.catalog.deployment(2)
    assert failed is not None
    assert failed.state == "failed"
    assert [(v.version, v.stopped_because) for v in desk.catalog.versions] == [(1, "bad")]
