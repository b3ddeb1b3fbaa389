"""The result columns of data queries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlglot import exp

from connector.definitions.legacy.matches import Match, clause
from connector.definitions.legacy.scope import MATCH_NOT_HERE, LegacyScope
from connector.definitions.legacy.tables import Table, known_columns
from connector.definitions.source import Report, Source
from connector.definitions.sql import Refused, Select, range_of
from connector.definitions.terms import MIXED, ROW, Term

MATCH_NOT_ALLOWED = "Parameter match expression is not allowed here"
NO_ID = 'Query must return an "id" column'


def data_columns(select: Select, scope: LegacyScope, report: Report) -> Iterator[list[Any]]:
    """The result columns as plans list them, in the order written."""
    for node in select.columns:
        try:
            yield ["*"] if is_star(node, scope) else _named_column(node, scope)
        except Refused as refused:
            report.fatal(refused)


def check_id(select: Select, columns: list[list[Any]], table: Table, source: Source, report: Report) -> None:
    """A row needs an id: without one there is no query, with `*` it is the table's columns that say so."""
    if len(columns) < len(select.columns) or any(column[0] == "id" for column in columns):
        return
    place = range_of(select.columns[0]) if select.columns else None
    refused = Refused(NO_ID, place, "add `id`, or `… AS id`")
    if ["*"] not in columns:
        report.fatal(refused)
    elif any("id" not in known for known in known_columns(table, source) or ()):
        report.warning(refused)


def is_star(node: exp.Expr, scope: LegacyScope) -> bool:
    """Whether a result is `*` or `table.*`."""
    star = node.this if isinstance(node, exp.Column) else node
    if not isinstance(star, exp.Star):
        return False
    if any(star.args.values()):
        raise Refused("* takes no further words here", range_of(star))
    if isinstance(node, exp.Column):
        qualifier = scope.name(node.args["table"])
        if qualifier != scope.table:
            raise Refused(f"Undefined reference: {qualifier}.*", range_of(node))
    return True


def result_term(node: exp.Expr, scope: LegacyScope) -> Term:
    """What a result is. Raises Refused where it compares the row with parameters."""
    try:
        found = clause(bare(node), scope)
    except Refused as refused:
        mixed = refused.message in (MIXED, MATCH_NOT_HERE)
        raise Refused(MATCH_NOT_ALLOWED, range_of(bare(node))) if mixed else refused from refused
    if isinstance(found, Match):
        raise Refused(MATCH_NOT_ALLOWED, range_of(bare(node)))
    return found


def result_name(node: exp.Expr, scope: LegacyScope) -> str:
    """A result's alias, or the column's own name."""
    if isinstance(node, exp.Alias):
        return scope.name(node.args["alias"])
    if not isinstance(node, exp.Column):
        raise Refused("alias is required", range_of(node), "name the result: `… AS name`")
    # The reference has been translated, and warned about, already.
    return str(node.this.this) if node.this.args.get("quoted") else str(node.this.this).lower()


def bare(node: exp.Expr) -> exp.Expr:
    """A result without alias and parentheses."""
    value: exp.Expr = node.this if isinstance(node, exp.Alias) else node
    return value.unnest()


def _named_column(node: exp.Expr, scope: LegacyScope) -> list[Any]:
    term = result_term(node, scope)
    if not term.sources <= {ROW}:
        raise Refused(MATCH_NOT_ALLOWED, range_of(bare(node)))
    return [result_name(node, scope), term.expression]
