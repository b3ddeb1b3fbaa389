"""Hypothesis strategies: sync configs that are nearly right, in all editions, and broken ones made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from hypothesis import strategies as st

NAMES = ("id", "a", "b", "tags", "owner_id", "Mixed", '"quoted"', "_hidden", "missing")
TABLES = ("t", "u", "public.t", '"log_%"', '"%".t', '"other.app"."t"')
FUNCTIONS = (
    *("upper", "lower", "length", "substring", "instr", "hex", "base64", "typeof", "ifnull", "iif", "json_extract"),
    *("json_array_length", "json_keys", "json_valid", "unixepoch", "datetime", "uuid_blob", "st_asgeojson", "st_x"),
    *("random", "count", "coalesce", "nothing"),
)
REQUEST = (
    *("token_parameters.user_id", "user_parameters.x", "request.user_id()", "request.jwt() ->> 'a'", "bucket.p"),
    *("request.parameters()", "request.parameter('x')", "auth.user_id()", "auth.parameter('a')", "auth.parameters()"),
    *("subscription.parameter('x')", "subscription.parameters()", "connection.parameter('x')", "t.schema()"),
)
LITERALS = (
    *("0", "1", "1.0", "-2", "9223372036854775807", "9223372036854775808", "1e3", "'x'", "'it''s'", "''", "NULL"),
    *("TRUE", "'[1,\"a\",null]'", '\'{"a":{"b":1}}\'', "'2025-01-02T03:04:05Z'", "'$.a'", "'%s'", "'🐘'"),
)
BINARY = (
    *("=", "!=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "||", "&", "|", "<<", ">>", "->", "->>", "&&"),
    *("AND", "OR", "IN", "NOT IN", "LIKE", "IS", "IS NOT"),
)
TYPES = ("text", "integer", "real", "numeric", "blob", "jsonb", "varchar(3)")

_leaves = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from(("t", "u", "s", "e", "c")).flatmap(
        lambda table: st.sampled_from(NAMES).map(f"{table}.{{}}".format)
    ),
    st.sampled_from(("e.value", "e.key", "value")),
    st.sampled_from(REQUEST),
    st.sampled_from(LITERALS),
)


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(inner, st.sampled_from(BINARY), inner)
    arguments = st.lists(inner, max_size=4).map(", ".join)
    return st.one_of(
        pair.map(" ".join),
        inner.map("({})".format),
        inner.map("NOT {}".format),
        inner.map("{} IS NULL".format),
        inner.map("{} IS NOT TRUE".format),
        inner.map("+{}".format),
        st.tuples(st.sampled_from(FUNCTIONS), arguments).map(lambda call: f"{call[0]}({call[1]})"),
        st.tuples(inner, st.sampled_from(TYPES)).map(lambda cast: f"CAST({cast[0]} AS {cast[1]})"),
        st.tuples(inner, st.sampled_from(TYPES)).map("::".join),
        st.tuples(inner, inner, inner).map(lambda three: "{} BETWEEN {} AND {}".format(*three)),
        st.tuples(inner, inner, inner).map(lambda three: "CASE WHEN {} THEN {} ELSE {} END".format(*three)),
        st.tuples(inner, inner).map(lambda two: "CASE {} WHEN {} THEN 1 END".format(*two)),
        st.tuples(inner, arguments).map(lambda pair: f"{pair[0]} IN ({pair[1]})"),
        st.tuples(inner, arguments).map(lambda pair: f"{pair[0]} IN ARRAY[{pair[1]}]"),
        st.tuples(inner, st.sampled_from(TABLES), inner).map(
            lambda three: f"{three[0]} IN (SELECT a FROM {three[1]} WHERE {three[2]})"
        ),
        inner.map("{} IN c".format),
    )


expressions = st.recursive(_leaves, _larger, max_leaves=6)
_sides = st.tuples(st.one_of(st.sampled_from(NAMES), st.sampled_from(REQUEST)), st.sampled_from(REQUEST))
conditions = st.one_of(expressions, _sides.map(" = ".join), _sides.map(" IN ".join))


@st.composite
def queries(draw: st.DrawFn) -> str:
    """A SELECT of any shape: joins, subqueries, functions as tables, clauses that are refused."""
    columns = draw(st.lists(st.one_of(st.just("*"), st.just("t.*"), _columns()), max_size=3))
    text = f"SELECT {draw(st.sampled_from(['', '', 'DISTINCT ']))}{', '.join(['id', *columns])}"
    sources = draw(st.lists(_sources(), max_size=3))
    for number, source in enumerate(sources):
        lead = " FROM " if number == 0 else draw(st.sampled_from([", ", " JOIN ", " LEFT JOIN ", " CROSS JOIN "]))
        on = f" ON {draw(conditions)}" if "JOIN" in lead and draw(st.booleans()) else ""
        text += f"{lead}{source}{on}"
    where = draw(st.lists(conditions, max_size=3))
    text += f" WHERE {' AND '.join(where)}" if where else ""
    return text + draw(
        st.sampled_from(["", "", "", ";", " LIMIT 1", " ORDER BY id", " GROUP BY a", "; SELECT 2", " --"])
    )


def _columns() -> st.SearchStrategy[str]:
    alias = st.sampled_from(["", " AS x", ' AS "X"', " AS _priority", " y"])
    return st.tuples(expressions, alias).map("".join)


def _sources() -> st.SearchStrategy[str]:
    alias = st.sampled_from(["", "", " AS s", " s", ' AS "S"', " AS s (x, y)"])
    table = st.one_of(
        st.sampled_from(TABLES),
        st.just("c"),
        expressions.map("json_each({})".format),
        expressions.map(lambda condition: f"(SELECT id, a FROM u WHERE {condition})"),
    )
    return st.tuples(table, alias).map("".join)


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """A sync config of any edition, right as far as YAML goes."""
    edition = draw(st.sampled_from([1, 2, 3]))
    config: dict[str, Any] = {"edition": edition}
    if edition == 3 and draw(st.booleans()):
        config["unstable_sqlite_expression_engine"] = True
    whole: dict[str, Any] = {"config": config}
    some = st.lists(queries(), max_size=2)
    if edition < 3:
        parameters = draw(st.one_of(st.just(["SELECT request.user_id() AS p"]), some))
        whole["bucket_definitions"] = {"b": {"parameters": parameters, "data": draw(some)}}
    if edition == 2:
        whole["streams"] = {"s": {"query": draw(queries()), "auto_subscribe": draw(st.booleans())}}
    if edition == 3:
        whole["with"] = {"c": draw(queries())}
        whole["streams"] = {
            "s": {"queries": [draw(queries()), *draw(some)], "auto_subscribe": draw(st.booleans())},
            "r": {"query": draw(queries()), "with": {"c": draw(queries())}},
        }
    return {**whole, "event_definitions": {"e": {"payloads": draw(some)}}} if draw(st.booleans()) else whole


def written(config: dict[str, Any]) -> str:
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=60)


SNIPPETS = (
    *(
        "\t",
        "\n",
        "\r\n",
        ":",
        ": ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "&a ",
        "*a",
        "!",
        "!!binary ",
        "|",
        ">-",
        "'",
        '"',
        "#",
        " # ",
    ),
    *(
        "%",
        "@",
        "`",
        ",",
        "?",
        "\x00",
        "\u2028",
        "\ud800",
        "\ufeff",
        "---\n",
        "...\n",
        "<<: *a\n",
        "\\",
        "\\x",
        "🐘",
        "-- ",
        "/*",
    ),
    *("(", ")", ";", "::", "SELECT ", " FROM ", " WHERE ", "null", "~", "config:\n  edition: 3\n"),
)


@st.composite
def broken(draw: st.DrawFn, texts: Sequence[str]) -> str:
    """One of the texts after a few cuts, insertions and repetitions."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 0, 1, 2, 10])))
        put = draw(st.one_of(st.sampled_from(SNIPPETS), st.just(text[start:end] * 2), st.just("")))
        text = text[:start] + put + text[end:]
    return text


json_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "x"]), inner)),
    max_leaves=5,
)
objects = st.dictionaries(st.sampled_from(["sub", "parameters", "user_id", "a", "x", "tags"]), json_values)
