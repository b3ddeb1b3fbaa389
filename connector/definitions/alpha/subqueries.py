"""Subqueries of streams: one column of a table's rows that a request finds (powersync.md 1.5)."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from connector.definitions.alpha.conditions import And, Filter, Formula, Given, Leaf, Matched, Or, Subquery, formula
from connector.definitions.alpha.scope import stream_scope
from connector.definitions.legacy.columns import bare, result_term
from connector.definitions.legacy.tables import check_columns, table_of
from connector.definitions.source import Report, Source
from connector.definitions.sql import Range, Refused, Select, range_of, refuse_clauses, select_of
from connector.definitions.terms import ROW

RESULT = "result"


class SubqueryReader:
    """Reads the subqueries of one stream, numbered in the order in which they are met."""

    def __init__(self, text: str, source: Source, report: Report) -> None:
        self._text = text
        self._source = source
        self._report = report
        self.found: list[Subquery] = []

    def __call__(self, condition: exp.Expr, query: exp.Expr) -> Subquery:
        number = len(self.found)
        tree = query.unnest()
        tree = tree.this if isinstance(tree, exp.Subquery) else tree
        if not isinstance(tree, exp.Select):
            raise Refused("Only SELECT statements are supported", range_of(query))
        refuse_clauses(self._text, tree)
        found = self._subquery(number, select_of(self._text, tree), range_of(query))
        self.found.append(found)
        return found

    def _subquery(self, number: int, select: Select, place: Range) -> Subquery:
        table = table_of(select, self._source, self._report)
        scope = stream_scope(table.name, wildcard=False)
        if len(select.columns) != 1 or bare(select.columns[0]).find(exp.Star):
            raise Refused("This subquery must return exactly one column", place)
        result = result_term(select.columns[0], scope)
        leaves = [] if select.where is None else list(_conjunction(formula(select.where, scope, _no_subquery)))
        check_columns(table, scope, self._source, self._report)
        matches = [(leaf.row, leaf.given) for leaf in leaves if isinstance(leaf, Matched)]
        if not result.sources <= {ROW}:
            raise Refused("a subquery's result is of its table's row", range_of(bare(select.columns[0])))
        return Subquery(
            number,
            table.pattern,
            result.expression,
            tuple(row for row, _ in matches),
            tuple(given for _, given in matches if isinstance(given, Given)),
            tuple(leaf.expression for leaf in leaves if isinstance(leaf, Filter) and not leaf.of_request),
            tuple(leaf.expression for leaf in leaves if isinstance(leaf, Filter) and leaf.of_request),
        )


def _conjunction(condition: Formula) -> Iterator[Leaf]:
    if isinstance(condition, Or):
        raise Refused("Stream subqueries can't use OR filters", condition.place, "use two subqueries, joined by OR")
    if isinstance(condition, And):
        for part in condition.parts:
            yield from _conjunction(part)
    else:
        yield condition


def _no_subquery(condition: exp.Expr, query: exp.Expr) -> Subquery:
    raise Refused("Unsupported condition for stream subqueries", range_of(condition), "edition 3 has joins")
