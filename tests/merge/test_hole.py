"""Rule M1: a hole is asked for once."""

from __future__ import annotations

from connector.merge.hole import ASK_AGAIN, Hole
from connector.merge.state import Evaluated
from tests.builders import evaluated, scan


def test_a_jump_is_asked_for_once() -> None:
    hole = Hole()
    assert [hole.seen(evaluated(p), now=1.0) for p in (7, 8, 9)] == [True, False, False]


def test_parts_of_one_record_are_one_jump() -> None:
    hole = Hole()
    parts = [evaluated(7) | {"part": n, "parts": 3} for n in range(3)]
    assert [hole.seen(p, now=1.0) for p in parts] == [True, False, False]  # type: ignore[arg-type]


def test_a_stream_that_rewound_and_jumps_again_is_asked_again() -> None:
    hole = Hole()
    assert [hole.seen(evaluated(p), now=1.0) for p in (7, 8, 7, 8)] == [True, False, True, False]


def test_the_next_hole_is_another() -> None:
    hole = Hole()
    assert hole.seen(evaluated(7), now=1.0)
    hole.closed(evaluated(7))
    assert hole.seen(evaluated(9), now=1.0)


def chunk(start: int, *, partition: int = 0) -> Evaluated:
    return evaluated(0, stream="t2", replay=scan(start, start + 10, partition=partition))


def test_a_hole_in_one_partition_of_a_replay_is_asked_for_once_while_the_others_go_on() -> None:
    hole = Hole()
    asked = []
    for start in (20, 30, 40):
        asked.append(hole.seen(chunk(start), now=1.0))
        hole.closed(chunk(start, partition=1))
    assert asked == [True, False, False]


def test_one_rewind_mends_the_holes_of_all_partitions() -> None:
    hole = Hole()
    holes = [chunk(20), chunk(50, partition=1), evaluated(7, stream="t2")]
    assert [hole.seen(c, now=1.0) for c in holes] == [True, False, False]


def test_a_partition_that_was_rewound_and_jumps_again_is_asked_for_again() -> None:
    hole = Hole()
    chunks = [chunk(20), chunk(90, partition=1), chunk(30), chunk(10, partition=1), chunk(20, partition=1)]
    assert [hole.seen(c, now=1.0) for c in chunks] == [True, False, False, True, False]


def test_a_hole_behind_a_mended_one_is_another() -> None:
    hole = Hole()
    assert hole.seen(chunk(20), now=1.0)
    hole.closed(chunk(0))
    assert hole.seen(chunk(50, partition=1), now=1.0)


def test_a_stream_that_goes_on_jumping_is_asked_again_after_a_while() -> None:
    hole = Hole()
    chunks = [chunk(start) for start in (20, 30, 40)]
    assert [hole.seen(c, now) for c, now in zip(chunks, (1.0, 2.0, 2.0 + ASK_AGAIN), strict=True)] == [
        True,
        False,
        True,
    ]
