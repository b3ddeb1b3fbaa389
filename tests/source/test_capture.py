"""Rule D3: which tables the connector captures, and when one that it captures newly may be read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from connector.deploy.capture import Arrivals, Captured, listing, lists, needed, refuse_untakeable
from connector.errors import SourceRefused
from connector.source.tables import TableFacts
from tests.source.test_connector import SETTINGS

TABLE = "public.new"
CONFIG = {"table.include.list": r"public\.old,public\.new", "publication.name": "ours"}


def seen(**changed: Any) -> Captured:
    fields: dict[str, Any] = {
        "asked": frozenset({TABLE}),
        "config": CONFIG,
        "running": True,
        "existing": frozenset({TABLE}),
        "published": frozenset({TABLE}),
        "running_from": 100,
        "next_transaction": 100,
    }
    return Captured(**fields | changed)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, None),
        ({"asked": frozenset()}, "have not said yet"),
        ({"existing": frozenset()}, "dropped or renamed"),
        ({"config": {"table.include.list": r"public\.old"}}, "is not captured"),
        ({"published": frozenset()}, "is not in the publication ours"),
        ({"running": False}, "does not run"),
        ({"running_from": 99}, "transaction 99"),
    ],
)
def test_what_hinders_a_read(changed: dict[str, Any], why: str | None) -> None:
    arrivals = Arrivals()
    arrivals.learn(seen(**changed))
    found = arrivals.hindered([TABLE]).get(TABLE)
    assert found is None if why is None else why in str(found)


def test_transactions_older_than_the_capture_must_have_ended() -> None:
    """Seen on the real connector: what such a one wrote before is neither streamed nor read before its commit."""
    arrivals = Arrivals()
    arrivals.learn(seen(running_from=90, next_transaction=100))
    assert arrivals.hindered([TABLE])
    arrivals.learn(seen(running_from=99, next_transaction=130))
    assert arrivals.hindered([TABLE])
    arrivals.learn(seen(running_from=100, next_transaction=140))
    assert not arrivals.hindered([TABLE]), "younger ones arrive by themselves"


def test_a_table_that_left_the_publication_waits_anew() -> None:
    arrivals = Arrivals()
    arrivals.learn(seen())
    arrivals.learn(seen(published=frozenset()))
    arrivals.learn(seen(running_from=150, next_transaction=160))
    assert arrivals.hindered([TABLE])


def test_nothing_is_known_before_the_first_answer() -> None:
    assert Arrivals().hindered([TABLE])


@pytest.mark.parametrize(
    ("config", "there"),
    [
        ({}, True),
        ({"table.include.list": r"PUBLIC\.New"}, True),
        ({"table.include.list": r"public\.ne"}, False),
        ({"schema.include.list": "public"}, True),
        ({"schema.include.list": "other"}, False),
        ({"table.exclude.list": r"public\.n.*"}, False),
        ({"schema.exclude.list": "other, public"}, False),
    ],
)
def test_debeziums_lists(config: dict[str, str], there: bool) -> None:
    assert lists(config, TABLE) is there


def test_a_table_is_added_to_the_list_once() -> None:
    config = {"table.include.list": r"public\.old"}
    changed = listing(config, [TABLE, "public.old"])
    assert changed == {"table.include.list": r"public\.old,public\.new"}
    assert listing({**config, **changed}, [TABLE]) == {}


def test_a_table_that_another_setting_keeps_out_is_left_to_a_person() -> None:
    with pytest.raises(SourceRefused, match=r"keeps public\.new out"):
        listing({"table.include.list": r"public\.old", "schema.exclude.list": "public"}, [TABLE])


FACTS = {name: TableFacts(name, ("id",), "default", ()) for name in ("public.log_a", "public.log_b", TABLE)}
KEYLESS = {"public.log_c": TableFacts("public.log_c", (), "default", ())}
LONG = {TABLE: TableFacts(TABLE, ("id",), "default", ("body",))}


def test_a_wildcard_means_what_can_be_taken() -> None:
    wanted = ["public.log_a", "public.log_b", TABLE]
    assert needed({"public.log_%", TABLE}, FACTS | KEYLESS, SETTINGS) == wanted
    pinned = replace(SETTINGS, tables=("public.log_b", TABLE))
    assert needed({"public.log_%", TABLE}, FACTS | KEYLESS, pinned) == ["public.log_b", TABLE]


@pytest.mark.parametrize(
    ("facts", "tables", "hint"),
    [
        (KEYLESS, ["public.log_c"], "ADD PRIMARY KEY"),
        (LONG, [TABLE], f"ALTER TABLE {TABLE} REPLICA IDENTITY FULL"),
        ({}, [TABLE], "as the database spells them"),
    ],
)
def test_a_table_that_cannot_be_taken_is_refused_with_what_mends_it(
    facts: dict[str, TableFacts], tables: list[str], hint: str
) -> None:
    with pytest.raises(SourceRefused) as refused:
        refuse_untakeable(tables, FACTS | facts if facts else {}, SETTINGS)
    assert tables[0] in refused.value.message
    assert hint in str(refused.value.hint)


def test_every_table_that_cannot_be_taken_is_named() -> None:
    with pytest.raises(SourceRefused) as refused:
        refuse_untakeable(["public.gone", "public.log_c"], FACTS | KEYLESS, SETTINGS)
    assert "public.gone does not exist" in refused.value.message
    assert "public.log_c has no primary key" in refused.value.message


def test_tables_that_the_settings_file_names_are_a_limit() -> None:
    with pytest.raises(SourceRefused) as refused:
        refuse_untakeable([TABLE], FACTS, replace(SETTINGS, tables=("public.log_a",)))
    assert f"`- {TABLE}`" in str(refused.value.hint)
