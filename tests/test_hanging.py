"""What hangs is ended as its transaction was: a model writes transactions, loses markers, and is asked."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import Gap
from connector.hanging import committed_until, was_committed

PLACES = ("witness", "log", "left", "right")


@dataclass
class Log:
    """A partition: what is visible, and what hangs, each record's number and whether it was meant to be committed."""

    visible: list[int] = field(default_factory=list)
    tail: list[tuple[int, bool]] = field(default_factory=list)

    def end(self, number: int, *, committed: bool, marked: bool) -> None:
        """A transaction that wrote its record ends here, or the broker skips the marker."""
        self.tail.append((number, committed))
        if marked:  # the marker ends all that is open of its writer
            self.visible += [n for n, _ in self.tail] if committed else []
            self.tail = []


def numbers(log: Log) -> list[int]:
    return [number for number, _ in log.tail]


@given(st.sets(st.sampled_from(PLACES[1:])), st.sets(st.sampled_from(PLACES)), st.booleans(), st.integers(1, 4))
def test_the_last_transaction_ends_everywhere_as_it_ended_somewhere(
    written: set[str], skipped: set[str], committed: bool, size: int
) -> None:
    """Whatever markers are missing: where one is there it decides; where none is, nobody has seen anything."""
    logs = {place: Log([10]) for place in PLACES}
    last = 10 + size  # the transaction's records have the numbers 11 to this one, its last is in the witness
    for place in sorted(written):
        for number in range(11, last):
            logs[place].tail.append((number, committed))
    for place in sorted({"witness", *written}):
        logs[place].end(last, committed=committed, marked=place not in skipped)
    shown = max(logs["witness"].visible)
    seen = max(max(log.visible) for log in logs.values())
    until = committed_until(shown, numbers(logs["witness"]), seen)
    known = committed and any(last in log.visible for log in logs.values())
    for place, log in logs.items():
        if log.tail:
            assert was_committed(until, numbers(log), place) is known


def test_a_part_of_the_numbers_of_a_transaction_is_enough() -> None:
    """Where the transaction 11 to 14 shows only 12, what hangs of it at 14 was committed too."""
    assert committed_until(10, [14, 19], 12) == 14
    assert was_committed(14, [13, 14], "log [0] 7")
    assert not was_committed(14, [15, 19], "log [0] 7")


def test_what_is_seen_of_no_transaction_is_an_error() -> None:
    with pytest.raises(Gap, match="number 12 is visible"):
        committed_until(10, [11], 12)


@pytest.mark.parametrize("tail", [[14, 15], [14, None], [14, None, 15]])
def test_a_committed_and_an_aborted_one_open_as_one_are_an_error(tail: list[int | None]) -> None:
    with pytest.raises(Gap, match="holds both open as one") as found:
        was_committed(14, tail, "log [0] 7")
    assert found.value.where == "log [0] 7"


@pytest.mark.parametrize("tail", [[], [None], [None, 15], [15, None]])
def test_what_was_never_whole_is_aborted(tail: list[int | None]) -> None:
    assert not was_committed(14, tail, "log [0] 7")
