"""From last outputs to ops (law 4)."""

from __future__ import annotations

from connector.merge.rows import Changes
from tests.builders import out, source_key
from tests.merge.desk import DictRows

KEY = (7, source_key("k1"))


def compare(changes: Changes, rows: DictRows, *given: tuple[str, str, str]) -> list[tuple[object, ...]]:
    """Compare row k1 of version 7 with these (bucket, id, text) outputs; the ops that came of it."""
    before = len(changes.ops)
    outputs = [{"versions": [7], **out(*g)._asdict()} for g in given]
    changes.compare(KEY, changes.before([KEY], rows)[0], outputs, position=5)
    return [(o["op"], o["bucket"], o["object_id"], o["data"], o["added"]) for o in changes.ops[before:]]


def test_a_new_output_is_put() -> None:
    assert compare(Changes(100), DictRows(), ("[1]", "k", "x")) == [("PUT", "[1]", "k", "x", True)]


def test_an_equal_output_writes_nothing() -> None:
    changes = Changes(100)
    compare(changes, DictRows(), ("[1]", "k", "x"))
    assert compare(changes, DictRows(), ("[1]", "k", "x")) == []
    assert changes.op_counts == {7: 1}


def test_another_text_is_put_again_and_adds_no_row() -> None:
    changes = Changes(100)
    compare(changes, DictRows(), ("[1]", "k", "x"))
    assert compare(changes, DictRows(), ("[1]", "k", "y")) == [("PUT", "[1]", "k", "y", False)]
    assert changes.bucket_deltas == {(7, "[1]"): 1}


def test_a_move_puts_before_it_removes() -> None:
    changes = Changes(100)
    compare(changes, DictRows(), ("[1]", "k", "x"))
    assert compare(changes, DictRows(), ("[2]", "k", "x")) == [
        ("PUT", "[2]", "k", "x", True),
        ("REMOVE", "[1]", "k", None, False),
    ]


def test_only_the_output_that_differs_is_written() -> None:
    changes = Changes(100)
    compare(changes, DictRows(), ("[1]", "k", "x"), ("[2]", "k", "x"))
    assert compare(changes, DictRows(), ("[1]", "k", "x"), ("[2]", "k", "y")) == [("PUT", "[2]", "k", "y", False)]


def test_no_output_removes_all_and_op_ids_are_dense() -> None:
    changes = Changes(100)
    compare(changes, DictRows(), ("[1]", "k", "x"), ("[2]", "k", "x"))
    assert compare(changes, DictRows()) == [("REMOVE", "[1]", "k", None, False), ("REMOVE", "[2]", "k", None, False)]
    assert [o["op_id"] for o in changes.ops] == [100, 101, 102, 103]


def test_an_unknown_row_without_output_writes_nothing() -> None:
    assert compare(Changes(100), DictRows()) == []


def test_what_the_row_state_holds_is_what_counts_before_this_commit() -> None:
    rows = DictRows()
    rows.rows[KEY] = [["[1]", "todos", "k", out("[1]", "k", "x").hash.hex(), 3]]
    assert compare(Changes(100), rows, ("[1]", "k", "x")) == []
