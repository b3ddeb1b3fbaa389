"""What the demo claims of its two clients fails where it is not so."""

from __future__ import annotations

from typing import Any

import pytest

from examples.todo.connected import Cost, cost, unmet

BEFORE = {"1#global[]", '3#list_todos["l1"]'}
NOW = {"1#global[]", '10#list_todos["l1"]'}
SOUND: dict[str, Any] = {"requests": 1, "repeated": 0, "starts": dict.fromkeys(BEFORE | NOW, 1)}
HALF, WHOLE = Cost(5, 500), Cost(10, 1_000)


def test_what_is_as_it_is_to_be_leaves_nothing_unmet() -> None:
    assert unmet(SOUND, BEFORE, NOW, equal=True, again=HALF, full=WHOLE) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"equal": False}, "does not equal its rows"),
        ({"received": SOUND | {"requests": 2}}, "connect again"),
        ({"received": SOUND | {"repeated": 1}}, "mentioned"),
        ({"received": SOUND | {"starts": {"1#global[]": 2}}}, "downloaded again"),
        ({"now": {"11#global[]", '10#list_todos["l1"]'}}, "other definitions"),
        ({"now": BEFORE}, "other definitions"),
        ({"again": WHOLE}, "full re-sync"),
    ],
)
def test_what_is_not_is_said(changed: dict[str, Any], said: str) -> None:
    given = {"received": SOUND, "before": BEFORE, "now": NOW, "equal": True, "again": HALF, "full": WHOLE}
    (told,) = unmet(**given | changed)
    assert said in told


def test_a_cost_is_that_of_the_buckets_named() -> None:
    received = {"ops": {"a": 3, "b": 5, "c": 7}, "op_bytes": {"a": 30, "b": 50, "c": 70}}
    assert cost(received, {"a", "c", "empty"}) == Cost(10, 100)
