"""The one table that a query of editions 1 and 2 selects from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from operator import itemgetter

from sqlglot import exp

from connector.definitions.patterns import is_wildcard, reads
from connector.definitions.source import Report, Source, close
from connector.definitions.sql import Range, Refused, Select, range_of
from connector.definitions.terms import Scope

NOT_ONE_TABLE = "Must SELECT from a single table"


@dataclass(frozen=True)
class Table:
    """`pattern` as plans name it, `type` as clients do (None: each table by its own name), `name` as columns do.

    `renamed`: the name is an alias.
    """

    pattern: str
    type: str | None
    name: str
    renamed: bool
    node: exp.Expr

    @property
    def wildcard(self) -> bool:
        return is_wildcard(self.pattern)


def table_of(select: Select, source: Source, report: Report) -> Table:
    """The table in FROM. Raises Refused where there is not exactly one."""
    node = select.table
    if node is None:
        raise Refused(NOT_ONE_TABLE, select.whole)
    if not isinstance(node, exp.Table):
        raise Refused(NOT_ONE_TABLE, _without_alias(select, node), "subqueries are not possible here")
    if not isinstance(node.this, exp.Identifier):
        raise Refused(NOT_ONE_TABLE, range_of(node), "functions are no tables here")
    alias = node.args.get("alias")
    extra = [name for name, value in node.args.items() if value and name not in ("this", "db", "alias")]
    if extra or (alias is not None and alias.args.get("columns")):
        raise Refused("this form of table reference is not supported", range_of(node), "write `schema.table AS alias`")
    found = _read(node, alias, source, report)
    tables = source.tables
    if tables is not None and not any(reads([found.pattern], each) for each in tables):
        message = f"Table {found.pattern} not found"
        source.report_unknown(report, Refused(message, range_of(node), close(found.pattern, tables)))
    return found


def known_columns(table: Table, source: Source) -> list[Collection[str]] | None:
    """The columns of each known table that the pattern matches; None where none is known."""
    if source.tables is None:
        return None
    return [columns for name, columns in source.tables.items() if reads([table.pattern], name)] or None


def check_columns(table: Table, scope: Scope, source: Source, report: Report) -> None:
    """Warnings about how names are written, and columns that the table lacks where its columns are known."""
    report_names(scope, report)
    known = known_columns(table, source)
    if known is None:
        return
    columns = {name for each in known for name in each}
    used = {(name, range_of(node)) for name, node in scope.columns}
    for name, place in sorted(used, key=itemgetter(1)):
        if name not in columns:
            source.report_unknown(report, Refused(f"Column not found: {name}", place, close(name, columns)))


def report_names(scope: Scope, report: Report) -> None:
    """Each warning about how a name is written once, however often its expression was read."""
    for warning in {(each.message, each.place): each for each in scope.warnings}.values():
        report.warning(warning)


def _read(node: exp.Table, alias: exp.Expr | None, source: Source, report: Report) -> Table:
    scope = Scope()
    name = scope.name(node.this)
    schema = scope.name(node.args["db"]) if node.args.get("db") else source.default_schema
    if schema.endswith("%"):
        raise Refused("wildcard schemas are not supported here", range_of(node), "edition 3 has them")
    if schema.count(".") > 1:
        raise Refused(f"Invalid schema: {schema}", range_of(node), 'write schema.table or "connection.schema".table')
    pattern = f"{schema.removeprefix('default.')}.{name}"  # "default" is the only connection there is
    own = scope.name(alias.this) if alias is not None and alias.this else None
    report_names(scope, report)
    type_ = None if own is None and is_wildcard(pattern) else own or name
    return Table(pattern, type_, own or name, own not in (None, name), node)


def _without_alias(select: Select, node: exp.Expr) -> Range:
    """A subquery in FROM with its parentheses."""
    start, end = range_of(node)
    inner = range_of(node.this)[1]
    return start, select.text.find(")", inner, end) + 1 or end
