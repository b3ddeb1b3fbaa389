"""The SQLite engine: an expression is SQL with bound leaves, computed by SQLite itself.

Where the reference replaces SQLite's functions by its own (case of all Unicode, dates, geometries), so does this.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from threading import local
from typing import Any

import apsw

from connector.definitions.expressions import dates, geometry, texts
from connector.definitions.expressions.closures import Condition, Environment, Expression, Value, leaf_of, unknown_kind
from connector.definitions.model import Options
from connector.errors import BadConfig, BadRecord
from connector.values import SqliteValue

_REPLACED: dict[str, tuple[int, Callable[..., SqliteValue]]] = {
    "upper": (1, texts.upper),
    "lower": (1, texts.lower),
    "unixepoch": (-1, dates.unixepoch),
    "datetime": (-1, dates.datetime),
    "st_asgeojson": (1, geometry.as_geojson),
    "st_astext": (1, geometry.as_text),
    "st_x": (1, geometry.x),
    "st_y": (1, geometry.y),
}
_STATEMENTS = 10_000  # kept prepared
_INTEGERS = range(-(1 << 63), 1 << 63)


class _Threads(local):
    """A connection for each thread: SQLite's are not shared."""

    def __init__(self) -> None:
        connection = apsw.Connection(":memory:", statementcachesize=_STATEMENTS)
        for name, (count, function) in _REPLACED.items():
            connection.create_scalar_function(name, function, count, deterministic=True)
        self.execute = connection.cursor().execute


_threads = cache(_Threads)


def value_of(expression: Expression, options: Options) -> Value:
    """The closure that gives the expression's value. Raises BadRecord for a column that the row lacks."""
    return _leaf(expression, options) or _asked(expression, "SELECT {}", options)


def condition_of(expression: Expression, options: Options) -> Condition:
    """The closure that says whether the expression holds; NULL does not."""
    value = _asked(expression, "SELECT ({}) IS TRUE", options)
    return lambda environment: value(environment) == 1


def _asked(expression: Expression, statement: str, options: Options) -> Value:
    bound: list[Value] = []
    sql = statement.format(_sql(expression, bound, options))
    threads = _threads()
    try:
        threads.execute(f"EXPLAIN {sql}", [None] * len(bound))
    except apsw.Error as error:
        raise BadConfig(f"SQLite cannot compute an expression of the plan: {error}") from error

    def answer(environment: Environment) -> SqliteValue:
        leaves = [leaf(environment) for leaf in bound]
        try:
            value: SqliteValue = threads.execute(sql, leaves).get
        except (apsw.Error, OverflowError) as error:
            raise BadRecord(str(error)) from error
        return value

    return answer


def _leaf(expression: Expression, options: Options) -> Value | None:
    return _column(expression[1]) if expression[0] == "column" else leaf_of(expression, options)


def _column(name: str) -> Value:
    def column(environment: Environment) -> SqliteValue:
        if name not in environment:
            raise BadRecord(f'the row has no column "{name}", which the SQLite engine needs')
        found: SqliteValue = environment[name]
        return found

    return column


def _sql(expression: Expression, bound: list[Value], options: Options) -> str:
    """The SQL of an expression; its leaves are added to `bound`."""
    kind, *operands = expression
    if kind == "literal":
        return _literal(operands[0])
    leaf = _leaf(expression, options)
    if leaf is not None:
        bound.append(leaf)
        return f"?{len(bound)}"
    write = _FORMS.get(kind)
    if write is None:
        raise unknown_kind(kind)
    return write(operands, lambda operand: _sql(operand, bound, options))


Write = Callable[[Sequence[Any], Callable[[Expression], str]], str]


def _literal(value: SqliteValue) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, int) and value not in _INTEGERS:
        return repr(float(value))
    return "NULL" if value is None else repr(value)


def _between_operands(operator: str) -> Write:
    return lambda operands, sql: _balanced(operator, [*map(sql, operands)])


def _balanced(operator: str, parts: list[str]) -> str:
    """Parts under one operator, grouped by halves: SQLite allows a depth of 1,000."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({_balanced(operator, parts[:half])} {operator} {_balanced(operator, parts[half:])})"


def _member(operator: str) -> Write:
    return lambda operands, sql: f"({sql(operands[0])} {operator} {_literal(operands[1])})"


def _between(operands: Sequence[Any], sql: Callable[[Expression], str]) -> str:
    value, low, high = map(sql, operands)
    return f"({value} BETWEEN {low} AND {high})"


def _in(operands: Sequence[Any], sql: Callable[[Expression], str]) -> str:
    """NULL where the array is, as any comparison with NULL."""
    value, array = map(sql, operands)
    return f"(CASE WHEN {array} IS NULL THEN NULL ELSE {value} IN (SELECT value FROM json_each({array})) END)"


def _in_list(operands: Sequence[Any], sql: Callable[[Expression], str]) -> str:
    value, *members = map(sql, operands)
    return f"({value} IN ({', '.join(members)}))"


def _cast(operands: Sequence[Any], sql: Callable[[Expression], str]) -> str:
    return f"CAST({sql(operands[1])} AS {operands[0].upper()})"


def _call(operands: Sequence[Any], sql: Callable[[Expression], str]) -> str:
    function, *arguments = operands
    if not function.isidentifier():
        raise BadConfig(f"the plan calls an unknown function {json.dumps(function)}")
    return f"{function}({', '.join(map(sql, arguments))})"


def _branches(parts: Sequence[str]) -> str:
    default, *branches = parts
    listed = [f"WHEN {when} THEN {then}" for when, then in zip(branches[::2], branches[1::2], strict=True)]
    return f"{' '.join(listed)} ELSE {default} END)"


def _case(operands: Sequence[Any], sql: Callable[[Expression], str]) -> str:
    return f"(CASE {_branches([*map(sql, operands)])}"


def _case_of(operands: Sequence[Any], sql: Callable[[Expression], str]) -> str:
    value, *parts = map(sql, operands)
    return f"(CASE {value} {_branches(parts)}"


_FORMS: dict[str, Write] = {
    **{
        operator: _between_operands(operator)
        for operator in ("+", "-", "*", "/", "%", "&", "|", "<<", ">>", "||", "=", "!=", "<", "<=", "and", "or", "is")
    },
    "not": lambda operands, sql: f"(NOT {sql(operands[0])})",
    "is null": lambda operands, sql: f"({sql(operands[0])} IS NULL)",
    "->": _member("->"),
    "->>": _member("->>"),
    "between": _between,
    "in": _in,
    "in list": _in_list,
    "cast": _cast,
    "call": _call,
    "case": _case,
    "case of": _case_of,
}
