"""Rule M1: a hole is asked for once."""

from __future__ import annotations

from connector.merge.hole import ASK_AGAIN, Hole
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
    hole.closed()
    assert hole.seen(evaluated(9), now=1.0)


def test_a_stream_that_goes_on_jumping_is_asked_again_after_a_while() -> None:
    hole = Hole()
    records = [evaluated(0, stream="t2", replay=scan(start, start + 10)) for start in (20, 30, 40)]
    assert [hole.seen(r, now) for r, now in zip(records, (1.0, 2.0, 2.0 + ASK_AGAIN), strict=True)] == [
        True,
        False,
        True,
    ]
