"""Edition 3: one meaning is one plan, however it is written; and what else golden cases cannot say."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from connector.definitions.check import check
from connector.definitions.model import Checked


def checked(*queries: str, expressions: dict[str, str] | None = None) -> Checked:
    """One stream with these queries."""
    stream = {"queries": list(queries), "accept_potentially_dangerous_queries": True}
    return check(yaml.safe_dump({"config": {"edition": 3}, "with": expressions or {}, "streams": {"s": stream}}))


def parts(*queries: str, expressions: dict[str, str] | None = None) -> list[str]:
    """The canonical texts of a stream's parts."""
    found = checked(*queries, expressions=expressions)
    assert found.config is not None, [each.message for each in found.diagnostics]
    return sorted({part.canonical for one in found.config.definitions for part in one.parts})


MINE = "SELECT id FROM lists WHERE owner_id = auth.user_id()"


@pytest.mark.parametrize(
    "forms",
    [
        (
            f"SELECT * FROM t WHERE l IN ({MINE})",
            f"SELECT * FROM t WHERE NOT (l NOT IN ({MINE}))",
            "SELECT t.* FROM t JOIN lists x ON t.l = x.id WHERE x.owner_id = auth.user_id()",
            "SELECT t.* FROM lists x, t WHERE auth.user_id() = x.owner_id AND x.id = t.l",
            f"SELECT t.* FROM t, ({MINE}) AS m WHERE m.id = t.l",
            f"SELECT t.* FROM t JOIN ({MINE}) AS m (x) ON m.x = t.l",
            "SELECT * FROM t WHERE l IN mine",
            "SELECT * FROM t WHERE l IN (SELECT id FROM mine)",
            "SELECT t.* FROM t, mine AS m WHERE m.id = t.l",
        ),
        ("SELECT * FROM t WHERE a AND b = 1", "select * from T where 1 = B and (A)"),
        ("SELECT * FROM t WHERE a OR b OR c", "SELECT * FROM t WHERE (c OR a) OR b"),
        ("SELECT * FROM t WHERE NOT (a OR b)", "SELECT * FROM t WHERE NOT b AND NOT a"),
        ("SELECT * FROM t WHERE a != 1", "SELECT * FROM t WHERE NOT (1 = a)"),
        (
            "SELECT * FROM t WHERE o = auth.user_id()",
            "SELECT * FROM t WHERE NOT (o != auth.user_id())",
            "SELECT DISTINCT * FROM t WHERE o = auth.parameter('x'); ignored",
            "SELECT * FROM t WHERE o = auth.user_id() AND auth.parameter('ok')",
        ),
        (
            "SELECT * FROM t WHERE auth.user_id() IN m",
            "SELECT t.* FROM t, json_each(t.m) AS e WHERE e.value = auth.user_id()",
            "SELECT * FROM t WHERE auth.user_id() IN (SELECT value FROM json_each(t.m))",
        ),
        (
            "SELECT * FROM t WHERE m && (SELECT u FROM f)",
            "SELECT t.* FROM f, t, json_each(t.m) e WHERE e.value = f.u",
        ),
        (
            "SELECT * FROM t WHERE a = auth.user_id() OR b = auth.user_id()",
            "SELECT * FROM t WHERE b = auth.user_id() OR a = auth.user_id()",
        ),
    ],
)
def test_forms_of_one_meaning_are_one_plan(forms: tuple[str, ...]) -> None:
    expressions = {"mine": MINE}
    assert len({tuple(parts(form, expressions=expressions)) for form in forms}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT * FROM t AS x", "SELECT * FROM t"),
        ("SELECT id, a FROM t", "SELECT a, id FROM t"),
        ("SELECT * FROM t WHERE a = 1", "SELECT * FROM t WHERE a = 1.0"),
        ("SELECT * FROM t WHERE a = 1", "SELECT * FROM t WHERE a = '1'"),
        ("SELECT * FROM t WHERE a IN x AND b IN x", "SELECT * FROM t WHERE a IN x"),
        ("SELECT * FROM t WHERE a = auth.user_id()", "SELECT * FROM t WHERE b = auth.user_id()"),
        (
            "SELECT t.* FROM t, u WHERE t.a = u.a AND t.b = u.b",
            "SELECT t.* FROM t, u, u v WHERE t.a = u.a AND t.b = v.b",
        ),
    ],
)
def test_other_meanings_are_other_plans(one: str, other: str) -> None:
    assert parts(one) != parts(other)


def test_two_uses_of_one_subquery_are_looked_up_apart() -> None:
    """The values of two keys need not come from one row."""
    config = checked("SELECT * FROM t WHERE a IN (SELECT id FROM u) AND b IN (SELECT id FROM u)").config
    assert config is not None
    (querier,) = config.definitions[0].queriers
    assert len(querier["lookups"]) == 2
    assert sorted(key[0][1] for key in querier["keys"]) == [0, 1]


@dataclass(frozen=True)
class Lookup:
    """A table whose `output` equals a column of the one before it, and what must hold for its rows."""

    table: str
    output: str
    match: str
    filter: str | None


