"""What a plan takes a snapshot topic's records to be, from a few looks into it."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from connector.deploy.density import LOOK, LOOKS, Look, held, next_look

SIZE = 100  # bytes of a value


def looked(offsets: Iterable[int], high: int) -> list[Look]:
    """As many looks as are wanted into a partition that has records at these offsets."""
    there = sorted(offsets)
    looks: list[Look] = []
    while (where := next_look(0, high, looks)) is not None:
        start, limit = where
        seen = [offset for offset in there if start <= offset < limit][:LOOK]
        end = seen[-1] + 1 if len(seen) == LOOK else limit
        looks = sorted([*looks, Look(start, end, len(seen), len(seen) * SIZE)], key=lambda look: look.start)
    return looks


def some(low: int, high: int, share: float) -> list[int]:
    chance = random.Random(low + high)
    return [offset for offset in range(low, high) if chance.random() < share]


DIRTY = [*range(300_000, 320_000, 2)]  # a record and a marker each
SHAPES = {
    "whole": ([*range(50_000)], 50_000),
    "a marker for each record": ([*range(0, 50_000, 2)], 50_000),
    "few": ([*range(70)], 70),
    "one": ([0], 2),
    "markers alone": ([], 40),
    "cleaned, one tail": ([*some(0, 20_000, 0.9), *some(20_000, 300_000, 0.001), *DIRTY], 320_000),
    "cleaned to nothing but its tail": (DIRTY, 320_000),
    "thin": (some(0, 300_000, 0.01), 300_000),
    "loaded late": ([*some(0, 150_000, 0.0005), *some(150_000, 200_000, 0.8), *DIRTY], 320_000),
    "thinner and thinner": ([n for n in range(200_000) if random.Random(n).random() < 1 - n / 200_000], 200_000),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_few_looks_tell_what_is_there(name: str) -> None:
    """Not how many offsets there are, which never shrink."""
    offsets, high = SHAPES[name]
    looks = looked(offsets, high)
    assert len(looks) <= LOOKS
    assert held(looks).records == pytest.approx(len(offsets), rel=0.25)
    assert held(looks).bytes == pytest.approx(len(offsets) * SIZE, rel=0.25)


def test_what_is_wholly_seen_is_exact() -> None:
    assert held(looked(range(70), 70)).records == 70
    assert looked([], 0) == []
    assert held([]).records == 0
