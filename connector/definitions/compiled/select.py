"""A SELECT of a compiled query: what FROM names, and what its rows must fulfil (powersync.md 1.6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from sqlglot import exp

from connector.definitions.compiled.boolean import And, Formula, Present
from connector.definitions.compiled.conditions import Members, formula_of
from connector.definitions.compiled.names import UNSUPPORTED, Derived, Names, Relation, Reported, Surroundings
from connector.definitions.compiled.shape import (
    alias_of,
    folded,
    is_star,
    output_names,
    refused_clauses,
    renamed_columns,
    select_range,
)
from connector.definitions.compiled.sources import Each, Table
from connector.definitions.patterns import reads
from connector.definitions.source import Report
from connector.definitions.sql import Range, Refused, range_of

_TABLE_WORDS = {"this", "db", "alias"}


@dataclass(eq=False)
class Cte:
    """A common table expression: its tree, of which each use takes a copy, and where findings in it go.

    No tree where it cannot be parsed.
    """

    tree: exp.Select | None
    text: str
    report: Report
    used: bool = False

    @cached_property
    def size(self) -> int:
        """The nodes of the tree."""
        return 0 if self.tree is None else sum(1 for _ in self.tree.walk())


@dataclass(frozen=True)
class Selected:
    """A SELECT with its names known: what it joins, and what its conditions demand of that."""

    tree: exp.Select
    text: str
    names: Names
    present: tuple[Formula, ...]
    conditions: tuple[Formula, ...]

    @property
    def formula(self) -> Formula:
        return And((*self.present, *self.conditions))


class _Item(NamedTuple):
    """One item of FROM."""

    name: str
    relation: Relation
    present: tuple[Formula, ...]
    conditions: tuple[Formula, ...] = ()


@dataclass(frozen=True)
class Reader:
    """Reads the SELECTs of one query, and reports what is wrong with their clauses, relations and conditions."""

    surroundings: Surroundings
    ctes: Mapping[str, Cte] = field(default_factory=dict)

    def select(
        self, tree: exp.Select, text: str, report: Report, outer: Names | None = None, *, negated: bool = False
    ) -> Selected:
        """The SELECT; where `negated`, its conditions are."""
        names = Names(self.surroundings, text, report, outer)
        for refused in refused_clauses(tree, text):
            report.fatal(refused)
        source, where, joins = tree.args.get("from_"), tree.args.get("where"), tree.args.get("joins") or []
        items = [source.this] if source else []
        present: list[Formula] = []
        conditions: list[Formula] = []
        for node in [*items, *(join.this for join in joins)]:
            try:
                item = self._item(node, names, text, negated)
                names.add(item.name, item.relation, node)
            except Reported:
                continue
            except Refused as refused:
                report.fatal(refused)
                continue
            present += item.present
            conditions += item.conditions
        for condition in [*(join.args.get("on") for join in joins), where.this if where else None]:
            if condition is not None:
                conditions.append(formula_of(condition, names, self, negated=negated))
        return Selected(tree, text, names, tuple(present), tuple(conditions))

    def is_subquery(self, node: exp.Expr) -> bool:
        """Whether the right side of an IN is a SELECT or names a CTE."""
        return _is_select(node) or self._cte(node) is not None

    def members(self, node: exp.Expr, names: Names, *, negated: bool) -> Members | None:
        """The right side of an IN as rows; None where it is an array. Raises Refused and Reported."""
        cte = self._cte(node)
        if cte is not None:
            inner = self._used(cte, node, negated)
            wrong = Refused("Common-table expression must return a single column", range_of(node))
        elif _is_select(node):
            tree = node.this
            inner = self.select(tree, names.text, names.report, names, negated=negated)
            wrong = Refused("Must return a single expression column", select_range(tree, names.text))
        else:
            return None
        columns = [column for _, column in output_names(inner.tree.expressions)]
        single = len(columns) == 1 and not is_star(columns[0])
        if not single:
            names.report.fatal(wrong)
        return Members(columns[0] if single else None, inner.names, inner.present, inner.conditions)

    def _item(self, node: exp.Expr, names: Names, text: str, negated: bool) -> _Item:
        self.surroundings.count_relation(node)
        alias = alias_of(node)
        name = folded(alias.this) if alias is not None else None
        if _is_select(node):
            inner = self.select(node.this, text, names.report, negated=negated)
            derived = _derived(inner, alias, _written_subquery(node, text), names.report)
            return _Item(name or "", derived, inner.present, inner.conditions)
        if not isinstance(node, exp.Table) or {word for word, value in node.args.items() if value} - _TABLE_WORDS:
            start, end = range_of(node)
            raise Refused(f"Syntax error near {text[start:end].split(maxsplit=1)[0]}", (start, end))
        if not isinstance(node.this, exp.Identifier):
            each = _json_each(node.this, names)
            return _Item(name or "json_each", each, (Present(each),))
        cte = None if node.args.get("db") else self.ctes.get(folded(node.this))
        if cte is not None:
            inner = self._used(cte, node, negated)
            derived = _derived(inner, alias, range_of(node.this), names.report)
            return _Item(name or folded(node.this), derived, inner.present, inner.conditions)
        table = self._table(node, alias, names.report)
        return _Item(table.alias or table.name, table, (Present(table),))

    def _cte(self, node: exp.Expr) -> Cte | None:
        if not isinstance(node, exp.Column) or node.args.get("table") or not isinstance(node.this, exp.Identifier):
            return None
        return self.ctes.get(folded(node.this))

    def _used(self, cte: Cte, node: exp.Expr, negated: bool) -> Selected:
        """One more use of a CTE, which sees no other CTE."""
        cte.used = True
        if cte.tree is None:
            raise Reported
        self.surroundings.count_use(cte.size, node)
        return Reader(self.surroundings).select(cte.tree.copy(), cte.text, cte.report, negated=negated)

    def _table(self, node: exp.Table, alias: exp.TableAlias | None, report: Report) -> Table:
        if renamed_columns(alias):
            raise Refused(UNSUPPORTED, range_of(node), "columns of a table cannot be renamed in FROM")
        database = self.surroundings.database
        name = folded(node.this)
        schema = folded(node.args["db"]) if node.args.get("db") else database.default_schema
        pattern = f"{schema}.{name}"
        if database.tables is not None and not any(reads([pattern], table) for table in database.tables):
            place = range_of(node.this)
            database.report_unknown(report, Refused("This table could not be found in the source schema.", place))
        quoted = alias is not None and bool(alias.this.args.get("quoted"))
        return Table(pattern, name, folded(alias.this) if alias is not None else None, quoted, node.this)


def _is_select(node: exp.Expr) -> bool:
    return isinstance(node, exp.Subquery) and isinstance(node.this, exp.Select)


def _written_subquery(node: exp.Expr, text: str) -> Range:
    """The subquery in its parentheses, without its alias."""
    start = range_of(node)[0]
    end = range_of(node.this)[1]
    return start, text.index(")", end) + 1 if ")" in text[end:] else end


def _derived(inner: Selected, alias: exp.TableAlias | None, place: Range, report: Report) -> Derived:
    """A SELECT as a relation, its columns under the names that the alias gives them."""
    columns = list(output_names(inner.tree.expressions))
    for _, column in columns:
        if is_star(column):
            inner.names.report.fatal(
                Refused("* is not supported here - use explicit columns", range_of(column), "name each column")
            )
    renamed = renamed_columns(alias)
    if len(renamed) > len(columns):
        report.fatal(
            Refused(f"Expected this subquery to have {len(renamed)} columns, it actually has {len(columns)}", place)
        )
    found: dict[str, exp.Expr] = {}
    for number, (name, column) in enumerate(columns):
        start, end = range_of(column)
        found[renamed[number] if number < len(renamed) else name or inner.text[start:end]] = column
    return Derived(found, inner.names)


def _json_each(call: exp.Expr, names: Names) -> Each:
    function = call.name.lower() if isinstance(call, exp.Anonymous) else str(call.key)
    if function != "json_each":
        raise Refused("Unknown function", range_of(call), "json_each(…) is the only function in FROM")
    if len(call.expressions) != 1:
        raise Refused(f"Expected at {'most' if call.expressions else 'least'} 1 arguments", range_of(call))
    return names.each(call.expressions[0], call)