_lookups = st.builds(
    Lookup,
    st.sampled_from(["u", "v"]),
    st.sampled_from(["id", "other", "lower(name)"]),
    st.sampled_from(["owner = auth.user_id()", "org = auth.parameter('org')", "kind = subscription.parameter('k')"]),
    st.sampled_from([None, "active", "n > 1 OR m", 'role IN \'["a","b"]\'']),
)
_MATCHES = ["t.a = auth.user_id()", "t.b IN auth.parameter('bs')", "t.c = 5", "NOT t.d", "auth.parameter('e')"]
_queries = st.tuples(st.lists(_lookups, max_size=3), st.lists(st.sampled_from(_MATCHES), max_size=3))


class Writer:
    """Writes one query in a form and an order that the seed decides."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._tables = ["t"]
        self.expressions: dict[str, str] = {}

    def query(self, lookups: list[Lookup], matches: list[str]) -> str:
        conditions = [self._link(f"t.l{number}", lookup, number) for number, lookup in enumerate(lookups)]
        conditions += matches
        self._random.shuffle(conditions)
        self._random.shuffle(self._tables)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return self._cased(f"SELECT t.* FROM {', '.join(self._tables)}{where}")

    def _link(self, column: str, lookup: Lookup, number: int) -> str:
        name = f"x{self._random.randrange(100)}_{number}"
        form = self._random.choice(["in", "join", "from", "with", "in with"])
        if form == "join":
            self._tables.append(f"{lookup.table} AS {name}")
            conditions = [self._equal(column, _qualified(lookup.output, name)), _qualified(lookup.match, name)]
            return " AND ".join([*conditions, *([f"({_qualified(lookup.filter, name)})"] if lookup.filter else [])])
        conditions = [lookup.match, *([f"({lookup.filter})"] if lookup.filter else [])]
        self._random.shuffle(conditions)
        select = f"SELECT {lookup.output} AS o FROM {lookup.table} WHERE {' AND '.join(conditions)}"
        if form == "in":
            return f"{column} IN ({select})"
        if form == "from":
            self._tables.append(f"({select}) AS {name}")
            return self._equal(column, f"{name}.o")
        self.expressions[name] = select
        if form == "in with":
            return f"{column} IN {name}"
        self._tables.append(name)
        return self._equal(column, f"{name}.o")

    def _equal(self, one: str, other: str) -> str:
        return f"{one} = {other}" if self._random.random() < 0.5 else f"{other} = {one}"

    def _cased(self, query: str) -> str:
        return query if self._random.random() < 0.5 else query.replace("SELECT", "select").replace(" AND ", " and ")


def _qualified(text: str, name: str) -> str:
    for column in ("id", "other", "name", "owner", "org", "kind", "active", "n", "m", "role"):
        text = " ".join(f"{name}.{word}" if word == column else word for word in text.split(" "))
    return text.replace("lower(name)", f"lower({name}.name)")


@given(_queries, st.integers(0, 1000), st.integers(0, 1000))
def test_neither_form_nor_order_nor_names_change_a_plan(
    query: tuple[list[Lookup], list[str]], one: int, other: int
) -> None:
    lookups, matches = query
    texts = []
    for seed in (one, other):
        writer = Writer(seed)
        written = writer.query(lookups, matches)
        texts.append(parts(written, expressions=writer.expressions))
    assert texts[0] == texts[1]


_THREE = [
    "SELECT * FROM a WHERE o = auth.user_id()",
    "SELECT * FROM b WHERE o = auth.user_id()",
    "SELECT id FROM c WHERE p IN (SELECT p FROM d WHERE u = auth.user_id()) OR q = auth.parameter('q')",
]


@given(st.permutations(_THREE))
def test_the_order_of_queries_changes_no_plan(queries: list[str]) -> None:
    assert parts(*queries) == parts(*_THREE)


def test_streams_share_what_is_equal_whatever_their_order() -> None:
    streams = {
        "a": {"query": "SELECT * FROM t WHERE o = auth.user_id()"},
        "b": {"query": "SELECT * FROM t WHERE o IN (SELECT m FROM g WHERE x = auth.user_id())"},
        "c": {"query": "SELECT * FROM u WHERE o IN (SELECT m FROM g WHERE x = auth.user_id())"},
    }
    texts = []
    for names in (["a", "b", "c"], ["c", "b", "a"]):
        file = {"config": {"edition": 3}, "streams": {name: streams[name] for name in names}}
        config = check(yaml.safe_dump(file, sort_keys=False)).config
        assert config is not None
        found = {part.label: part for one in config.definitions for part in one.parts}
        assert len(found) == len({part.canonical for part in found.values()}) == 3
        texts.append(sorted(part.canonical for part in found.values()))
    assert texts[0] == texts[1]


def test_terms_and_buckets_and_joins_have_limits() -> None:
    pairs = " AND ".join(f"(a{n} = auth.user_id() OR b{n} = auth.parameter('x{n}'))" for n in range(7))
    (finding,) = checked(f"SELECT * FROM t WHERE {pairs}").diagnostics
    assert "more than 100 terms" in finding.message
    tables = ", ".join(f"t{n}" for n in range(101))
    assert any("joins more than 100" in each.message for each in checked(f"SELECT t0.* FROM {tables}").diagnostics)
    nested = "SELECT a FROM t"
    for _ in range(25):
        nested = f"SELECT a || a AS a FROM ({nested}) AS s"
    assert any("too long" in each.message for each in checked(nested).diagnostics)
    rows = " AND ".join(f"(a{n} OR b{n})" for n in range(200))
    assert checked(f"SELECT * FROM t WHERE {rows}").config is not None, "conditions on one row need no terms"
