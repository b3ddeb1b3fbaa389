"""Result columns: a value that is absent, like a column that the row lacks, is left out, which is not NULL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from connector.definitions.expressions.closures import Condition, Environment, Expression, condition_of, value_of
from connector.definitions.model import Options
from connector.values import SqliteValue


class Absent:
    """The one value that stands for none at all."""


ABSENT = Absent()
Column = Callable[[Environment], SqliteValue | Absent]


def column_of(expression: Expression, options: Options) -> Column:
    """The closure that gives the expression's value, or ABSENT; only what hands a value on can be absent."""
    kind = expression[0]
    if kind == "column":
        return _lookup(expression[1])
    choose = _CHOICES.get(expression[1] if kind == "call" else kind)
    return value_of(expression, options) if choose is None else choose(expression, options)


def _lookup(name: str) -> Column:
    return lambda environment: environment.get(name, ABSENT)


def _nothing(environment: Environment) -> Absent:
    return ABSENT


def _arguments(expression: Expression, options: Options, count: int) -> list[Column]:
    """The arguments of a call, absent ones where there are too few."""
    return [*[column_of(part, options) for part in expression[2:]], *[_nothing] * count][:count]


def _ifnull(expression: Expression, options: Options) -> Column:
    first, second = _arguments(expression, options, 2)

    def chosen(environment: Environment) -> SqliteValue | Absent:
        value = first(environment)
        return second(environment) if value is None or value is ABSENT else value

    return chosen


def _iif(expression: Expression, options: Options) -> Column:
    then, otherwise = _arguments([*expression[:2], *expression[3:]], options, 2)
    condition = condition_of([*expression, ["literal", None]][2], options)
    return _first([(condition, then)], otherwise)


def _case(expression: Expression, options: Options) -> Column:
    holds = [condition_of(part, options) for part in expression[2::2]]
    return _branches(holds, expression[3::2], expression[1], options)


def _case_of(expression: Expression, options: Options) -> Column:
    holds = [condition_of(["=", expression[1], part], options) for part in expression[3::2]]
    return _branches(holds, expression[4::2], expression[2], options)


def _branches(holds: Sequence[Condition], parts: Sequence[Any], default: Expression, options: Options) -> Column:
    then = [column_of(part, options) for part in parts]
    return _first(list(zip(holds, then, strict=True)), column_of(default, options))


def _first(branches: Sequence[tuple[Condition, Column]], default: Column) -> Column:
    def chosen(environment: Environment) -> SqliteValue | Absent:
        return next((then for holds, then in branches if holds(environment)), default)(environment)

    return chosen


_CHOICES: dict[str, Callable[[Expression, Options], Column]] = {
    "ifnull": _ifnull,
    "iif": _iif,
    "case": _case,
    "case of": _case_of,
}
