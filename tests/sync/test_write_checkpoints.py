"""Which requests of a client a checkpoint answers (rule V4)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.source.markers import LARGEST
from connector.sync.write_checkpoints import MOST_OPEN, Client, Told, WriteCheckpoints, following, needs_marker

ANN, BOB = Client("ann", "phone"), Client("bob", None)


def marker(client: Client, number: int, position: int) -> dict[str, Any]:
    return {"user": client.user, "client": client.client, "id": number, "position": position, "at": 0}


def fold(*records: dict[str, Any], most_clients: int = 100) -> WriteCheckpoints:
    folded = WriteCheckpoints(most_clients)
    for record in records:
        folded.add(record)
    return folded


def test_a_request_is_answered_by_the_first_checkpoint_at_its_marker() -> None:
    folded = fold(marker(ANN, 100, 5), marker(ANN, 200, 9))
    assert [folded.acknowledged(ANN, position) for position in (4, 5, 8, 9, 20)] == [None, 100, 100, 200, 200]
    assert folded.known(ANN) == 200


def test_clients_and_users_are_kept_apart() -> None:
    folded = fold(marker(Client("ann", None), 1, 1), marker(Client("ann", "phone"), 2, 1), marker(BOB, 3, 1))
    others = (Client("ann", "desk"), Client("bob", "phone"), Client("an", "nphone"))
    assert [folded.acknowledged(each, 1) for each in (Client("ann", None), ANN, BOB)] == [1, 2, 3]
    assert [folded.acknowledged(each, 1) for each in others] == [None, None, None]


@pytest.mark.parametrize("number", [100, 99, -1])
def test_a_repeated_or_lower_id_moves_nothing(number: int) -> None:
    """A connector set back, or a source whose log was: what is acknowledged never goes back."""
    folded = fold(marker(ANN, 100, 5))
    folded.answered(5)
    folded.add(marker(ANN, number, 9))
    assert [folded.acknowledged(ANN, position) for position in (4, 5, 9)] == [None, 100, 100]
    assert folded.answered(9) == set()


def test_those_whose_answer_has_come_are_named_once() -> None:
    folded = fold(marker(ANN, 1, 3), marker(BOB, 2, 4))
    assert folded.answered(2) == set()
    assert folded.answered(3) == {ANN}
    assert folded.answered(3) == set()
    assert folded.answered(7) == {BOB}
    folded.add(marker(ANN, 5, 6))  # it came later than its checkpoint
    assert folded.answered(7) == {ANN}


def test_who_has_asked_for_nothing_for_the_longest_time_is_forgotten() -> None:
    folded = fold(marker(ANN, 1, 1), marker(BOB, 2, 2), marker(ANN, 3, 3), most_clients=2)
    folded.add(marker(Client("eve", None), 4, 4))
    assert [folded.known(each) for each in (ANN, BOB)] == [3, None]


def test_somebody_who_asks_all_the_time_is_answered() -> None:
    """While no checkpoint comes, and one behind the newest marker at each that does; memory stays bounded."""
    folded = fold(*(marker(ANN, number, number) for number in range(1, 101)))
    assert [folded.acknowledged(ANN, position) for position in (0, 1, 100)] == [None, 1, 100]
    assert len(folded._found[ANN]) <= MOST_OPEN
    answers = []
    for number in range(101, 201):
        folded.answered(number - 50)
        folded.add(marker(ANN, number, number))
        answers.append(folded.acknowledged(ANN, number - 50))
    assert None not in answers[MOST_OPEN:]


@given(
    st.lists(st.tuples(st.sampled_from([ANN, BOB]), st.integers(1, 9), st.integers(0, 2), st.integers(0, 3))),
)
def test_nothing_is_acknowledged_early(steps: list[tuple[Client, int, int, int]]) -> None:
    """Whatever comes in whatever order: an id is answered at a position of a marker with that id or a higher one, and
    the newest known one is answered once its first marker is reached."""
    folded, position, looked, records = WriteCheckpoints(), 0, 0, []
    for client, number, further, behind in steps:
        position += further
        records.append(marker(client, number, position))
        folded.add(records[-1])
        looked = max(looked, position - behind)
        folded.answered(looked)
        for each in (ANN, BOB):
            of = [(r["id"], r["position"]) for r in records if (r["user"], r["client"]) == each]
            answer = folded.acknowledged(each, looked)
            assert answer is None or any(n == answer and p <= looked for n, p in of)
            highest = max((n for n, _ in of), default=0)
            if of and min(p for n, p in of if n == highest) <= looked:
                assert answer == highest


def test_a_checkpoint_request_as_recorded() -> None:
    """5, then 3 gets 5, then 7 (cr.ok, cr.stale, cr.int), before any marker has come back, and after."""
    told = Told()
    for known in (None, 5):
        assert needs_marker(5, known, told.highest(ANN, known)) is (known is None)
        told.add(ANN, 5)
        assert told.highest(ANN, known) == 5
        assert not needs_marker(3, known, 5)
        assert needs_marker(7, known, 5)


def test_what_was_told_and_has_not_come_is_emitted_again() -> None:
    told = Told()
    told.add(ANN, 5)
    assert needs_marker(5, None, told.highest(ANN, None))
    assert needs_marker(5, 4, told.highest(ANN, 4))
    assert not needs_marker(5, 5, told.highest(ANN, 5))


def test_what_was_told_is_bounded_and_gone_once_it_has_come() -> None:
    told = Told(most=2)
    for each in (ANN, BOB, Client("eve", None)):
        told.add(each, 1)
    assert [told.highest(each, None) for each in (ANN, BOB)] == [None, 1]
    assert told.highest(BOB, 3) == 3
    assert told.highest(BOB, None) is None


@pytest.mark.parametrize(
    ("highest", "least"), [(None, 1), (0, 1), (-7, 1), (41, 42), (LARGEST - 2, LARGEST - 1), (LARGEST, LARGEST - 1)]
)
def test_a_new_id_is_above_all_that_are_known(highest: int | None, least: int) -> None:
    """2^63-1 is what a client calls a local write without an id, so it is no id."""
    assert following(highest) == least
