"""WHERE clauses that match rows with parameters: which rows belong to which values.

A condition is a `Term` on the row alone or on the request alone, or a `Match`: under each alternative some filters on
the row must hold, and each of its inputs must equal an expression of the row. An input is a bucket parameter or a
request expression; an input that expands is an array, of which any element may be the equal one. On the row's side
["elements", e] stands for any element of the array that e is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from connector.definitions.legacy.danger import authenticated
from connector.definitions.legacy.scope import MATCH_NOT_HERE, LegacyScope, of_request
from connector.definitions.sql import Range, Refused, range_of
from connector.definitions.terms import BUCKET, ROW, Term, canonical_order, translate

Expression = list[Any]
MAX_ALTERNATIVES = 100


@dataclass(frozen=True)
class Input:
    """What the row is compared with. `identity` is equal for equal ones."""

    expression: Expression
    expands: bool = False

    @property
    def identity(self) -> str:
        return json.dumps([self.expression, self.expands])

    def shown(self) -> dict[str, Any]:
        return {"key": written_key(self.expression) + ("[*]" if self.expands else ""), "expands": self.expands}


@dataclass(frozen=True)
class Alternative:
    """`keys`: per input's identity the expressions of the row that must all equal it."""

    filters: tuple[Expression, ...]
    keys: Mapping[str, tuple[Expression, ...]]


@dataclass(frozen=True)
class Match:
    """`unbounded`: a row may belong to any number of values. `authenticated`: every way to match rests on the token."""

    inputs: tuple[Input, ...]
    alternatives: tuple[Alternative, ...]
    unbounded: bool = False
    authenticated: bool = False


def conditions(where: exp.Expr | None, scope: LegacyScope, refused: Callable[[Refused], None]) -> Match:
    """What a whole WHERE asks for; a condition that is wrong goes to `refused`, and is left out."""
    found = EVERYTHING
    start = None
    for node in conjuncts(where):
        start = range_of(node)[0] if start is None else start
        try:
            found = _both(found, _as_match(clause(node, scope)), (start, range_of(node)[1]))
        except Refused as error:
            refused(error)
    return found


def conjuncts(where: exp.Expr | None) -> Iterable[exp.Expr]:
    """The conditions joined by AND, at whatever depth of parentheses, without these."""
    pending = [where] if where is not None else []
    while pending:
        node = pending.pop().unnest()
        if isinstance(node, exp.And):
            pending += (node.expression, node.this)
        else:
            yield node


def clause(node: exp.Expr, scope: LegacyScope) -> Term | Match:
    """What one condition asks for. Raises Refused for what cannot be asked."""
    node = node.unnest()
    reading = _CLAUSES.get(type(node))
    return translate(node, scope) if reading is None else reading(node, scope)


def placed(alternative: Alternative, order: Iterable[str]) -> dict[str, Any]:
    """The alternative as plans hold it: keys in the order of the inputs' identities, array elements as functions."""
    functions: list[Expression] = []
    filters = list(alternative.filters)
    keys = []
    for identity in order:
        expressions = canonical_order(list(alternative.keys[identity]))
        arrays = [each[1] for each in expressions if each[0] == "elements"]
        scalars = [each for each in expressions if each[0] != "elements"]
        if not scalars:
            functions.append(["elements", arrays.pop(0)])
        key = scalars[0] if scalars else ["value", len(functions) - 1]
        filters += [["=", key, other] for other in scalars[1:]]
        filters += [["in", key, array] for array in arrays]
        keys.append(key)
    return {"functions": functions, "filters": canonical_order(filters), "keys": keys}


EVERYTHING = Match((), (Alternative((), {}),))


def _as_match(found: Term | Match) -> Match:
    if isinstance(found, Match):
        return found
    if found.sources <= {ROW}:
        return Match((), (Alternative((found.expression,), {}),))
    if BUCKET in found.sources:  # `bucket.p` alone means `bucket.p = true`
        return _single(Input(found.expression), ["literal", 1])
    return _single(Input(["and", found.expression]), ["literal", 1])


def _single(given: Input, row: Expression) -> Match:
    return Match(
        (given,), (Alternative((), {given.identity: (row,)}),), row[0] == "elements", authenticated(given.expression)
    )


def _equality(node: exp.Expr, scope: LegacyScope) -> Term | Match:
    left, right = _sides(node, (node.this, node.expression), scope)
    if BUCKET in left.sources and BUCKET in right.sources:
        raise Refused("Cannot have bucket parameters on both sides of = operator", range_of(node))
    for given, row in ((left, right), (right, left)):
        if _can_match(given, row):
            return _single(Input(given.expression), row.expression)
    return translate(node, scope)


