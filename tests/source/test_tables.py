"""Rules S6, S9, S10, S11: what a row in commit order becomes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector.source.records import Change, Kind, Truncate
from connector.source.tables import TableFacts, Tables, TableState, refusal
from tests.source.debezium import TABLE, TOPIC, row


def ops(tables: Tables, *rows: object) -> list[tuple[str, str]]:
    """(op, key) of what the rows become."""
    out = []
    for each in rows:
        for change in tables.settle(each, 1):  # type: ignore[arg-type]
            out.append(("TRUNCATE", change.table) if isinstance(change, Truncate) else (change.op, change.key))
    return out


def test_every_op() -> None:
    tables = Tables({})
    assert (
        ops(tables, row(0, 0, op="c"), row(0, 1, op="u"), row(0, 2, op="r", kind=Kind.READ))
        == [("UPSERT", '["public.todos","k"]')] * 3
    )
    assert ops(tables, row(0, 3, op="d")) == [("DELETE", '["public.todos","k"]')]
    assert ops(tables, row(0, 4, op="", kind=Kind.TOMBSTONE)) == [("DELETE", '["public.todos","k"]')]
    assert ops(tables, row(0, 5, op="t", key="")) == [("TRUNCATE", TABLE)]
    assert ops(tables, row(0, 6, op="m", key="")) == []


def test_a_row_keeps_its_origin() -> None:
    change = Tables({}).settle(row(2, 9), 1)[0]
    assert change == Change(TABLE, TOPIC, "UPSERT", '["public.todos","k"]', 7, b"row", 2, 9)


def test_no_key_refuses_the_table() -> None:
    tables = Tables({})
    assert ops(tables, row(0, 0, key=""), row(0, 1, key="k")) == []
    state = tables.states[TABLE]
    assert state.refused == "has no primary key"
    assert "ADD PRIMARY KEY" in str(state.hint)


def test_a_key_that_cannot_be_read_spoils_the_table() -> None:
    tables = Tables({TABLE: TableState(TOPIC, complete=4)})
    assert ops(tables, row(0, 0, key="", reason="torn")) == []
    assert tables.states[TABLE].complete is None
    assert "torn" in str(tables.states[TABLE].incomplete)
    assert [rejected.reason for rejected in tables.rejected()] == ["torn"]


def test_an_unreadable_value_goes_on_as_unreadable() -> None:
    tables = Tables({})
    assert ops(tables, row(0, 0, kind=Kind.UNREADABLE, reason="torn")) == [("UNREADABLE", '["public.todos","k"]')]
    assert tables.rejected_count == 0
    assert len(tables.rejected()) == 1
    assert tables.rejected_count == 1


def test_a_placeholder_refuses_unless_reread_is_set() -> None:
    tables = Tables({})
    assert ops(tables, row(0, 0, held=True), row(0, 1)) == []
    assert "REPLICA IDENTITY FULL" in str(tables.states[TABLE].hint)


def test_a_placeholder_is_a_hole_until_a_full_row_or_a_delete_comes() -> None:
    tables = Tables({}, toast="reread")
    assert ops(tables, row(0, 0), row(0, 1, held=True), row(0, 2, held=True, key="j")) == [
        ("UPSERT", '["public.todos","k"]')
    ]
    assert set(tables.states[TABLE].holes) == {'["public.todos","k"]', '["public.todos","j"]'}
    assert not tables.states[TABLE].ready
    ops(tables, row(0, 3, op="r", kind=Kind.READ))
    ops(tables, row(0, 4, op="d", key="j"))
    assert tables.states[TABLE].holes == {}


def test_another_key_empties_the_table_first() -> None:
    tables = Tables({})
    ops(tables, row(0, 0))
    other = row(0, 1, columns=(("id", "integer"),))
    assert tables.is_settled_alone(other)
    assert ops(tables, other) == [("TRUNCATE", TABLE), ("UPSERT", '["public.todos","k"]')]
    assert tables.states[TABLE].key == (("id", "integer"),)
    assert tables.states[TABLE].incomplete


def test_another_order_of_key_columns_is_the_same_key() -> None:
    tables = Tables({TABLE: TableState(TOPIC, key=(("a", "text"), ("b", "integer")))})
    swapped = row(0, 0, columns=(("b", "integer"), ("a", "text")))._replace(key='["public.todos",7,"x"]')
    assert not tables.is_settled_alone(swapped)
    assert ops(tables, swapped) == [("UPSERT", '["public.todos","x",7]')]


def test_two_tables_in_one_topic_refuse_the_second() -> None:
    """Debezium trap: topic names are sanitised and may collide."""
    tables = Tables({"public.a-b": TableState(TOPIC, key=(("id", "text"),))})
    assert ops(tables, row(0, 0, table="public.a_b")) == []
    assert "shares topic" in str(tables.states["public.a_b"].refused)


def test_a_table_known_by_its_topic_takes_its_real_name() -> None:
    tables = Tables({"public.a_b": TableState(TOPIC, complete=3)})
    ops(tables, row(0, 0, table="public.a-b"))
    assert set(tables.states) == {"public.a-b"}


def test_a_mended_table_is_emptied_and_read_anew() -> None:
    tables = Tables({})
    ops(tables, row(0, 0))
    tables.refuse(TABLE, TOPIC, "is wrong")
    tables.take_up(TABLE)
    assert tables.owed() == [Truncate(TABLE, TOPIC)]
    assert tables.owed() == []
    assert tables.states[TABLE].incomplete


FACTS = TableFacts("public.t", ("id",), "default", ())


@pytest.mark.parametrize(
    ("facts", "toast", "hint"),
    [
        (FACTS, "refuse", None),
        (replace(FACTS, key=()), "refuse", "PRIMARY KEY"),
        (replace(FACTS, toastable=("body",)), "refuse", "REPLICA IDENTITY FULL"),
        (replace(FACTS, toastable=("body",)), "reread", None),
        (replace(FACTS, toastable=("body",), identity="full"), "refuse", None),
        (replace(FACTS, identity="nothing"), "refuse", "REPLICA IDENTITY FULL"),
        (replace(FACTS, table="public.a b"), "refuse", "rename"),
        (replace(FACTS, table="public.a.b"), "refuse", "rename"),
        (replace(FACTS, odd_names=("a-b",)), "refuse", "rename"),
    ],
)
def test_refusals_say_what_mends_them(facts: TableFacts, toast: str, hint: str | None) -> None:
    verdict = refusal(facts, toast)
    assert (verdict is None) == (hint is None)
    assert verdict is None or str(hint) in verdict[1]
