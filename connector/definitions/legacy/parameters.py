"""Parameter queries: which values of a bucket's parameters a request gets, on its own, through a table or an array."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from connector.definitions.legacy.columns import MATCH_NOT_ALLOWED, bare, result_name, result_term
from connector.definitions.legacy.danger import authenticated, said_by_client
from connector.definitions.legacy.matches import Match, conditions, conjuncts, placed
from connector.definitions.legacy.scope import ELEMENT, REQUEST_FUNCTIONS, TOKENS, LegacyScope
from connector.definitions.legacy.tables import check_columns, report_names, table_of
from connector.definitions.source import Report, Source
from connector.definitions.sql import Refused, Select, parse, range_of
from connector.definitions.terms import ROW, Term, canonical_order, translate

Expression = list[Any]


@dataclass(frozen=True, slots=True)
class ParameterQuery:
    """What one parameter query gives.

    `names` are its parameters, `values` the expressions that a request finds them by (["output", 0, name] of the
    lookup's row, ["value", n] and ["key", n] of its functions' rows). `index` is the index plan without version and
    options, None for a query on the request alone; `inputs` are the lookup's values, `filters` what must hold at all.
    """

    names: tuple[str, ...]
    values: list[Expression]
    priority: int | None
    index: dict[str, Any] | None = None
    inputs: list[Expression] = field(default_factory=list)
    functions: list[Expression] = field(default_factory=list)
    filters: list[Expression] = field(default_factory=list)
    dangerous: bool = False


def parameter_query(sql: str, source: Source, report: Report) -> ParameterQuery:
    """One parameter query. Raises Refused where the text is no query at all; the rest goes to `report`."""
    select = parse(sql)
    if select.table is None:
        return _static_query(select, report)
    call = select.table.this if isinstance(select.table, exp.Table) else None
    if isinstance(call, exp.Func):
        return _table_valued_query(select, call, report)
    return _table_query(select, source, report)


@dataclass
class _Results:
    """The result columns of a parameter query."""

    names: list[str] = field(default_factory=list)
    terms: list[Term] = field(default_factory=list)
    priority: int | None = None


def _scope(table: str | None) -> LegacyScope:
    return LegacyScope(table, dict(TOKENS), functions=REQUEST_FUNCTIONS)


def _static_query(select: Select, report: Report) -> ParameterQuery:
    scope = _scope(None)
    results = _results(select, scope, report)
    filters = _filters(select, scope, report)
    report_names(scope, report)
    return ParameterQuery(
        tuple(results.names),
        [term.expression for term in results.terms],
        results.priority,
        filters=canonical_order([term.expression for term in filters]),
        dangerous=said_by_client([*results.terms, *filters])
        and not any(authenticated(term.expression) for term in results.terms),
    )


class _RowsScope(LegacyScope):
    """The columns of a table-valued function, of which a query has one."""

    def row_column(self, name: str, node: exp.Expr) -> Term:
        if name not in ("key", "value"):
            raise Refused(f"Undefined reference: {name}", range_of(node), "json_each gives key and value")
        return Term([name, 0], frozenset((ELEMENT,)), node)


def _table_valued_query(select: Select, call: exp.Func, report: Report) -> ParameterQuery:
    request = _scope(None)
    argument = _array_argument(select, call, request)
    report_names(request, report)
    alias = select.table.args.get("alias") if select.table is not None else None
    scope = _RowsScope(None, dict(TOKENS), functions=REQUEST_FUNCTIONS)
    scope.table = scope.name(alias.this) if alias is not None and alias.this else "json_each"
    results = _results(select, scope, report)
    filters = _filters(select, scope, report)
    report_names(scope, report)
    used = [argument, *results.terms]
    return ParameterQuery(
        tuple(results.names),
        [term.expression for term in results.terms],
        results.priority,
        functions=[["json_each", argument.expression]],
        filters=canonical_order([term.expression for term in filters]),
        dangerous=said_by_client([*used, *filters]) and not any(authenticated(term.expression) for term in used),
    )


def _array_argument(select: Select, call: exp.Func, scope: LegacyScope) -> Term:
    name = call.name.lower() if isinstance(call, exp.Anonymous) else str(call.key)
    place = range_of(select.table) if select.table is not None else select.whole
    if name != "json_each":
        raise Refused(f"Table-valued function {name} is not defined.", place, "known: json_each")
    arguments = call.expressions
    if len(arguments) != 1:
        raise Refused("Table-valued function json_each takes 1 argument.", place)
    return translate(arguments[0], scope)


def _filters(select: Select, scope: LegacyScope, report: Report) -> list[Term]:
    """The conditions of a query without a table: all are on the request."""
    filters = []
    for node in conjuncts(select.where):
        try:
            filters.append(translate(node, scope))
        except Refused as refused:
            report.fatal(refused)
    return filters


def _table_query(select: Select, source: Source, report: Report) -> ParameterQuery:
    table = table_of(select, source, report)
    if table.renamed:
        report.fatal(Refused("Table aliases not supported in parameter queries", range_of(table.node)))
    scope = _scope(table.name)
    results = _results(select, scope, report)
    match = conditions(select.where, scope, report.fatal)
    if sum(each.expands for each in match.inputs) > 1:
        report.fatal(Refused("Cannot have multiple array input parameters", select.whole))
    check_columns(table, scope, source, report)
    of_row = [ROW in term.sources for term in results.terms]
    named = list(zip(results.names, results.terms, of_row, strict=True))
    inputs, functions = request_side(match)
    return ParameterQuery(
        tuple(results.names),
        [["output", 0, name] if row else term.expression for name, term, row in named],
        results.priority,
        index=index_of(table.pattern, match, [[name, term.expression] for name, term, row in named if row]),
        inputs=inputs,
        functions=functions,
        dangerous=_client_decides(match, results.terms),
    )


def index_of(pattern: str, match: Match, outputs: list[list[Any]]) -> dict[str, Any]:
    """The index plan's body: under which values a table's row is found, and what it then gives."""
    order = [each.identity for each in match.inputs]
    listed = {json.dumps(each): each for each in (placed(alternative, order) for alternative in match.alternatives)}
    ways = [listed[text] for text in sorted(listed)]
    first, *others = [{"functions": way["functions"], "filters": way["filters"], "inputs": way["keys"]} for way in ways]
    further = {"alternatives": others} if others else {}
    return {"table": pattern, **first, **further, "outputs": outputs, "null_outputs": True}


def request_side(match: Match) -> tuple[list[Expression], list[Expression]]:
    """A lookup's values, and the functions whose rows they need."""
    inputs: list[Expression] = []
    functions: list[Expression] = []
    for each in match.inputs:
        if each.expands:  # what is no array is in no row, as in the reference
            functions.append(["any elements", each.expression])
        inputs.append(["value", len(functions) - 1] if each.expands else each.expression)
    return inputs, functions


