"""The WHERE of a stream as a formula, NOT pushed inward, and the formula as alternatives (powersync.md 1.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from connector.definitions.legacy.matches import MAX_ALTERNATIVES, array_of
from connector.definitions.legacy.scope import LegacyScope, of_request
from connector.definitions.sql import Range, Refused, range_of
from connector.definitions.terms import ROW, Term, canonical_order, translate

Expression = list[Any]


@dataclass(frozen=True)
class Filter:
    """A condition on the row alone, or on the request alone."""

    expression: Expression
    of_request: bool


@dataclass(frozen=True)
class Subquery:
    """A SELECT of one column: the index that finds its rows, and what a request finds them by.

    `rows` are the expressions of its table that equal the `inputs`, `filters` those on its table, `request_filters`
    those on the request.
    """

    number: int
    pattern: str
    result: Expression
    rows: tuple[Expression, ...]
    inputs: tuple[Given, ...]
    filters: tuple[Expression, ...]
    request_filters: tuple[Expression, ...]


@dataclass(frozen=True)
class Given:
    """A request expression; `expands`: it is an array, any element of which may be the equal one."""

    expression: Expression
    expands: bool = False


@dataclass(frozen=True)
class Matched:
    """An expression of the row (["elements", e]: any element of an array) equals what a request gives."""

    row: Expression
    given: Given | Subquery


@dataclass(frozen=True)
class Found:
    """What a request gives is among the results of a subquery."""

    given: Given
    subquery: Subquery


@dataclass(frozen=True)
class And:
    parts: tuple[Formula, ...]
    place: Range


@dataclass(frozen=True)
class Or:
    parts: tuple[Formula, ...]
    place: Range


Leaf = Filter | Matched | Found
Formula = Leaf | And | Or
Subqueries = Callable[[exp.Expr, exp.Expr], Subquery]  # the condition, and the SELECT in it


def formula(where: exp.Expr, scope: LegacyScope, subqueries: Subqueries) -> Formula:
    """What a WHERE asks for. Raises Refused for what a stream cannot ask."""
    return _Reading(scope, subqueries).read(where, None)


def alternatives(condition: Formula) -> list[tuple[Leaf, ...]]:
    """The formula as conjunctions of which one must hold, in the order written; those on the row alone are one."""
    found: list[tuple[Leaf, ...]] = []
    of_row = None
    for conjunction in _expanded(condition):
        if not all(isinstance(leaf, Filter) and not leaf.of_request for leaf in conjunction):
            found.append(conjunction)
        elif of_row is None:
            of_row = len(found)
            found.append(conjunction)
        else:
            found[of_row] = (_joined("or", [_joined("and", found[of_row]), _joined("and", conjunction)]),)
    return found


class _Reading:
    def __init__(self, scope: LegacyScope, subqueries: Subqueries) -> None:
        self._scope = scope
        self._subqueries = subqueries

    def read(self, node: exp.Expr, negation: exp.Expr | None, *, negated: bool = False) -> Formula:
        """`negation`: the NOT right before the node, for messages."""
        node = node.unnest()
        if isinstance(node, exp.Not):
            return self.read(node.this, node, negated=not negated)
        if isinstance(node, exp.And | exp.Or):
            parts = [self.read(part, None, negated=negated) for part in node.flatten()]
            return _junction(parts, range_of(node), all_=isinstance(node, exp.And) is not negated)
        leaf = self._leaf(node)
        if not negated:
            return leaf
        if not isinstance(leaf, Filter):
            raise Refused("Negations are not allowed here", range_of(negation or node))
        return Filter(["not", leaf.expression], leaf.of_request)

    def _leaf(self, node: exp.Expr) -> Leaf:
        reading = _LEAVES.get(type(node))
        found = None if reading is None else reading(self, node)
        return self._filter(translate(node, self._scope)) if found is None else found

    def _filter(self, term: Term) -> Filter:
        return Filter(term.expression, of_request(term))

    def equality(self, node: exp.Expr) -> Leaf | None:
        left, right = translate(node.this, self._scope), translate(node.expression, self._scope)
        return _matched(left, right) or _matched(right, left)

    def membership(self, node: exp.Expr) -> Leaf | None:
        query = node.args.get("query")
        if query is not None:
            return self._in_subquery(node, node.this, query, array=False)
        array = array_of(node)
        if array is None:
            return None
        left, right = translate(node.this, self._scope), translate(array, self._scope)
        if ROW in left.sources:
            return _matched(left, right, expands=True)
        return _matched(right, left, elements=True)

    def overlap(self, node: exp.Expr) -> Leaf | None:
        for one, other in ((node.this, node.expression), (node.expression, node.this)):
            if _is_select(other):
                return self._in_subquery(node, one, other, array=True)
        left, right = translate(node.this, self._scope), translate(node.expression, self._scope)
        one, other = (left, right) if ROW in left.sources else (right, left)
        return _matched(one, other, elements=True, expands=True)

    def _in_subquery(self, node: exp.Expr, left: exp.Expr, query: exp.Expr, *, array: bool) -> Leaf:
        term = translate(left, self._scope)
        if not term.sources:
            raise Refused(
                "For IN subqueries, the left operand must either depend on the row to sync or stream parameters.",
                range_of(left),
            )
        subquery = self._subqueries(node, query)
        if of_request(term):
            return Found(Given(term.expression, expands=array), subquery)
        if not subquery.rows:
            raise Refused(
                "Unsupported subquery without parameter, must depend on request parameters",
                None,
                "compare one of its columns with auth.user_id() or a parameter",
            )
        return Matched(["elements", term.expression] if array else term.expression, subquery)


def _matched(row: Term, given: Term, *, elements: bool = False, expands: bool = False) -> Matched | None:
    """The row's side and the request's; None where they are not that."""
    if ROW not in row.sources or not of_request(given):
        return None
    return Matched(["elements", row.expression] if elements else row.expression, Given(given.expression, expands))


def _is_select(node: exp.Expr) -> bool:
    return isinstance(node.unnest(), exp.Subquery | exp.Select)


def _junction(parts: list[Formula], place: Range, *, all_: bool) -> Formula:
    """AND or OR; conditions on the row alone are one condition, as are those on the request alone."""
    nested = And if all_ else Or
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, nested) else (part,))]
    joined: list[Formula] = []
    for part in flat:
        same = next((i for i, other in enumerate(joined) if _alike(part, other)), None)
        if same is None:
            joined.append(part)
        else:
            joined[same] = _joined("and" if all_ else "or", [joined[same], part])
    return joined[0] if len(joined) == 1 else nested(tuple(joined), place)


def _alike(one: Formula, other: Formula) -> bool:
    return isinstance(one, Filter) and isinstance(other, Filter) and one.of_request == other.of_request


def _joined(kind: str, parts: Any) -> Filter:
    """Filters of one side as one."""
    expressions = [part.expression for part in parts]
    if len(expressions) == 1:
        return Filter(expressions[0], parts[0].of_request)
    flat = [inner for each in expressions for inner in (each[1:] if each[0] == kind else [each])]
    return Filter([kind, *canonical_order(flat)], parts[0].of_request)


def _expanded(condition: Formula) -> list[tuple[Leaf, ...]]:
    if isinstance(condition, Or):
        return _bounded([each for part in condition.parts for each in _expanded(part)], condition.place)
    if not isinstance(condition, And):
        return [(condition,)]
    found: list[tuple[Leaf, ...]] = [()]
    for part in condition.parts:
        ways = _expanded(part)
        found = _bounded([(*before, *way) for before in found for way in ways], condition.place)
    return found


def _bounded(found: list[tuple[Leaf, ...]], place: Range) -> list[tuple[Leaf, ...]]:
    if len(found) > MAX_ALTERNATIVES:
        raise Refused(f"the conditions have more than {MAX_ALTERNATIVES} alternatives", place, "split the stream")
    return found


_LEAVES: dict[type[exp.Expr], Callable[[_Reading, exp.Expr], Leaf | None]] = {
    exp.EQ: _Reading.equality,
    exp.In: _Reading.membership,
    exp.ArrayOverlaps: _Reading.overlap,
}
