"""Rules S9, S10, D3: what the connector is asked to read again, when, and what of its word is believed."""

from __future__ import annotations

from itertools import count

import pytest

from connector.source.tables import Tables, TableState
from connector.source.wishes import FIRST_PATIENCE, SILENCE, Signal, Told, Wishes

A, B = "public.a", "public.b"


def wanting(*tables: str) -> tuple[Wishes, Told, Tables]:
    """These tables are to be read whole; requests are numbered."""
    told, numbers = Told(), count(1)
    known = Tables({table: TableState(f"p.{table}", incomplete="new") for table in tables})
    return Wishes(known, told, lambda: str(next(numbers))), told, known


def ends(told: Told, request: str, *scans: str) -> None:
    for scan in scans:
        told.take(request, "TABLE_SCAN_COMPLETED", scan)
    told.take(request, "COMPLETED", None)


def test_one_table_after_the_other() -> None:
    wishes, told, _ = wanting(A, B)
    assert wishes.next(0.0, {}) == Signal("1", A)
    assert wishes.next(0.1, {}) is None
    told.take("1-primer", "STARTED", None)
    told.take("1", "IN_PROGRESS", None)
    assert wishes.next(FIRST_PATIENCE + 1, {}) is None, "a started one is not asked for again"
    assert wishes.waits(A) == "is being read by an incremental snapshot"
    assert wishes.waits(B) == f"is read after {A}"
    ends(told, "1", "SUCCEEDED", "SUCCEEDED")
    assert wishes.finished(A)
    assert wishes.next(FIRST_PATIENCE + 1, {}) == Signal("2", B)


@pytest.mark.parametrize("scan", ["UNKNOWN_SCHEMA", "SQL_EXCEPTION", "NO_PRIMARY_KEY"])
def test_completed_is_no_proof_that_the_table_was_read(scan: str) -> None:
    """Seen on the real connector: a table that it does not know ends in COMPLETED all the same."""
    wishes, told, _ = wanting(A)
    wishes.next(0.0, {})
    ends(told, "1", scan)
    assert not wishes.finished(A)
    assert scan in wishes.waits(A)
    assert wishes.next(1.0, {}) is None, "not at once"
    assert wishes.next(FIRST_PATIENCE, {}) == Signal("2", A)
    assert wishes.next(2 * FIRST_PATIENCE, {}) is None, "and later each time"


def test_where_nobody_writes_it_is_said_what_the_connector_waits_for() -> None:
    """Seen on the real connector: its primers stand until a row of any captured table changes."""
    wishes, told, _ = wanting(A)
    wishes.next(0.0, {})
    told.take("1-primer", "STARTED", None)
    assert wishes.waits(A) == "its incremental snapshot was asked for"
    assert wishes.next(FIRST_PATIENCE, {}) == Signal("2", A)
    assert wishes.waits(A).endswith("when a row of any captured table changes")


def test_a_read_that_began_its_snapshot_does_not_count() -> None:
    """Debezium reads its first chunk beside the streaming thread, where rows get lost between the two."""
    wishes, told, _ = wanting(A)
    wishes.next(0.0, {})
    told.take("1-primer", "STARTED", None)
    ends(told, "1-primer", "SUCCEEDED")
    told.take("1", "STARTED", None)
    ends(told, "1", "SUCCEEDED")
    assert not wishes.finished(A)


def test_an_empty_table_is_read_whoever_read_it() -> None:
    wishes, told, _ = wanting(A)
    wishes.next(0.0, {})
    told.take("1", "STARTED", None)
    ends(told, "1", "EMPTY")
    assert wishes.finished(A)


def test_the_end_of_any_snapshot_ends_all() -> None:
    """A request of somebody else takes the name of the running snapshot: ours is asked for again."""
    wishes, told, _ = wanting(A)
    wishes.next(0.0, {})
    told.take("1", "IN_PROGRESS", None)
    ends(told, "theirs", "SUCCEEDED")
    assert not wishes.finished(A)
    assert wishes.next(FIRST_PATIENCE, {}) == Signal("2", A)


def test_what_was_asked_before_the_table_was_spoiled_again_does_not_count() -> None:
    wishes, told, tables = wanting(A)
    wishes.next(0.0, {})
    tables.spoiled(A, "again")
    ends(told, "1", "SUCCEEDED")
    assert not wishes.finished(A)
    assert wishes.next(0.1, {}) == Signal("2", A)


def test_hindered_and_refused_tables_are_not_asked_for() -> None:
    wishes, _, tables = wanting(A, B)
    tables.refuse(B, "p.b", "has no primary key")
    assert wishes.next(0.0, {A: "is not captured"}) is None
    assert wishes.next(0.0, {}) == Signal("1", A)
    assert wishes.whole() == [A]


def test_a_snapshot_that_falls_silent_is_nudged_and_not_believed() -> None:
    wishes, told, _ = wanting(A)
    wishes.next(0.0, {})
    told.take("1-primer", "STARTED", None)
    told.take("1", "IN_PROGRESS", None)
    assert wishes.next(1.0, {}) is None
    nudge = wishes.next(1.0 + SILENCE, {})
    assert nudge is not None
    assert [record["type"] for record in nudge.records()] == ["pause-snapshot", "resume-snapshot"]
    assert wishes.next(2.0 + SILENCE, {}) is None
    ends(told, "1", "SUCCEEDED")
    assert not wishes.finished(A)


def test_a_snapshot_that_stays_silent_is_given_up_and_asked_for_again() -> None:
    """As after a restart of the connector that had not kept it."""
    wishes, told, _ = wanting(A)
    wishes.next(0.0, {})
    told.take("1", "IN_PROGRESS", None)
    wishes.next(1.0, {})
    assert wishes.next(1.0 + SILENCE, {}) == Signal("1", "")
    assert wishes.next(1.0 + 2 * SILENCE, {}) is None
    assert wishes.next(2.0 + 2 * SILENCE, {}) == Signal("2", A)


def test_a_whole_table_is_asked_for_behind_primers() -> None:
    *primers, whole = Signal("1", A).records()
    assert {primer["id"] for primer in primers} == {"1-primer"}
    filters = {primer["data"]["additional-conditions"][0]["filter"] for primer in primers}
    assert filters == {'ctid = (SELECT ctid FROM "public"."a" LIMIT 1)'}
    assert whole == {
        "id": "1",
        "type": "execute-snapshot",
        "data": {"data-collections": [A], "type": "INCREMENTAL"},
    }


def test_keys_that_are_held_out_are_asked_for_by_a_condition() -> None:
    key = '["public.a","it\'s",7]'
    state = TableState("p.a", key=(("id", "text"), ("n", "integer")), holes={key: 3})
    wishes = Wishes(Tables({A: state}), Told(), lambda: "1")
    signal = wishes.next(0.0, {})
    assert signal == Signal("1", A, """("id", "n") IN (('it''s', '7'))""")
    assert len(signal.records()) == 1
    assert wishes.next(1.0, {}) is None
