"""Conditions of a compiled query as formulas: NOT pushed inward, IN and && as joins (powersync.md 1.6, 1 and 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sqlglot import exp

from connector.definitions.compiled.boolean import And, Condition, Equality, Formula, Or, Present, equal_term
from connector.definitions.compiled.names import Names, Reported, standing_for
from connector.definitions.sql import Refused, range_of
from connector.definitions.terms import Term


@dataclass(frozen=True)
class Members:
    """The rows of a subquery that a value is compared with: its one column, what it joins, what must hold of that."""

    column: exp.Expr | None
    names: Names
    present: tuple[Formula, ...]
    conditions: tuple[Formula, ...] = ()


class Subqueries(Protocol):
    """Where conditions get subqueries from; None where the node is none. Negated, their conditions are."""

    def members(self, node: exp.Expr, names: Names, *, negated: bool) -> Members | None: ...

    def is_subquery(self, node: exp.Expr) -> bool: ...


def formula_of(node: exp.Expr, names: Names, subqueries: Subqueries, *, negated: bool = False) -> Formula:
    """What a condition, or its negation, demands. What is wrong with it is reported."""
    return _Conditions(names, subqueries).formula(node, negated)


def output_of(node: exp.Expr, names: Names) -> Term | None:
    """The term of a result column; None, with a finding, where it has none."""
    return names.output(_expanded(node, names)[0])


class _Conditions:
    def __init__(self, names: Names, subqueries: Subqueries) -> None:
        self._names = names
        self._subqueries = subqueries

    def formula(self, node: exp.Expr, negated: bool) -> Formula:
        return _FORMS.get(type(node), _Conditions._condition)(self, node, negated)

    def _parenthesised(self, node: exp.Expr, negated: bool) -> Formula:
        return self.formula(node.this, negated)

    def _junction(self, node: exp.Expr, negated: bool) -> Formula:
        parts = tuple(self.formula(part, negated) for part in node.flatten(unnest=False))
        return And(parts) if isinstance(node, exp.And) is not negated else Or(parts)

    def _membership(self, node: exp.Expr, negated: bool) -> Formula:
        return self._in(node.this, _members(node), node, negated) if _joins(node) else self._condition(node, negated)

    def _overlap(self, node: exp.Expr, negated: bool) -> Formula:
        each = self._names.each(node.this, node.this)
        return And((Present(each), self._in(standing_for(each), node.expression, node, negated)))

    def _comparison(self, node: exp.Expr, negated: bool) -> Formula:
        """`=`, or a negated `!=`, may join; the others are conditions."""
        return self._condition(node, negated) if isinstance(node, exp.EQ) is negated else self._equality(node)

    def _not(self, node: exp.Expr, negated: bool) -> Formula:
        inner = node.this
        if not _is_not_in(inner) or self._subqueries.is_subquery(_members(inner)):
            return self.formula(inner, not negated)
        return self._in(inner.this, _members(inner), inner, False) if negated else self._condition(node, False)

    def _in(self, left: exp.Expr, right: exp.Expr, node: exp.Expr, negated: bool) -> Formula:
        """`left IN right`: a join with the rows of the subquery or of the array."""
        try:
            members = self._subqueries.members(right, self._names, negated=negated)
        except Reported:
            return Condition(None, self._names.report)
        except Refused as refused:
            self._names.report.fatal(refused)
            return Condition(None, self._names.report)
        if members is None:
            each = self._names.each(right, right)
            members = Members(standing_for(each), self._names, (Present(each),))
        expanded, joined = _expanded(left, self._names)
        one = self._names.term(expanded)
        matched = self._unequal(one, members, node) if negated else self._equal(one, members, node)
        conditions = (matched, *members.conditions)
        return And((*joined, *members.present, Or(conditions) if negated else And(conditions)))

    def _equal(self, one: Term | None, members: Members, node: exp.Expr) -> Formula:
        other = members.names.term(members.column) if members.column is not None else None
        return Equality(one, other, node, self._names.report)

    def _unequal(self, one: Term | None, members: Members, node: exp.Expr) -> Formula:
        other = members.names.term(members.column, after=one) if members.column is not None else None
        if one is None or other is None:
            return Condition(None, self._names.report)
        if members.names is not self._names:  # no index of rows that match can tell for whom none does
            hint = "select what is to be synced instead of what is not"
            self._names.report.fatal(Refused("NOT IN with a subquery is not supported", range_of(node), hint))
        equal = equal_term(one, other, node)
        return Condition(Term(["not", equal.expression], equal.sources, node), self._names.report)

    def _equality(self, node: exp.Expr) -> Formula:
        (left, left_joined), (right, right_joined) = (
            _expanded(each, self._names) for each in (node.this, node.expression)
        )
        equality = Equality(self._names.term(left), self._names.term(right), node, self._names.report)
        return And((*left_joined, *right_joined, equality))

    def _condition(self, node: exp.Expr, negated: bool) -> Formula:
        expanded, joined = _expanded(node, self._names)
        term = self._names.term(expanded)
        if negated and term is not None:
            term = Term(["not", term.expression], term.sources, node)
        return And((*joined, Condition(term, self._names.report)))


_FORMS: dict[type[exp.Expr], Callable[[_Conditions, exp.Expr, bool], Formula]] = {
    exp.Paren: _Conditions._parenthesised,
    exp.Not: _Conditions._not,
    exp.And: _Conditions._junction,
    exp.Or: _Conditions._junction,
    exp.In: _Conditions._membership,
    exp.ArrayOverlaps: _Conditions._overlap,
    exp.EQ: _Conditions._comparison,
    exp.NEQ: _Conditions._comparison,
}


def _expanded(node: exp.Expr, names: Names) -> tuple[exp.Expr, list[Present]]:
    """The expression with each IN inside it as a comparison with an element of the array, and the arrays."""
    joined: list[Present] = []

    def value_of(array: exp.Expr) -> exp.Expr:
        each = names.each(array, array)
        joined.append(Present(each))
        return standing_for(each)

    def replaced(inner: exp.Expr) -> exp.Expr:
        if isinstance(inner, exp.In) and _joins(inner) and not _is_not_in(inner):
            return exp.EQ(this=inner.this, expression=value_of(_members(inner)))
        if isinstance(inner, exp.ArrayOverlaps):
            return exp.EQ(this=value_of(inner.this), expression=value_of(inner.expression))
        return inner

    found = node.find(exp.In, exp.ArrayOverlaps) is not None
    return (node.transform(replaced) if found else node), joined


def _joins(node: exp.Expr) -> bool:
    """Not an IN over values that are written one by one."""
    field = node.args.get("field")
    return not isinstance(field, exp.Array) and not (isinstance(field, exp.Anonymous) and field.name.lower() == "row")


def _members(node: exp.Expr) -> exp.Expr:
    """The right side of IN; several values in parentheses are one node, which means nothing."""
    values: list[exp.Expr] = [node.args[word] for word in ("query", "field") if node.args.get(word)] or node.expressions
    if len(values) == 1:
        return values[0]
    several = exp.Tuple(expressions=values)
    if values:
        several.meta.update(first=range_of(values[0])[0], last=range_of(values[-1])[1] - 1)
    return several


def _is_not_in(node: exp.Expr) -> bool:
    """The operand of a NOT that was written `x NOT IN …`, not `NOT x IN …`."""
    negation = node.parent
    return isinstance(node, exp.In) and isinstance(negation, exp.Not) and range_of(negation)[0] == range_of(node)[0]
