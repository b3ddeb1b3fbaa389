"""Hypothesis strategies: sync configs with different spellings of one meaning, and rows."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

COLUMNS = ("id", "a", "b", "c", "owner")
PARAMETERS = ("p", "q")

values = st.one_of(
    st.none(),
    st.integers(-3, 3),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0.0, 1.0, -1.5, 1e21, 1e-7, 2.0]),
    st.sampled_from(["", "0", "1", "12abc", "x", 'é"\\']),
    st.binary(max_size=2),
)
rows = st.dictionaries(st.sampled_from([*COLUMNS, "_hidden"]), values)

_columns = st.sampled_from(COLUMNS)
_literals = st.sampled_from(["0", "1", "1.0", "-2", "'x'", "'1'", "NULL", "TRUE", "false"])
_operands = st.one_of(_columns, _literals)
_operators = st.sampled_from(["=", "!=", "<>", "<", "<=", ">", ">="])


@st.composite
def conditions(draw: st.DrawFn, depth: int = 2) -> str:
    """A condition on the row, some of it in parentheses and upper or lower case."""
    kind = draw(
        st.sampled_from(["compare", "null", "column"] if depth == 0 else ["compare", "null", "and", "or", "not"])
    )
    if kind == "compare":
        text = f"{draw(_operands)} {draw(_operators)} {draw(_operands)}"
    elif kind == "null":
        text = f"{draw(_columns)} {draw(st.sampled_from(['IS NULL', 'is not null']))}"
    elif kind == "column":
        text = draw(_columns)
    elif kind == "not":
        text = f"NOT ({draw(conditions(depth - 1))})"
    else:
        word = draw(st.sampled_from([kind, kind.upper()]))
        text = f"({draw(conditions(depth - 1))} {word} {draw(conditions(depth - 1))})"
    return f"({text})" if draw(st.booleans()) else text


@st.composite
def data_queries(draw: st.DrawFn, parameters: tuple[str, ...]) -> str:
    """A data query that covers the parameters."""
    columns = draw(st.lists(st.sampled_from(["*", "a", "b AS c", "1 AS one", "a = b AS same"]), max_size=3))
    matches = [_either_way(draw, draw(_columns), f"bucket.{parameter}") for parameter in parameters]
    where = draw(st.permutations([*matches, *draw(st.lists(conditions(), max_size=2))]))
    table = draw(st.sampled_from(["t", "public.t", "t AS s", "u"]))
    space = draw(st.sampled_from([" ", "\n  ", " /* a comment */ "]))
    query = f"SELECT{space}{', '.join(['id', *columns])}{space}FROM {table}"
    return f"{query}{space}WHERE {' AND '.join(where)}" if where else query


def _either_way(draw: st.DrawFn, left: str, right: str) -> str:
    return draw(st.sampled_from([f"{left} = {right}", f"{right} = {left}", f"({left} = {right})"]))


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """A sync config as a value: definitions with parameters on the token or on a table."""
    definitions = {}
    for name in draw(st.lists(st.sampled_from(["one", "two", "three"]), unique=True, min_size=1)):
        parameters = draw(st.sampled_from([(), ("p",), ("p", "q")]))
        definitions[name] = {
            "priority": draw(st.integers(0, 3)),
            "data": draw(st.lists(data_queries(parameters), max_size=3)),
            **({"parameters": draw(_parameter_queries(parameters))} if parameters else {}),
        }
    return {"config": {"edition": draw(st.integers(1, 2))}, "bucket_definitions": definitions}


@st.composite
def _parameter_queries(draw: st.DrawFn, parameters: tuple[str, ...]) -> list[str]:
    static = "SELECT " + ", ".join(f"token_parameters.x AS {name}" for name in parameters)
    table = "SELECT " + ", ".join(f"{draw(_columns)} AS {name}" for name in parameters) + " FROM t"
    condition = draw(conditions(1))
    where = f"{draw(_columns)} = request.user_id() AND {condition}"
    return draw(st.lists(st.sampled_from([static, f"{table} WHERE {where}"]), min_size=1, max_size=2))
