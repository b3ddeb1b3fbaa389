"""Conditions of a compiled query as a disjunction of conjunctions (powersync.md 1.6, step 2).

What depends on one owner alone is one condition, whatever its inner AND and OR: only what joins is taken apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

from sqlglot import exp

from connector.definitions.compiled.sources import Each, Request, Table, eaches, owner
from connector.definitions.source import Report
from connector.definitions.terms import Term, canonical_order

MAX_TERMS = 100


class TooManyTerms(Exception):
    """The disjunction would have more than MAX_TERMS terms."""


@dataclass(frozen=True)
class Present:
    """A source has a row. Holds wherever the SELECT that names the source does."""

    source: Table | Each


@dataclass(frozen=True, eq=False)
class Condition:
    """A term is true. No term where its translation failed, which has been reported."""

    term: Term | None
    report: Report


@dataclass(frozen=True, eq=False)
class Equality:
    """Two terms are equal, each of one owner."""

    left: Term | None
    right: Term | None
    node: exp.Expr
    report: Report


@dataclass(frozen=True)
class And:
    parts: tuple[Formula, ...]


@dataclass(frozen=True)
class Or:
    parts: tuple[Formula, ...]


Leaf = Present | Condition | Equality
Formula = Leaf | And | Or
Conjunction = tuple[Leaf, ...]


def terms(leaf: Leaf) -> list[Term | None]:
    """The terms that a leaf tests."""
    if isinstance(leaf, Present):
        return [leaf.source.argument] if isinstance(leaf.source, Each) else []
    return [leaf.term] if isinstance(leaf, Condition) else [leaf.left, leaf.right]


def disjunction(formula: Formula) -> list[Conjunction]:
    """The conjunctions of which one must hold. Raises TooManyTerms."""
    return [tuple(dict.fromkeys(conjunction)) for conjunction in _expand(_fold(formula))]


def _expand(formula: Formula) -> list[Conjunction]:
    if isinstance(formula, Or):
        return _limited(conjunction for part in formula.parts for conjunction in _expand(part))
    if isinstance(formula, And):
        return reduce(_both, map(_expand, formula.parts), [()])
    return [(formula,)]


def _both(left: list[Conjunction], right: list[Conjunction]) -> list[Conjunction]:
    return _limited(one + other for one in left for other in right)


def _limited(conjunctions: Iterable[Conjunction]) -> list[Conjunction]:
    found: list[Conjunction] = []
    for conjunction in conjunctions:
        if len(found) == MAX_TERMS:
            raise TooManyTerms
        found.append(conjunction)
    return found


def _fold(formula: Formula) -> Formula:
    """Every OR whose parts have one owner, as one condition."""
    if isinstance(formula, And):
        return And(tuple(map(_fold, formula.parts)))
    if not isinstance(formula, Or):
        return formula
    parts = tuple(map(_fold, formula.parts))
    if len(parts) == 1:
        return parts[0]
    alone = [_alone(part) for part in parts]
    return Condition(_joined("or", _whole(alone)), _report(parts[0])) if _one_owner(alone) else Or(parts)


def _alone(formula: Formula) -> Term | None:
    """The formula as one term, if it is about one owner and joins nothing."""
    if isinstance(formula, Condition):
        return formula.term
    if isinstance(formula, Equality):
        sides = [formula.left, formula.right]
        return _equal(_whole(sides), formula.node) if _one_owner(sides) else None
    if isinstance(formula, And):
        parts = [_alone(part) for part in formula.parts]
        return _joined("and", _whole(parts)) if parts and _one_owner(parts) else None
    return None


def _one_owner(parts: Sequence[Term | None]) -> bool:
    """Constants belong to the request; two json_each calls outside rows belong to nobody together."""
    if any(part is None for part in parts):
        return False
    owners = {owner(part) or Request.OWNER for part in parts}
    return len(owners) == 1 and (Request.OWNER not in owners or not eaches(parts))


def _whole(parts: Sequence[Term | None]) -> list[Term]:
    return [part for part in parts if part is not None]


def _joined(kind: str, parts: list[Term]) -> Term:
    operands = [inner for part in parts for inner in _operands(kind, part.expression)]
    return Term([kind, *canonical_order(operands)], _sources(parts), parts[0].node)


def _operands(kind: str, expression: list[object]) -> list[list[object]]:
    return list(expression[1:]) if expression[0] == kind else [expression]  # type: ignore[arg-type]


def _equal(sides: list[Term], node: exp.Expr) -> Term:
    return equal_term(sides[0], sides[1], node)


def equal_term(left: Term, right: Term, node: exp.Expr) -> Term:
    """The comparison of two terms as a term, the same for `a = b` and `b = a`."""
    operands = sorted((left.expression, right.expression), key=json.dumps)
    return Term(["=", *operands], left.sources | right.sources, node)


def _sources(parts: list[Term]) -> frozenset[object]:
    return frozenset().union(*(part.sources for part in parts))


def _report(formula: Formula) -> Report:
    if isinstance(formula, Condition | Equality):
        return formula.report
    if isinstance(formula, Present):
        raise ValueError("a joined source is no condition")
    return _report(formula.parts[0])
