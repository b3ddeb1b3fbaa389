"""Take-over on an idle source: main announces at a position that is taken already (rule D5)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector.merge.draft import Draft
from connector.merge.judge import Verdict, judge
from connector.merge.state import Counted, Merge, Stream
from tests.builders import catalog, evaluated, tributary, version


def switched(*, main: int, delivered: int) -> Merge:
    """Version 2 is exposed and still comes by t2, which stands at `delivered`."""
    known = catalog(version(1), version(2, stream="t2"), tributaries=(tributary(2, [2], state="taking_over"),))
    state = Merge().with_catalog(known).with_stream(Stream("main", position=main))
    return replace(state, versions={1: Counted(position=main), 2: Counted(position=delivered)})


def announce(state: Merge, position: int, versions: tuple[int, ...] = (1, 2)) -> Merge:
    record = evaluated(position, versions=versions)
    assert judge(state, "main", record) is Verdict.DROP
    draft = Draft(state)
    draft.announced(record)
    assert draft.changed is (draft.state.catalog is not state.catalog)
    return draft.state


def test_main_has_taken_over_and_the_tributary_has_ended() -> None:
    after = announce(switched(main=5, delivered=5), 5).catalog
    assert [v.stream for v in after.versions] == ["main", "main"]
    assert after.tributaries == ()


def test_from_then_on_main_must_answer_for_it() -> None:
    after = announce(switched(main=5, delivered=5), 5)
    assert judge(after, "main", evaluated(6, versions=[1])) is Verdict.REFUSE
    assert judge(after, "main", evaluated(6, versions=[1, 2])) is Verdict.TAKE


@pytest.mark.parametrize(
    ("main", "delivered", "at", "versions"),
    [(5, 4, 5, (1, 2)), (6, 6, 5, (1, 2)), (5, 5, 5, (1,))],
    ids=["tributary behind", "old announcement", "not answered for"],
)
def test_nothing_changes_where_it_is_not_so(main: int, delivered: int, at: int, versions: tuple[int, ...]) -> None:
    state = switched(main=main, delivered=delivered)
    assert announce(state, at, versions).catalog is state.catalog


def test_another_evaluation_takes_nothing_over() -> None:
    state = switched(main=5, delivered=5)
    draft = Draft(state)
    draft.announced(evaluated(5, versions=[1, 2], evaluation="of another level"))
    assert draft.state.catalog is state.catalog
