"""What is taken, what waits, what is dropped, and where a hole is seen (rules M1, M4, T3, T4, T6)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector.merge.assembly import Assembly
from connector.merge.catalog import Catalog
from connector.merge.judge import Verdict, judge
from connector.merge.state import Merge, Replayed, Stream
from tests.builders import (
    catalog,
    deployment,
    ends,
    evaluated,
    row,
    scan,
    source_key,
    table_of,
    tributary,
    version,
)

MAIN_AT_5 = Merge(streams={"main": Stream("main", position=5)})


def pending(**changes: object) -> Catalog:
    """Version 1 is exposed, version 2 comes by t2."""
    return catalog(
        version(1),
        version(2, state="pending", stream="t2"),
        deployments=(deployment(1, [1]), deployment(2, [1, 2], state="replaying")),
        tributaries=(tributary(2, [2], **changes),),
    )


def state_of(known: Catalog, *, main: int = 5, taken: int = 2) -> Merge:
    """Main at one position, t2 at another."""
    state = MAIN_AT_5.with_stream(Stream("main", position=main)).with_catalog(known)
    for stream in known.tributaries:
        state = state.with_stream(replace(state.streams[stream.name], position=taken))
    positions = {1: main, 2: taken}
    return replace(state, versions={n: replace(v, position=positions[n]) for n, v in state.versions.items()})


@pytest.mark.parametrize(
    ("position", "verdict"), [(4, Verdict.DROP), (5, Verdict.DROP), (6, Verdict.TAKE), (7, Verdict.JUMP)]
)
def test_main_is_taken_densely(position: int, verdict: Verdict) -> None:
    state = state_of(catalog(version(1)))
    assert judge(state, "main", evaluated(position, versions=[1])) is verdict


def test_an_answer_by_another_evaluation_is_not_taken() -> None:
    state = state_of(catalog(version(1)))
    assert judge(state, "main", evaluated(6, versions=[1], evaluation="e2")) is Verdict.REFUSE


def test_an_answer_that_lacks_a_version_of_main_is_a_zombies() -> None:
    state = state_of(catalog(version(1), version(2)), taken=5)
    assert judge(state, "main", evaluated(6, versions=[1])) is Verdict.REFUSE


def test_a_retained_version_holds_nothing_back() -> None:
    """Rule M6."""
    state = state_of(catalog(version(1), version(2, state="retained")))
    assert judge(state, "main", evaluated(6, versions=[1])) is Verdict.TAKE
    assert judge(state, "main", evaluated(6, versions=[1, 2])) is Verdict.TAKE


def test_main_does_not_wait_for_a_pending_tributary() -> None:
    assert judge(state_of(pending()), "main", evaluated(6, versions=[1])) is Verdict.TAKE


def test_main_waits_for_a_tributary_that_delivers_what_is_exposed() -> None:
    """Rule M2: exposed versions are taken in step."""
    delivering = tributary(2, [2], state="taking_over", bounded=True)
    known = catalog(version(1), version(2, stream="t2"), tributaries=(delivering,))
    assert judge(state_of(known, taken=4), "main", evaluated(6, versions=[1])) is Verdict.HOLD
    state = state_of(known, taken=5)
    assert judge(state, "main", evaluated(6, versions=[1])) is Verdict.HOLD, "the other's may stop a version"
    assert judge(state, "main", evaluated(6, versions=[1, 2])) is Verdict.TAKE, "the other's will not be read"
    assert judge(state, "t2", evaluated(6, versions=[], stream="t2")) is Verdict.REFUSE
    assert judge(state, "t2", evaluated(6, versions=[2], stream="t2")) is Verdict.LOOK
    looked = replace(state, looked={"t2": 6})
    assert judge(looked, "main", evaluated(6, versions=[1])) is Verdict.TAKE
    assert judge(looked, "t2", evaluated(6, versions=[2], stream="t2")) is Verdict.HOLD


def test_nothing_is_stopped_inside_a_record_of_main_or_beside_a_landing() -> None:
    """Rule T2: a stop there would leave a definition at two positions, or with half of a record."""
    delivering = tributary(2, [2], state="taking_over", bounded=True)
    known = catalog(version(1), version(2, stream="t2"), tributaries=(delivering,))
    record = evaluated(6, versions=[2], stream="t2")
    state = state_of(known, taken=5)
    assert judge(state, "t2", record) is Verdict.LOOK
    assert judge(replace(state, cursors={"main": 3}), "t2", record) is Verdict.HOLD
    landing = replace(known, tributaries=(delivering, tributary(3, [], state="landing", bounded=True)))
    assert judge(replace(state, catalog=landing), "t2", record) is Verdict.HOLD


BOUNDED = {"bounded": True, "ends": ends(100, 0)}


@pytest.mark.parametrize(
    ("start", "end", "verdict"),
    [(0, 10, Verdict.DROP), (30, 50, Verdict.DROP), (40, 60, Verdict.TAKE), (60, 80, Verdict.JUMP)],
)
def test_only_a_replay_record_that_begins_where_the_last_ended_is_taken(start: int, end: int, verdict: Verdict) -> None:
    """Rule T6."""
    state = state_of(pending(**BOUNDED))
    partitions = {("public.todos", 0): Replayed(40), ("public.todos", 1): Replayed(done=True)}
    state = state.with_stream(replace(state.streams["t2"], partitions=partitions))
    record = evaluated(0, stream="t2", versions=[2], replay=scan(start, end))
    assert judge(state, "t2", record) is verdict


def test_a_replay_record_of_an_unknown_partition_or_before_the_bounds_is_refused() -> None:
    record = evaluated(0, stream="t2", versions=[2], replay=scan(0, 10, partition=7))
    assert judge(state_of(pending(**BOUNDED)), "t2", record) is Verdict.REFUSE
    assert judge(state_of(pending()), "t2", record) is Verdict.REFUSE


def test_no_replay_record_of_a_partition_that_is_done() -> None:
    record = evaluated(0, stream="t2", versions=[2], replay=scan(0, 10, partition=1))
    assert judge(state_of(pending(**BOUNDED)), "t2", record) is Verdict.DROP


def test_no_change_of_a_tributary_before_its_replay_is_whole() -> None:
    """Rule T6: what comes before is a hole in the replay."""
    record = evaluated(3, stream="t2", versions=[2])
    assert judge(state_of(pending(**BOUNDED)), "t2", record) is Verdict.JUMP
    assert judge(state_of(pending()), "t2", record) is Verdict.JUMP


def replayed(*, main: int, taken: int) -> Merge:
    state = state_of(pending(**BOUNDED, state="catching_up", head=5), main=main, taken=taken)
    done = {key: Replayed(100, True) for key in state.streams["t2"].partitions}
    return state.with_stream(replace(state.streams["t2"], partitions=done))


@pytest.mark.parametrize(("position", "verdict"), [(2, Verdict.DROP), (3, Verdict.TAKE), (4, Verdict.JUMP)])
def test_a_tributary_is_taken_densely(position: int, verdict: Verdict) -> None:
    record = evaluated(position, stream="t2", versions=[2])
    assert judge(replayed(main=5, taken=2), "t2", record) is verdict


def test_a_tributary_is_held_back_where_main_is() -> None:
    """Rule M4."""
    assert judge(replayed(main=5, taken=5), "t2", evaluated(6, stream="t2", versions=[2])) is Verdict.HOLD


def test_nothing_is_taken_of_an_aligned_tributary() -> None:
    state = state_of(pending(**BOUNDED, state="aligned", head=5), main=9)
    assert judge(state, "t2", evaluated(3, stream="t2", versions=[2])) is Verdict.HOLD


def test_parts_are_taken_from_one_complete_attempt() -> None:
    """Rule T4: two writers interleave, one of them dies."""
    tables = [table_of({source_key(f"k{n}"): row(f"k{n}")}, {}) for n in range(3)]

    def part(attempt: str, number: int) -> dict[str, object]:
        return {**evaluated(6, [tables[number]]), "attempt": attempt, "part": number, "parts": 3}

    assembly = Assembly()
    given = [("dead", 0), ("live", 0), ("dead", 1), ("live", 1), ("live", 2)]
    wholes = [assembly.add(part(*g)) for g in given]  # type: ignore[arg-type]
    assert wholes[:4] == [None] * 4
    assert wholes[4] is not None
    assert wholes[4]["tables"] == tables


def test_a_part_without_the_one_before_is_void() -> None:
    assembly = Assembly()
    record = {**evaluated(6), "parts": 3}
    assert assembly.add({**record, "part": 0}) is None  # type: ignore[arg-type,typeddict-item]
    assert assembly.add({**record, "part": 2}) is None  # type: ignore[arg-type,typeddict-item]
    assert assembly.add({**record, "part": 1}) is None  # type: ignore[arg-type,typeddict-item]
