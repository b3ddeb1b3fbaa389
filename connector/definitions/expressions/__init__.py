"""Expressions of a plan, as nested lists that JSON can hold, and the closures made of them.

Leaves    ["column", name]  ["literal", value]  ["key" | "value", n]  ["output", n, name]
          ["token" | "client", name]  ["request", "user_id" | "jwt" | "parameters"]  ["request", "parameter", name]
          ["auth", "user_id"]  ["auth" | "connection" | "subscription", "parameters"]  [the same, "parameter", e]
Tests     ["is null", e]  ["is", e, e]  ["not", e]  ["and" | "or", e, …]  ["=" | "!=" | "<" | "<=", e, e]
          ["between", e, low, high]  ["in", e, array]  ["in list", e, e, …]  ["overlaps", array, array]
Values    ["+" | "-" | "*" | "/" | "%" | "&" | "|" | "<<" | ">>" | "||", e, e]  ["->" | "->>", e, key or index]
          ["cast", type, e]  ["call", function, e, …]
          ["case", default, when, then, …]  ["case of", e, default, when, then, …]

What they give is powersync.md 1.7: one engine is closures as the reference's own computes, the other SQLite itself. The
environment that closures are called with is the row, with further keys that no column has:
("key" | "value", n), ("output", n, name), and ("request",) for a `Request`.
"""

from __future__ import annotations

from connector.definitions.expressions import sqlite
from connector.definitions.expressions.absence import ABSENT, Absent, Column, column_of
from connector.definitions.expressions.closures import (
    Condition,
    Environment,
    Expression,
    Value,
    condition_of,
    value_of,
)
from connector.definitions.expressions.scalars import truth
from connector.definitions.model import Options

__all__ = [
    "ABSENT",
    "Absent",
    "Column",
    "Condition",
    "Environment",
    "Expression",
    "Value",
    "compile_column",
    "compile_condition",
    "compile_value",
    "truth",
]

_DEFAULT = Options()


def compile_value(expression: Expression, options: Options = _DEFAULT) -> Value:
    """The closure that gives an expression's value. A failing one raises BadRecord, or an error of Python's."""
    return sqlite.value_of(expression, options) if options.engine == "sqlite" else value_of(expression, options)


def compile_condition(expression: Expression, options: Options = _DEFAULT) -> Condition:
    """The closure that says whether an expression holds; NULL does not."""
    return sqlite.condition_of(expression, options) if options.engine == "sqlite" else condition_of(expression, options)


def compile_column(expression: Expression, options: Options = _DEFAULT) -> Column:
    """The closure that gives a result column's value, or ABSENT where it is to be left out."""
    if options.engine == "sqlite":
        return sqlite.value_of(expression, options)
    return column_of(expression, options)
