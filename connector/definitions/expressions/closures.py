"""The reference's own engine: expressions as closures over the row. AND, OR and NOT are two-valued here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from connector.definitions.expressions import requests
from connector.definitions.expressions.arithmetic import BINARY, Binary, between, equal
from connector.definitions.expressions.documents import arrow, contains, double_arrow, overlaps
from connector.definitions.expressions.functions import function_of
from connector.definitions.expressions.scalars import CASTS, truth
from connector.definitions.model import Options
from connector.errors import BadConfig
from connector.values import SqliteValue

Expression = Sequence[Any]
Environment = Mapping[Any, Any]
Value = Callable[[Environment], SqliteValue]
Condition = Callable[[Environment], bool]


def value_of(expression: Expression, options: Options) -> Value:
    """The closure that gives the expression's value; a missing column is NULL."""
    kind = expression[0]
    if kind in BINARY:
        return _binary(BINARY[kind], value_of(expression[1], options), value_of(expression[2], options))
    if kind in _CONDITIONS:
        condition = _CONDITIONS[kind](expression, options)
        return lambda environment: 1 if condition(environment) else 0
    build = _VALUES.get(kind)
    if build is None:
        raise unknown_kind(kind)
    return build(expression, options)


def unknown_kind(kind: str) -> BadConfig:
    """What is wrong with a plan that holds such an expression."""
    return BadConfig(f"the plan has an expression of unknown kind {kind!r}", hint="a newer release wrote it")


def condition_of(expression: Expression, options: Options) -> Condition:
    """The closure that says whether the expression holds; NULL does not."""
    kind = expression[0]
    if kind == "=":
        return _equal_condition(expression, options)
    if kind in _CONDITIONS:
        return _CONDITIONS[kind](expression, options)
    value = value_of(expression, options)
    return lambda environment: truth(value(environment))


def leaf_of(expression: Expression, options: Options) -> Value | None:
    """The closure of an expression that computes nothing: a column, an output, a request's; None for others."""
    build = _LEAVES.get(expression[0])
    return None if build is None else build(expression, options)


def _column(expression: Expression, options: Options) -> Value:
    name = expression[1]
    return lambda environment: environment.get(name)


def _given(expression: Expression, options: Options) -> Value:
    name = tuple(expression)
    return lambda environment: environment[name]


def _request(expression: Expression, options: Options) -> Value:
    return requests.leaf(expression, lambda inner: value_of(inner, options))


def _literal(expression: Expression, options: Options) -> Value:
    literal = expression[1]
    return lambda environment: literal


def _binary(operate: Binary, left: Value, right: Value) -> Value:
    return lambda environment: operate(left(environment), right(environment))


def _between(expression: Expression, options: Options) -> Value:
    value, low, high = (value_of(part, options) for part in expression[1:])
    return lambda environment: between(value(environment), low(environment), high(environment))


def _cast(expression: Expression, options: Options) -> Value:
    cast, value = CASTS[expression[1]], value_of(expression[2], options)
    return lambda environment: cast(value(environment))


def _member(extract: Callable[..., Callable[[SqliteValue], SqliteValue]]) -> Callable[[Expression, Options], Value]:
    def build(expression: Expression, options: Options) -> Value:
        follow = extract(expression[2], fixed=options.fixed_json_extract)
        value = value_of(expression[1], options)
        return lambda environment: follow(value(environment))

    return build


def _of_two(operate: Binary) -> Callable[[Expression, Options], Value]:
    return lambda expression, options: _binary(
        operate, value_of(expression[1], options), value_of(expression[2], options)
    )


def _in_list(expression: Expression, options: Options) -> Value:
    value, *members = (value_of(part, options) for part in expression[1:])

    def contained(environment: Environment) -> SqliteValue:
        wanted = value(environment)
        found = [equal(wanted, member(environment)) for member in members]
        return 1 if 1 in found else None if None in found else 0

    return contained


def _case(expression: Expression, options: Options) -> Value:
    default = value_of(expression[1], options)
    branches = [
        (condition_of(when, options), value_of(then, options))
        for when, then in zip(expression[2::2], expression[3::2], strict=True)
    ]

    def case(environment: Environment) -> SqliteValue:
        chosen = next((then for holds, then in branches if holds(environment)), default)
        return chosen(environment)

    return case


def _case_of(expression: Expression, options: Options) -> Value:
    value, default = (value_of(part, options) for part in expression[1:3])
    branches = [
        (value_of(when, options), value_of(then, options))
        for when, then in zip(expression[3::2], expression[4::2], strict=True)
    ]

    def case(environment: Environment) -> SqliteValue:
        compared = value(environment)
        chosen = next((then for when, then in branches if equal(compared, when(environment)) == 1), default)
        return chosen(environment)

    return case


def _call(expression: Expression, options: Options) -> Value:
    found = function_of(expression[1], options)
    if found is None:
        raise BadConfig(f"the plan calls an unknown function {expression[1]!r}")
    count, function = found
    arguments = [value_of(part, options) for part in expression[2:]]
    if count is None:
        return lambda environment: function(*[argument(environment) for argument in arguments])
    missing = value_of(["literal", None], options)
    arguments = [*arguments, *[missing] * count][:count]
    if len(arguments) == 1:
        (only,) = arguments
        return lambda environment: function(only(environment))
    return lambda environment: function(*[argument(environment) for argument in arguments])


def _is_null(expression: Expression, options: Options) -> Condition:
    value = value_of(expression[1], options)
    return lambda environment: value(environment) is None


def _not(expression: Expression, options: Options) -> Condition:
    condition = condition_of(expression[1], options)
    return lambda environment: not condition(environment)


def _and(expression: Expression, options: Options) -> Condition:
    """Every part is asked, so that their order decides nothing, not even which error is raised."""
    conditions = [condition_of(part, options) for part in expression[1:]]
    return lambda environment: all([condition(environment) for condition in conditions])


def _or(expression: Expression, options: Options) -> Condition:
    conditions = [condition_of(part, options) for part in expression[1:]]
    return lambda environment: any([condition(environment) for condition in conditions])


def _equal_condition(expression: Expression, options: Options) -> Condition:
    """Equality with a column and a literal, the most frequent filter, costs one dictionary access."""
    for one, other in (expression[1:], expression[:0:-1]):
        if one[0] == "column" and other[0] == "literal" and other[1] is not None:
            name, literal = one[1], other[1]
            return lambda environment: environment.get(name) == literal
    left, right = value_of(expression[1], options), value_of(expression[2], options)
    return lambda environment: equal(left(environment), right(environment)) == 1


_CONDITIONS: dict[str, Callable[[Expression, Options], Condition]] = {
    "is null": _is_null,
    "not": _not,
    "and": _and,
    "or": _or,
}
_LEAVES: dict[str, Callable[[Expression, Options], Value]] = {
    "column": _column,
    "value": _given,
    "key": _given,
    "output": _given,
    "token": _request,
    "client": _request,
    "request": _request,
    "auth": _request,
    "connection": _request,
    "subscription": _request,
}
_VALUES: dict[str, Callable[[Expression, Options], Value]] = {
    **_LEAVES,
    "literal": _literal,
    "between": _between,
    "cast": _cast,
    "->": _member(arrow),
    "->>": _member(double_arrow),
    "in": _of_two(contains),
    "in list": _in_list,
    "overlaps": _of_two(overlaps),
    "case": _case,
    "case of": _case_of,
    "call": _call,
}
