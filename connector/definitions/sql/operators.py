"""The operators of the language: what they are written with, how tightly they bind, which node they make.

Levels are those of the reference's grammar, loosest first. They are Postgres' but for `||`, which binds like `+`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from sqlglot import exp


class Level(IntEnum):
    """How tightly an operator binds."""

    ANY = 0
    OR = 1
    AND = 2
    NOT = 3
    EQUAL = 4
    IS = 5
    COMPARE = 6
    BETWEEN = 7
    OTHER = 8
    LIKE = 9
    IN = 10
    ADD = 11
    MULTIPLY = 12
    POWER = 13
    SIGN = 14
    ZONE = 15
    INDEX = 16
    MEMBER = 17


Build = Callable[[exp.Expr, exp.Expr], exp.Expr]


class Infix(NamedTuple):
    """A binary operator."""

    level: Level
    build: Build


def _node(kind: type[exp.Expr]) -> Build:
    return lambda left, right: kind(this=left, expression=right)


def _foreign(operator: str) -> Build:
    """An operator that only the grammar knows."""
    return lambda left, right: exp.Operator(this=left, operator=operator, expression=right)


def _in(left: exp.Expr, right: exp.Expr) -> exp.Expr:
    if isinstance(right, exp.Subquery):
        return exp.In(this=left, query=right)
    return exp.In(this=left, field=right)


def _not_in(left: exp.Expr, right: exp.Expr) -> exp.Expr:
    node = exp.Not(this=_in(left, right))
    node.meta["operator"] = "NOT IN"
    return node


INFIX: dict[str, Infix] = {
    "OR": Infix(Level.OR, _node(exp.Or)),
    "AND": Infix(Level.AND, _node(exp.And)),
    "=": Infix(Level.EQUAL, _node(exp.EQ)),
    "!=": Infix(Level.EQUAL, _node(exp.NEQ)),
    "<>": Infix(Level.EQUAL, _node(exp.NEQ)),
    "<": Infix(Level.COMPARE, _node(exp.LT)),
    "<=": Infix(Level.COMPARE, _node(exp.LTE)),
    ">": Infix(Level.COMPARE, _node(exp.GT)),
    ">=": Infix(Level.COMPARE, _node(exp.GTE)),
    "<<": Infix(Level.COMPARE, _node(exp.BitwiseLeftShift)),
    ">>": Infix(Level.COMPARE, _node(exp.BitwiseRightShift)),
    **{
        operator: Infix(Level.COMPARE, _foreign(operator))
        for operator in ("@>", "<@", "?", "?|", "?&", "#>>", "~", "~*", "!~", "!~*", "@@")
    },
    "|": Infix(Level.OTHER, _node(exp.BitwiseOr)),
    "&": Infix(Level.OTHER, _node(exp.BitwiseAnd)),
    "#": Infix(Level.OTHER, _foreign("#")),
    "LIKE": Infix(Level.LIKE, _foreign("LIKE")),
    "ILIKE": Infix(Level.LIKE, _foreign("ILIKE")),
    "NOT LIKE": Infix(Level.LIKE, _foreign("NOT LIKE")),
    "NOT ILIKE": Infix(Level.LIKE, _foreign("NOT ILIKE")),
    "~~": Infix(Level.LIKE, _foreign("LIKE")),
    "~~*": Infix(Level.LIKE, _foreign("ILIKE")),
    "!~~": Infix(Level.LIKE, _foreign("NOT LIKE")),
    "!~~*": Infix(Level.LIKE, _foreign("NOT ILIKE")),
    "IN": Infix(Level.IN, _in),
    "NOT IN": Infix(Level.IN, _not_in),
    "+": Infix(Level.ADD, _node(exp.Add)),
    "-": Infix(Level.ADD, _node(exp.Sub)),
    "||": Infix(Level.ADD, _node(exp.DPipe)),
    "&&": Infix(Level.ADD, _node(exp.ArrayOverlaps)),
    "#-": Infix(Level.ADD, _foreign("#-")),
    "*": Infix(Level.MULTIPLY, _node(exp.Mul)),
    "/": Infix(Level.MULTIPLY, _node(exp.Div)),
    "%": Infix(Level.MULTIPLY, _node(exp.Mod)),
    "^": Infix(Level.POWER, _foreign("^")),
    "AT TIME ZONE": Infix(Level.ZONE, _foreign("AT TIME ZONE")),
}
# Operators of several tokens, by how many.
COMBINED = {
    ("NOT", "LIKE"): 2,
    ("NOT", "ILIKE"): 2,
    ("NOT", "IN"): 2,
    ("NOT", "BETWEEN"): 2,
    ("AT", "TIME", "ZONE"): 3,
}
# Operators that sqlglot's tokenizer cuts in two.
GLUED = frozenset((("<", "<"), (">", ">"), ("!", "~"), ("!", "~*"), ("!", "~~"), ("!", "~~*")))

# What may stand behind IS, as the words between it and the operand's end.
IS_TESTS: dict[tuple[str, ...], Callable[[exp.Expr], exp.Expr]] = {
    ("NULL",): lambda operand: exp.Is(this=operand, expression=exp.Null()),
    ("NOT", "NULL"): lambda operand: exp.Is(this=operand, expression=exp.Null(), negate=True),
    ("TRUE",): lambda operand: exp.Is(this=operand, expression=exp.Boolean(this=True)),
    ("NOT", "TRUE"): lambda operand: exp.Is(this=operand, expression=exp.Boolean(this=True), negate=True),
    ("FALSE",): lambda operand: exp.Is(this=operand, expression=exp.Boolean(this=False)),
    ("NOT", "FALSE"): lambda operand: exp.Is(this=operand, expression=exp.Boolean(this=False), negate=True),
}
