"""When a deployment switches (rules D3, D4, T6)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector.merge.settle import ready, waits
from connector.merge.state import Merge, Replayed
from tests.builders import TODOS
from tests.merge.test_judge import BOUNDED, pending, state_of

COMPLETE = {TODOS: 0}


def standing(
    *, main: int = 5, taken: int = 5, head: int | None = 5, done: bool = True, state: str = "catching_up"
) -> Merge:
    """Main and t2 at their positions; t2's replay wholly taken or not."""
    merge = state_of(pending(**BOUNDED, state=state, head=head), main=main, taken=taken)
    replayed = {key: Replayed(100, done) for key in merge.streams["t2"].partitions}
    return merge.with_stream(replace(merge.streams["t2"], partitions=replayed))


def waiting(merge: Merge, complete: dict[str, int | None] = COMPLETE) -> list[str]:
    pending_one = next(d for d in merge.catalog.deployments if d.pending)
    return list(waits(merge, pending_one, complete))


def test_a_deployment_that_stands_at_main_with_all_of_its_past_is_ready() -> None:
    merge = standing()
    assert waiting(merge) == []
    assert ready(merge, next(d for d in merge.catalog.deployments if d.pending), COMPLETE)


@pytest.mark.parametrize(
    "merge",
    [
        standing(done=False),  # F was announced while replay records were still on their way
        standing(head=None, state="replaying"),
        standing(head=6),
        standing(taken=4),
        standing(main=6, taken=5),
    ],
)
def test_it_waits_for_its_past_and_for_main(merge: Merge) -> None:
    assert len(waiting(merge)) == 1


@pytest.mark.parametrize("complete", [{}, {TODOS: None}, {TODOS: 6}])
def test_it_waits_for_its_tables_to_be_complete(complete: dict[str, int | None]) -> None:
    """Rule D3."""
    assert waiting(standing(), complete) == [f"{TODOS} is not complete"]
