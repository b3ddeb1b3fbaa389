"""What operators mean: one rule per kind of node, for both dialects or one of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlglot import exp

from connector.definitions.sql import Refused, range_of
from connector.definitions.terms.scope import Scope, Term, canonical_order, combination

Build = Callable[[exp.Expr, list[Term], Scope], Term]


class Rule(NamedTuple):
    """How a node with operands becomes a term; `words` are the node's arguments that the rule reads."""

    build: Build
    operands: Callable[[exp.Expr], Sequence[exp.Expr]] = lambda node: [node.this, node.expression]
    words: frozenset[str] = frozenset(("this", "expression"))


def _unary(build: Build) -> Rule:
    return Rule(build, lambda node: [node.this], frozenset(("this", "to", "operator", "_type")))


def _plain(kind: str) -> Build:
    def build(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
        return combination(kind, node, terms, scope, [kind, *(term.expression for term in terms)])

    return build


def _swapped(kind: str) -> Build:
    """`a > b` is `b < a`."""
    return lambda node, terms, scope: _plain(kind)(node, terms[::-1], scope)


def _symmetric(kind: str) -> Build:
    """`a = b` and `b = a` are one text."""

    def build(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
        return _plain(kind)(node, sorted(terms, key=lambda term: json.dumps(term.expression)), scope)

    return build


def _junction(kind: str) -> Rule:
    def build(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
        parts = [part for term in terms for part in _flat(kind, term.expression)]
        return combination(kind, node, terms, scope, [kind, *canonical_order(parts)])

    return Rule(build, lambda node: list(node.flatten()))


def _flat(kind: str, expression: list[Any]) -> list[Any]:
    return expression[1:] if expression[0] == kind else [expression]


def _unequal(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
    """In edition 3 `a != b` is NOT (a = b), which differs where one of them is NULL (powersync.md 1.7)."""
    if scope.dialect == "legacy":
        return _symmetric("!=")(node, terms, scope)
    equal = _symmetric("=")(node, terms, scope)
    return Term(["not", equal.expression], equal.sources, node)


def _negated(build: Build) -> Build:
    def negate(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
        term = build(node, terms, scope)
        return Term(["not", term.expression], term.sources, node)

    return negate


def _is(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
    tested = node.expression
    if isinstance(tested, exp.Null):
        build = _plain("is null")
    elif scope.dialect == "legacy":
        words = f"{'NOT ' if node.args.get('negate') else ''}{'TRUE' if tested.this else 'FALSE'}"
        raise Refused(f"Operator IS {words} is not supported", range_of(node))
    else:
        terms = [*terms, Term(["literal", 1 if tested.this else 0], frozenset(), tested)]
        build = _plain("is")
    return (_negated(build) if node.args.get("negate") else build)(node, terms, scope)


def _members(node: exp.Expr) -> list[exp.Expr]:
    """The operands of IN: the left side, then the array, or each value of a list written out."""
    listed = _list(node)
    right = node.args.get("field") or node.args.get("query")
    return [node.this, *(listed if listed is not None else [right])]


def _list(node: exp.Expr) -> list[exp.Expr] | None:
    """The values of `IN ARRAY[…]` and `IN ROW(…)`."""
    field = node.args.get("field")
    if isinstance(field, exp.Anonymous):
        return list(field.expressions) if str(field.this).lower() == "row" else None
    return list(field.expressions) if isinstance(field, exp.Array) else None


def _in_array(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
    return _plain("in")(node, terms, scope)


def _in_list(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
    """Of the compiled dialect; any other IN is a join, which the caller makes of it."""
    if _list(node) is None:
        raise Refused("Sync streams can only select from actual tables", range_of(_members(node)[1]))
    return _listed(node, terms, scope)


def _listed(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
    if len(terms) == 1 and scope.engine == "sqlite":
        raise Refused("the SQLite engine has no empty list", range_of(node), "nothing is in an empty list: write FALSE")
    return _plain("in list")(node, terms, scope)


def _not_operands(node: exp.Expr) -> list[exp.Expr]:
    return _members(node.this) if node.meta.get("operator") == "NOT IN" else [node.this]


def _legacy_not_operands(node: exp.Expr) -> list[exp.Expr]:
    if node.meta.get("operator") != "NOT IN":
        return [node.this]
    return [node.this.this, node.this.args.get("field") or node.this.args["query"]]


def _legacy_not(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
    if node.meta.get("operator") == "NOT IN":
        raise Refused("Operator not supported: NOT IN", range_of(node), "write NOT (… IN …)")
    return _plain("not")(node, terms, scope)


def _not(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
    if node.meta.get("operator") == "NOT IN":
        return _negated(_plain("in") if _list(node.this) is None else _listed)(node, terms, scope)
    return _plain("not")(node, terms, scope)


def _overlaps(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
    if scope.overlaps:
        return _plain("overlaps")(node, terms, scope)
    if scope.dialect == "compiled":
        raise Refused("Sync streams can only select from actual tables", range_of(node.this))
    raise Refused("Operator not supported: &&", range_of(node))


def _member(kind: str) -> Rule:
    """-> and ->>: a key, or (edition 3) an index."""

    def build(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
        path = node.expression
        if path.args["is_string"]:
            member: str | int = str(path.this)
        elif scope.dialect == "legacy":
            raise Refused(f"Unsupported member operation {kind}", range_of(node), "the right side must be a text")
        else:
            member = int(str(path.this))
        return combination(kind, node, terms, scope, [kind, terms[0].expression, member])

    return Rule(build, lambda node: [node.this])


_TYPES = ("text", "integer", "real", "numeric", "blob")


def _cast(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
    written = node.args["to"]
    kind = str(written.this)
    hint = f"possible: {', '.join(_TYPES)}"
    if kind not in _TYPES and scope.dialect == "legacy":
        raise Refused(f"CAST not supported for '{kind}'", range_of(node), hint)
    if kind not in _TYPES:
        raise Refused("Invalid SQLite cast", range_of(written), hint)
    return combination("cast", node, terms, scope, ["cast", kind, terms[0].expression])


def _between(node: exp.Expr) -> list[exp.Expr]:
    return [node.this, node.args["low"], node.args["high"]]


_BETWEEN_WORDS = frozenset(("this", "low", "high"))


def _case_operands(node: exp.Expr) -> list[exp.Expr]:
    branches = [part for branch in node.args["ifs"] for part in (branch.this, branch.args["true"])]
    return [part for part in (node.this, node.args.get("default")) if part is not None] + branches


def _case(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
    """["case", default, when, then, …], or with the value compared ["case of", value, default, when, then, …]."""
    rest = [term.expression for term in terms]
    head: list[Any] = ["case of", rest.pop(0)] if node.this is not None else ["case"]
    default = rest.pop(0) if node.args.get("default") is not None else ["literal", None]
    return combination("case", node, terms, scope, [*head, default, *rest])


def _same(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
    return Term(terms[0].expression, terms[0].sources, node)


def _refused(message: str, hint: str | None = None) -> Build:
    def build(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
        raise Refused(message, range_of(node), hint)

    return build


def _legacy_foreign(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
    operator = node.args["operator"]
    if len(terms) == 1:
        raise Refused(f"Operator {operator} is not supported", range_of(node))
    raise Refused(f"Operator not supported: {operator}", range_of(node))


def _foreign(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
    if len(terms) == 1:
        return _same(node, terms, scope)
    if node.args["operator"].endswith("LIKE"):
        raise Refused("LIKE expressions are not currently supported.", range_of(node))
    raise Refused("Unsupported binary operator", range_of(node))


def _foreign_operands(node: exp.Expr) -> list[exp.Expr]:
    return [operand for operand in (node.this, node.args.get("expression")) if operand is not None]


_FOREIGN_WORDS = frozenset(("this", "expression", "operator"))
_IN_WORDS = frozenset(("this", "field", "query"))
_INTEGER_OPERATORS: dict[type[exp.Expr], str] = {
    exp.Mod: "%",
    exp.BitwiseAnd: "&",
    exp.BitwiseOr: "|",
    exp.BitwiseLeftShift: "<<",
    exp.BitwiseRightShift: ">>",
}

_BOTH: dict[type[exp.Expr], Rule] = {
    exp.And: _junction("and"),
    exp.Or: _junction("or"),
    exp.EQ: Rule(_symmetric("=")),
    exp.NEQ: Rule(_unequal),
    exp.LT: Rule(_plain("<")),
    exp.LTE: Rule(_plain("<=")),
    exp.GT: Rule(_swapped("<")),
    exp.GTE: Rule(_swapped("<=")),
    exp.Add: Rule(_plain("+")),
    exp.Sub: Rule(_plain("-")),
    exp.Mul: Rule(_plain("*")),
    exp.Div: Rule(_plain("/")),
    exp.DPipe: Rule(_plain("||")),
    exp.ArrayOverlaps: Rule(_overlaps),
    exp.Is: Rule(_is, lambda node: [node.this], frozenset(("this", "expression", "negate"))),
    exp.JSONExtract: _member("->"),
    exp.JSONExtractScalar: _member("->>"),
    exp.Cast: _unary(_cast),
    exp.Paren: _unary(_same),
}
RULES: dict[str, dict[type[exp.Expr], Rule]] = {
    "legacy": {
        **_BOTH,
        **{kind: Rule(_refused(f"Operator not supported: {name}")) for kind, name in _INTEGER_OPERATORS.items()},
        exp.Not: Rule(_legacy_not, _legacy_not_operands),
        exp.In: Rule(_in_array, lambda node: [node.this, node.args.get("field") or node.args["query"]], _IN_WORDS),
        exp.Neg: _unary(_refused("Operator - is not supported")),
        exp.Operator: Rule(_legacy_foreign, _foreign_operands, _FOREIGN_WORDS),
    },
    "compiled": {
        **_BOTH,
        **{kind: Rule(_plain(name)) for kind, name in _INTEGER_OPERATORS.items()},
        exp.Not: Rule(_not, _not_operands),
        exp.In: Rule(_in_list, _members, _IN_WORDS),
        exp.Neg: _unary(_refused("Unary minus is not currently supported", "write 0 - …")),
        exp.Operator: Rule(_foreign, _foreign_operands, _FOREIGN_WORDS),
        exp.Between: Rule(_plain("between"), _between, _BETWEEN_WORDS),
        exp.Case: Rule(_case, _case_operands, frozenset(("this", "ifs", "default"))),
    },
}