def _client_decides(match: Match, results: Sequence[Term]) -> bool:
    from_client = any(_mentions_client(each.expression) for each in match.inputs)
    safe = match.authenticated or any(authenticated(term.expression) for term in results)
    return (from_client or said_by_client(results)) and not safe


def _mentions_client(expression: Expression) -> bool:
    if expression[0] == "client" or expression[:2] in (["request", "parameters"], ["request", "parameter"]):
        return True
    return any(_mentions_client(part) for part in expression[1:] if isinstance(part, list))


def _results(select: Select, scope: LegacyScope, report: Report) -> _Results:
    results = _Results()
    for node in select.columns:
        try:
            _add_result(node, results, select, scope)
        except Refused as refused:
            report.fatal(refused)
    return results


def _add_result(node: exp.Expr, results: _Results, select: Select, scope: LegacyScope) -> None:
    if isinstance(bare(node).this, exp.Star) or isinstance(bare(node), exp.Star):
        raise Refused("* is not supported here - use explicit columns", range_of(node))
    term = result_term(node, scope)
    name = result_name(node, scope)
    if name == "_priority":
        _set_priority(term, bare(node), results, select)
        return
    if name in results.names:
        raise Refused(f'the parameter "{name}" is given twice', range_of(node))
    if ROW in term.sources and term.expression[0] != "column":
        raise Refused(MATCH_NOT_ALLOWED, range_of(bare(node)), "only plain columns can be parameters")
    results.names.append(name)
    results.terms.append(term)


def _set_priority(term: Term, node: exp.Expr, results: _Results, select: Select) -> None:
    value = term.expression[1] if term.expression[0] == "literal" else None
    if not isinstance(value, int) or not 0 <= value <= 3:
        raise Refused("Invalid value for priority, must be between 0 and 3 (inclusive).", range_of(node))
    if results.priority is not None:
        raise Refused("Cannot set priority multiple times.", select.whole)
    results.priority = value
