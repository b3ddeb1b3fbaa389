"""What `verify --repair` says of what it did."""

from __future__ import annotations

from connector.cli.verify import Verified, lines


def told(left: int) -> str:
    return lines(Verified(position=4, parts=1, different=2, repaired=5, left=left), 1.0)[-1]


def test_a_repair_counts_only_where_all_is_equal_since() -> None:
    assert told(0) == "repaired at position 5, and equal since"
    assert "1 rows still differ" in told(1)
    assert "syncline gc" in told(1)
