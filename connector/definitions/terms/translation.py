"""From a SQL expression to the term that it means, in either dialect."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlglot import exp

from connector.definitions.sql import Refused, name_range, range_of, together
from connector.definitions.terms import literals
from connector.definitions.terms.calls import check_function, function_name, scalar_call, substring_call
from connector.definitions.terms.operators import RULES
from connector.definitions.terms.scope import Scope, Term

MAX_DEPTH = 100


def translate(node: exp.Expr, scope: Scope) -> Term:
    """The term that an expression means. Raises Refused, for all its operands at once, where it means none."""
    leaf = _LEAVES.get(type(node))
    if leaf is not None:
        return leaf(node, scope)
    if scope.depth >= MAX_DEPTH:
        raise Refused(f"nested more than {MAX_DEPTH} levels deep", range_of(node), "split the expression")
    scope.depth += 1
    try:
        return _combined(node, scope)
    finally:
        scope.depth -= 1


def _combined(node: exp.Expr, scope: Scope) -> Term:
    if isinstance(node, exp.Anonymous):
        return _call(node, scope)
    if isinstance(node, exp.Dot):
        return _dotted(node, scope)
    if isinstance(node, exp.Substring) and scope.dialect == "compiled":
        parts = [node.this, node.args.get("start"), node.args.get("length")]
        return substring_call(node, _terms([part for part in parts if part is not None], scope), scope)
    rule = RULES[scope.dialect].get(type(node))
    if rule is None or not {word for word, value in node.args.items() if value} <= rule.words:
        raise _unknown(node, scope)
    return rule.build(node, _terms(rule.operands(node), scope), scope)


def _terms(nodes: Sequence[exp.Expr], scope: Scope) -> list[Term]:
    """The operands' terms; what is wrong with any of them is told of all."""
    found, refused = [], []
    for node in nodes:
        try:
            found.append(translate(node, scope))
        except Refused as error:
            refused.append(error)
    if refused:
        raise together(refused)
    return found


def _call(node: exp.Expr, scope: Scope) -> Term:
    function = function_name(node)
    found = scope.call(node, None, function, node.expressions)
    if found is not None:
        return found
    check_function(node, function, scope)
    return scalar_call(node, function, _terms(node.expressions, scope), scope)


def _dotted(node: exp.Expr, scope: Scope) -> Term:
    """A call with a schema."""
    call = node.expression
    if not isinstance(node.this, exp.Identifier) or not isinstance(call, exp.Anonymous):
        raise _unknown(node, scope)
    schema, function = scope.name(node.this), function_name(call)
    found = scope.call(node, schema, function, call.expressions)
    if found is not None:
        return found
    if scope.dialect == "compiled":
        raise Refused("Invalid schema in function name", name_range(node))
    raise Refused(f"Function '{schema}.{function}' is not defined", range_of(node))


def _column(node: exp.Expr, scope: Scope) -> Term:
    return scope.column(node)


def _star(node: exp.Expr, scope: Scope) -> Term:
    if scope.dialect == "compiled":
        raise _unknown(node, scope)
    raise Refused("* is not supported here - use explicit columns", range_of(node))


def _unknown(node: exp.Expr, scope: Scope) -> Refused:
    if scope.dialect == "compiled":
        message, hint = _UNKNOWN.get(type(node), ("This expression is not supported by PowerSync", None))
        return Refused(message, range_of(node), hint)
    return Refused(f"{_legacy_name(node)} not supported here", range_of(node))


def _legacy_name(node: exp.Expr) -> str:
    """The reference's name of a kind of expression that its legacy dialect refuses."""
    if isinstance(node, exp.Var) and node.name == "default":
        return "default"
    if isinstance(node, exp.Array) and any(isinstance(each, exp.Subquery) for each in node.expressions):
        return "array select"
    return _LEGACY_NAMES.get(type(node), type(node).__name__.lower())


_UNKNOWN: dict[type[exp.Expr], tuple[str, str]] = {
    exp.Subquery: (
        "Invalid position for subqueries. Subqueries are only supported in WHERE clauses.",
        "write it as `column IN (SELECT …)` in WHERE, or as a join",
    ),
    exp.Parameter: ("SQL parameters are not allowed", "write subscription.parameter('name')"),
}
_LEGACY_NAMES: dict[type[exp.Expr], str] = {
    exp.Between: "ternary",
    exp.Tuple: "list",
    exp.Bracket: "arrayIndex",
    exp.Subquery: "select",
    exp.Var: "keyword",
}
_LEAVES: dict[type[exp.Expr], Callable[[exp.Expr, Scope], Term]] = {
    exp.Column: _column,
    exp.Literal: literals.literal,
    exp.Null: literals.constant(None),
    exp.Boolean: literals.boolean,
    exp.Star: _star,
}
