"""Literals as the plan holds them."""

from __future__ import annotations

import math
from collections.abc import Callable

from sqlglot import exp

from connector.definitions.sql import Refused, range_of
from connector.definitions.terms.scope import Scope, Term

_EXACT = 1 << 53
_LONGEST = 400


def literal(node: exp.Expr, scope: Scope) -> Term:
    """A text or a number."""
    return Term(["literal", str(node.this) if node.args["is_string"] else _number(node, scope)], frozenset(), node)


def constant(value: int | None) -> Callable[[exp.Expr, Scope], Term]:
    return lambda node, scope: Term(["literal", value], frozenset(), node)


def boolean(node: exp.Expr, scope: Scope) -> Term:
    return constant(1 if node.this else 0)(node, scope)


def _number(node: exp.Expr, scope: Scope) -> int | float:
    text = str(node.this)
    digits = text.removeprefix("-")
    if len(text) > _LONGEST:
        raise Refused(f"{text[:40]}… is no number of this language", range_of(node))
    if digits.isascii() and digits.isdigit():
        return _integer(int(text), scope)
    try:
        real = float(text)
    except ValueError:
        real = math.inf
    if not math.isfinite(real):
        raise Refused(f"{text[:40]} is no number of this language", range_of(node))
    return real


def _integer(number: int, scope: Scope) -> int | float:
    if scope.dialect == "legacy":
        # Beyond 2^53 the reference reads literals as doubles (powersync.md 1.7).
        return number if abs(number) <= _EXACT else int(float(number))
    fits = -(1 << 63) <= number < 1 << 63
    return float(number) if scope.engine == "sqlite" and not fits else number
