"""One query of a stream: its result columns of one primary table, and its conjunctions (powersync.md 1.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from connector.definitions.compiled.boolean import MAX_TERMS, TooManyTerms, disjunction
from connector.definitions.compiled.conditions import output_of
from connector.definitions.compiled.graph import Graph, connect, warn_dangerous
from connector.definitions.compiled.names import Derived
from connector.definitions.compiled.plan import Disjunct, disjunct
from connector.definitions.compiled.select import Reader, Selected
from connector.definitions.compiled.shape import (
    folded,
    is_comma_join,
    is_star,
    output_names,
    parsed,
    standing_in,
    statement_range,
)
from connector.definitions.compiled.sources import Each, Table, owner
from connector.definitions.patterns import is_wildcard
from connector.definitions.source import Report
from connector.definitions.sql import Refused, range_of

Column = list[Any]  # ["**"] or [name, expression]


@dataclass(frozen=True)
class Query:
    """What a query gives: `output` is table, type and columns as a plan has them; rows by any of the disjuncts."""

    output: dict[str, Any]
    disjuncts: list[Disjunct]


def read_query(text: str, reader: Reader, report: Report, *, accepts_danger: bool) -> Query | None:
    """The query; None, with findings, where it cannot be used. Raises Refused where it is no SELECT."""
    selected = reader.select(parsed(text), text, report)
    outputs = _Outputs(selected)
    columns = outputs.columns()
    if outputs.primary is None:
        report.fatal(Refused("Must have a result column selecting from a table", statement_range(selected.tree, text)))
    else:
        _warn_alias(outputs.primary, selected)
    disjuncts = _disjuncts(selected, outputs.primary, accepts_danger)
    if outputs.primary is None or report.failed:
        return None
    return Query({**_named(outputs.primary), "columns": columns}, disjuncts)


def _disjuncts(selected: Selected, primary: Table | None, accepts_danger: bool) -> list[Disjunct]:
    try:
        conjunctions = disjunction(selected.formula)
    except TooManyTerms:
        message = f"This filter has more than {MAX_TERMS} terms once its ORs are the outermost operators"
        where = selected.tree.args["where"] if selected.tree.args.get("where") else selected.tree
        selected.names.report.fatal(Refused(message, range_of(where), "split it into several queries"))
        return []
    found = []
    for conjunction in conjunctions:
        graph = connect(primary, conjunction) if primary is not None else None
        if not accepts_danger:
            warn_dangerous(conjunction, graph)
        if graph is not None and _is_whole(graph) and not selected.names.report.failed:
            found.append(disjunct(graph))
    return found


def _is_whole(graph: Graph) -> bool:
    """Whether no call's argument has failed; a table expression's is reported with that expression."""
    return all(each.argument is not None for each in graph.eaches)


def _named(primary: Table) -> dict[str, Any]:
    """The table with the type that clients know its rows by; None for the name of each table of a wildcard."""
    wildcard = primary.name.endswith("%")
    return {"table": primary.pattern, "type": primary.alias or (None if wildcard else primary.name)}


class _Outputs:
    """The result columns of a SELECT, all of one table."""

    def __init__(self, selected: Selected) -> None:
        self._selected = selected
        self._names = selected.names
        self._aliased: str | None = None
        self.primary: Table | None = None

    def columns(self) -> list[Column]:
        """The columns that mean something; all others are reported."""
        found: list[Column] = []
        for written in self._selected.tree.expressions:
            try:
                found += self._star(written) if is_star(written) else self._expression(written)
            except Refused as refused:
                self._names.report.fatal(refused)
        return found

    def _star(self, star: exp.Expr) -> list[Column]:
        qualifier = star.args.get("table")
        relation = self._names.relation(folded(qualifier), star) if qualifier else self._names.only_relation(star)
        if isinstance(relation, Derived):
            places = [(name, standing_in(star, name, qualifier)) for name in relation.columns]
            return [column for name, place in places for column in self._column(name, place)]
        if isinstance(relation, Each):
            raise Refused("Sync streams can only select from actual tables", range_of(star))
        self._take(relation, star)
        if self._aliased is not None:
            self._names.report.warning(Refused(_OVERWRITES.format(self._aliased), range_of(star), "put it first"))
        return [["**"]]

    def _expression(self, written: exp.Expr) -> list[Column]:
        ((name, node),) = output_names([written])
        start, end = range_of(node)
        if name is None:
            message = "The name of this column is unspecified, consider adding an alias."
            self._names.report.warning(Refused(message, (start, end)))
        elif isinstance(written, exp.Alias):
            self._aliased = self._aliased or name
        return self._column(name or self._selected.text[start:end], node)

    def _column(self, name: str, node: exp.Expr) -> list[Column]:
        term = output_of(node, self._names)
        if term is None:
            return []
        table = owner(term)
        if isinstance(table, Table):
            self._take(table, node)
        return [[name, term.expression]]

    def _take(self, table: Table, node: exp.Expr) -> None:
        if self.primary is None:
            self.primary = table
        elif table is not self.primary:
            raise Refused(_SINGLE.format(self.primary.name), range_of(node))


def _warn_alias(primary: Table, selected: Selected) -> None:
    """An alias of the table that rows come from is what clients know them by; in a join it is easily given unmeant."""
    joins = selected.tree.args.get("joins") or []
    if primary.alias is None or primary.alias_quoted or is_wildcard(primary.pattern):
        return
    if primary in selected.names.relations.values() and any(
        not is_comma_join(join.this, selected.text) for join in joins
    ):
        message = _RENAMED.format(alias=primary.alias, table=primary.name)
        selected.names.report.warning(Refused(message, range_of(primary.node)))


_SINGLE = "Sync streams can only select from a single table, and this one already selects from '{}'."
_OVERWRITES = (
    "A '*' column after aliased columns may give unexpected results: If the source row contains a column named "
    "'{}', '*' would overwrite it."
)
_RENAMED = (
    "The source row is synced under its alias '{alias}' instead of '{table}'. When joining, an alias is often added "
    "only to make the ON clause easier to write; if that is the case here, the rename is likely unintentional and "
    "clients querying '{table}' will see zero rows. Drop the alias on the source table, or quote it (`AS \"{alias}\"`) "
    "to keep the rename and silence this warning."
)