def _membership(node: exp.Expr, scope: LegacyScope) -> Term | Match:
    array = array_of(node)
    if array is None:
        return translate(node, scope)
    left, right = _sides(node, (node.this, array), scope)
    if BUCKET in right.sources:
        raise Refused("Cannot use bucket parameters on the right side of IN operators", range_of(right.node))
    if _can_match(left, right):
        return _single(Input(left.expression), ["elements", right.expression])
    if _can_match(right, left):
        return _single(Input(right.expression, expands=True), left.expression)
    return translate(node, scope)


def array_of(node: exp.Expr) -> exp.Expr | None:
    """The right side of IN, where it is an expression."""
    field: exp.Expr | None = node.args.get("field")
    return None if isinstance(field, exp.Tuple) else field


def _sides(node: exp.Expr, sides: tuple[exp.Expr, exp.Expr], scope: LegacyScope) -> tuple[Term, Term]:
    left, right = (clause(side, scope) for side in sides)
    if isinstance(left, Match) or isinstance(right, Match):
        raise Refused(MATCH_NOT_HERE, range_of(node))
    return left, right


def _can_match(given: Term, row: Term) -> bool:
    """A bucket parameter goes with constants too; a request expression with a constant is one on the request alone."""
    if BUCKET in given.sources:
        return row.sources <= {ROW}
    return of_request(given) and row.sources == {ROW}


def _junction(node: exp.Expr, scope: LegacyScope) -> Term | Match:
    operands = list(node.flatten())
    found = [clause(operand, scope) for operand in operands]
    terms = [each for each in found if isinstance(each, Term)]
    if len(terms) == len(found) and (all(each.sources <= {ROW} for each in terms) or not any(map(_mixable, terms))):
        return translate(node, scope)
    join = _both if isinstance(node, exp.And) else _either
    joined = _as_match(found[0])
    for each, operand in zip(found[1:], operands[1:], strict=True):
        joined = join(joined, _as_match(each), (range_of(operands[0])[0], range_of(operand)[1]))
    return joined


def _mixable(term: Term) -> bool:
    return bool(term.sources & {ROW, BUCKET})


def _both(one: Match, other: Match, place: Range) -> Match:
    if one.unbounded and other.unbounded:
        raise Refused("Cannot have multiple IN expressions on bucket parameters", place)
    return Match(
        _inputs(one, other),
        _bounded([_merged(a, b) for a in one.alternatives for b in other.alternatives], place),
        one.unbounded or other.unbounded,
        one.authenticated or other.authenticated,
    )


def _merged(one: Alternative, other: Alternative) -> Alternative:
    keys = {name: (*one.keys.get(name, ()), *other.keys.get(name, ())) for name in [*one.keys, *other.keys]}
    return Alternative((*one.filters, *other.filters), keys)


def _either(one: Match, other: Match, place: Range) -> Match:
    if {each.identity for each in one.inputs} != {each.identity for each in other.inputs}:
        left, right = (
            json.dumps([each.shown() for each in side.inputs], separators=(",", ":"), ensure_ascii=False)
            for side in (one, other)
        )
        raise Refused(
            "Left and right sides of OR must use the same parameters, or split into separate queries. "
            f"{left} != {right}",
            place,
        )
    return Match(
        one.inputs,
        _bounded([*one.alternatives, *other.alternatives], place),
        one.unbounded or other.unbounded,
        one.authenticated and other.authenticated,
    )


def _inputs(one: Match, other: Match) -> tuple[Input, ...]:
    return tuple({each.identity: each for each in (*one.inputs, *other.inputs)}.values())


def _bounded(alternatives: list[Alternative], place: Range) -> tuple[Alternative, ...]:
    if len(alternatives) > MAX_ALTERNATIVES:
        raise Refused(
            f"the conditions have more than {MAX_ALTERNATIVES} alternatives", place, "split them into several queries"
        )
    return tuple(alternatives)


_NAMES = {"token": "token_parameters", "client": "user_parameters"}


def written_key(expression: Expression) -> str:
    """An input as messages name it."""
    kind, *parts = expression
    if kind == "literal":
        return json.dumps(parts[0], ensure_ascii=False)
    if kind in ("bucket", *_NAMES):
        return f"{_NAMES.get(kind, kind)}.{parts[0]}"
    if kind == "request":
        return f"request.{parts[0]}({','.join(json.dumps(each, ensure_ascii=False) for each in parts[1:])})"
    if kind == "and" and len(parts) == 1:
        return written_key(parts[0])
    name = parts.pop(0) if kind in ("call", "cast") else kind
    written = (written_key(each) if isinstance(each, list) else json.dumps(each) for each in parts)
    return f"{name}({','.join(written)})"


_CLAUSES: dict[type[exp.Expr], Callable[[exp.Expr, LegacyScope], Term | Match]] = {
    exp.And: _junction,
    exp.Or: _junction,
    exp.EQ: _equality,
    exp.In: _membership,
}
