"""What a client of generated edition 3 streams may see is what SQLite selects when it runs the same query.

The generator keeps to what both mean alike: no NOT over a comparison with NULL, values of one type per column.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.definitions.check import check
from connector.definitions.evaluate import compile_part
from connector.definitions.model import Part, SyncConfig
from connector.values import Row
from tests.definitions.visibility import visible_ids

USERS = ("u1", "u2", "u3")
IDS = ("x1", "x2", "x3", "x4")

_text = st.one_of(st.none(), st.sampled_from(USERS))
_ref = st.one_of(st.none(), st.sampled_from(IDS))
_number = st.one_of(st.none(), st.integers(0, 2))
_json = st.one_of(
    st.none(), st.lists(st.sampled_from(USERS), max_size=2).map(lambda found: json.dumps(found, separators=(",", ":")))
)
_tables = st.fixed_dictionaries(
    {
        table: st.lists(
            st.fixed_dictionaries(
                {"id": st.sampled_from(IDS), "owner": _text, "parent": _ref, "n": _number, "members": _json}
            ),
            max_size=4,
            unique_by=lambda row: row["id"],
        )
        for table in ("t", "u", "v")
    }
)

_ROW = st.sampled_from(
    ["t.n = 1", "t.n > 0", "t.n IS NULL", "t.owner IS NOT NULL", "t.n = 1 OR t.n = 2", "t.id <= 'x2'"]
)
_USER = "auth.user_id()"
_PARAMETER = "subscription.parameter('p')"


@st.composite
def _lookups(draw: st.DrawFn, depth: int = 1) -> str:
    """A subquery that gives ids, perhaps over another one."""
    table = draw(st.sampled_from(["u", "v"]))
    matches = ["owner = " + _USER, f"{_USER} = owner", f"parent = {_PARAMETER}", f"{_USER} IN members", "n = 1"]
    if depth:
        matches.append(f"parent IN ({draw(_lookups(depth - 1))})")
    chosen = draw(st.lists(st.sampled_from(matches), min_size=1, max_size=2, unique=True))
    output = draw(st.sampled_from(["id", "parent"]))
    return f"SELECT {output} FROM {table} WHERE {' AND '.join(chosen)}"


@st.composite
def _matches(draw: st.DrawFn) -> str:
    return draw(
        st.one_of(
            st.sampled_from(
                [f"t.owner = {_USER}", f"{_USER} = t.owner", f"t.parent = {_PARAMETER}", f"{_USER} IN t.members"]
            ),
            _lookups().map(lambda query: f"t.parent IN ({query})"),
            _lookups().map(lambda query: f"t.id IN ({query})"),
        )
    )


@st.composite
def _conditions(draw: st.DrawFn, depth: int = 2) -> str:
    if depth == 0:
        return draw(st.one_of(_ROW.map(lambda text: f"({text})"), _matches()))
    word = draw(st.sampled_from([" AND ", " OR "]))
    return "(" + word.join(draw(st.lists(_conditions(depth - 1), min_size=1, max_size=2))) + ")"


@st.composite
def _joins(draw: st.DrawFn) -> str:
    form = draw(
        st.sampled_from(["{0} JOIN u ON {1} WHERE {2}", "{0}, u WHERE {1} AND {2}", "{0} JOIN u WHERE {2} AND {1}"])
    )
    link = draw(st.sampled_from(["t.parent = u.id", "u.parent = t.id", "t.n = u.n AND t.parent = u.id"]))
    match = draw(
        st.sampled_from([f"u.owner = {_USER}", f"u.parent = {_PARAMETER}", f"{_USER} IN u.members", "u.n = 1"])
    )
    return form.format("SELECT t.id FROM t", link, f"{match} AND {draw(_ROW.map(lambda text: f'({text})'))}")


_queries = st.one_of(_conditions().map(lambda text: f"SELECT t.id FROM t WHERE {text}"), _joins())


def selected(query: str, tables: dict[str, list[dict[str, Any]]], user: str, parameter: str) -> set[str]:
    """What SQLite gives; `x IN json` is spelled out for it."""
    connection = sqlite3.connect(":memory:")
    for table, rows in tables.items():
        connection.execute(f"CREATE TABLE {table} (id, owner, parent, n, members)")
        connection.executemany(f"INSERT INTO {table} VALUES (:id, :owner, :parent, :n, :members)", rows)
    for column in ("t.members", "u.members", "members"):
        query = query.replace(f" IN {column}", f" IN (SELECT value FROM json_each({column}))")
    query = query.replace(_USER, f"'{user}'").replace(_PARAMETER, f"'{parameter}'")
    return {row[0] for row in connection.execute(query)}


def streams(*queries: list[str]) -> SyncConfig:
    """A stream for each list of queries."""
    named = {
        f"s{number}": {"queries": each, "accept_potentially_dangerous_queries": True}
        for number, each in enumerate(queries)
    }
    checked = check(yaml.safe_dump({"config": {"edition": 3}, "streams": named}))
    assert checked.config is not None, checked.diagnostics
    return checked.config


@settings(deadline=None, max_examples=100)
@given(_tables, st.lists(_queries, min_size=1, max_size=2), st.sampled_from(USERS), st.sampled_from(IDS))
def test_a_client_sees_what_sqlite_selects(
    tables: dict[str, list[dict[str, Any]]], queries: list[str], user: str, parameter: str
) -> None:
    rows: dict[str, list[Row]] = {f"public.{table}": list(found) for table, found in tables.items()}
    seen = visible_ids(streams(queries), rows, token={"sub": user}, subscriptions=[("s0", {"p": parameter})])
    assert seen == set().union(*(selected(query, tables, user, parameter) for query in queries))


@settings(deadline=None, max_examples=100)
@given(_tables, st.lists(_queries, min_size=1, max_size=2), st.lists(_queries, min_size=1, max_size=2))
def test_equal_canonical_text_is_equal_evaluation(
    tables: dict[str, list[dict[str, Any]]], one: list[str], other: list[str]
) -> None:
    """Law 1's premise, for streams: together with others or alone, a part of one text gives the same for every row."""
    twins: dict[str, Part] = {}
    for config in (streams(one, other), streams(one), streams(list(reversed(other)))):
        for part in (part for definition in config.definitions for part in definition.parts):
            twin = twins.setdefault(part.canonical, part)
            for table, rows in tables.items():
                for row in rows:
                    place = f"public.{table}"
                    assert compile_part(part.plan)(place, row) == compile_part(twin.plan)(place, row)
    alone = {part.canonical for definition in streams(one).definitions for part in definition.parts}
    together = {part.canonical for definition in streams(one, other).definitions for part in definition.parts}
    assert alone <= together, "a stream beside it changes no part"
