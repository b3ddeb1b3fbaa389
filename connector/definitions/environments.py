"""What expressions are asked about: a row or a request, beside each combination of what its functions give.

An environment is the row itself (or nothing yet, for a request) with keys that no column has: ("key", n) and
("value", n) of function n, ("output", n, name) of lookup n, and ("request",).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from connector.definitions.expressions import Condition, Expression, compile_condition, compile_value
from connector.definitions.json_rows import TableFunction, compile_function
from connector.definitions.model import Options
from connector.errors import BadRecord
from connector.values import SqliteValue, parameters_text

MAX_COMBINATIONS = 100_000  # of what a row's or a request's functions give

Environment = Mapping[Any, Any]
Text = Callable[[Environment], str | None]


def compile_environments(query: Mapping[str, Any], options: Options) -> Callable[[Environment], Iterator[Environment]]:
    """The closure from a row or request to it beside each combination of its functions' rows that passes the filters.

    The filters that need no function come first; where they do not pass, no function is asked.
    """
    functions = [compile_function(function, options) for function in query["functions"]]
    passes_row = all_of([each for each in query["filters"] if not _of_functions(each)], options)
    passes = all_of([each for each in query["filters"] if _of_functions(each)], options)
    if not functions:
        return lambda row: iter((row,) if passes_row(row) else ())

    def environments(row: Environment) -> Iterator[Environment]:
        if not passes_row(row):
            return
        for number, environment in enumerate(_combinations(dict(row), functions, 0)):
            if number == MAX_COMBINATIONS:
                raise BadRecord(f"its arrays give more than {MAX_COMBINATIONS:,} combinations")
            if passes(environment):
                yield environment

    return environments


def _combinations(
    environment: dict[Any, Any], functions: Sequence[TableFunction], number: int
) -> Iterator[dict[Any, Any]]:
    """The environment with each combination of the functions' rows, from function `number` on."""
    if number == len(functions):
        yield environment
        return
    for key, value in functions[number](environment):
        inner = {**environment, ("key", number): key, ("value", number): value}
        yield from _combinations(inner, functions, number + 1)


def _of_functions(expression: Any) -> bool:
    """Whether an expression uses what a function gave."""
    if not isinstance(expression, list):
        return False
    if len(expression) == 2 and expression[0] in ("key", "value") and isinstance(expression[1], int):
        return True
    return any(map(_of_functions, expression))


def json_typed(functions: Sequence[Sequence[Any]]) -> frozenset[int]:
    """The functions whose values are JSON's own, in which null is a value like others."""
    return frozenset(number for number, (kind, _) in enumerate(functions) if kind != "json_each")


def all_of(filters: Sequence[Expression], options: Options) -> Condition:
    """Every filter is asked, so that their order decides nothing, not even which error is raised."""
    conditions = [compile_condition(expression, options) for expression in filters]
    if not conditions:
        return lambda row: True
    return conditions[0] if len(conditions) == 1 else lambda row: all([passes(row) for passes in conditions])


def key_text(keys: Sequence[Expression], options: Options, json_typed: frozenset[int] = frozenset()) -> Text:
    """The parameters' text; None where one is NULL (it matches nothing) or a BLOB (it has no text)."""
    if not keys:
        return lambda row: "[]"
    values = [compile_value(key, options) for key in keys]
    keeps_null = [key[0] == "value" and key[1] in json_typed for key in keys]
    if len(values) == 1:
        return _single_key_text(values[0], keeps_null[0])

    def text(environment: Environment) -> str | None:
        found = [value(environment) for value in values]
        if any(type(v) is bytes or (v is None and not keeps) for v, keeps in zip(found, keeps_null, strict=True)):
            return None
        return parameters_text(found)

    return text


def _single_key_text(value: Callable[[Any], SqliteValue], keeps_null: bool) -> Text:
    def text(environment: Environment) -> str | None:
        found = value(environment)
        if type(found) is str:
            return orjson.dumps((found,)).decode()
        if type(found) is bytes or (found is None and not keeps_null):
            return None
        return parameters_text((found,))

    return text
