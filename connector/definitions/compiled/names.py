"""What names mean in one SELECT of a compiled query: relations by qualifier, columns, calls; expressions as terms."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from itertools import count

from sqlglot import exp

from connector.definitions.compiled.sources import (
    Each,
    Owner,
    Parameter,
    Request,
    Source,
    Table,
    owner,
    owner_of,
    sources,
)
from connector.definitions.source import Report, close
from connector.definitions.source import Source as Database
from connector.definitions.sql import Refused, range_of
from connector.definitions.terms import Engine, Scope, Term, translate

MAX_RELATIONS = 100  # of one query, subqueries and table expressions included as often as they are used
MAX_NODES = 1_000_000  # of table expressions in one file, each counted as often as it is used
MAX_EXPRESSION = 100_000  # characters of a subquery's column as a plan has it
UNSUPPORTED = "This expression is not supported by PowerSync"
_EQUALS = "unless the two are compared with an equals operator."
_EACH = "each"  # the note on a node that stands for a json_each call's value


class Reported(Exception):
    """Something cannot be made, and why has been reported where it stands."""


@dataclass(frozen=True, eq=False)
class Derived:
    """A subquery in FROM or a CTE: its columns, by name and in order, as expressions of its own names."""

    columns: Mapping[str, exp.Expr]
    names: Names
    terms: dict[str, Term | None] = field(default_factory=dict)

    def term(self, name: str) -> Term | None:
        """A column's term; None where its translation failed, which is reported once."""
        if name not in self.terms:
            node = self.columns[name]
            term = self.names.term(node)
            if term is not None and len(json.dumps(term.expression)) > MAX_EXPRESSION:
                self.names.report.fatal(Refused("This expression is too long", range_of(node), "nest less"))
                term = None
            self.terms[name] = term
        return self.terms[name]


Relation = Table | Each | Derived


@dataclass
class Allowance:
    """How many things of a kind may still be read."""

    left: int


@dataclass(frozen=True)
class Surroundings:
    """What is the same for all SELECTs of one query. `nodes` of table expressions are allowed to the file.

    `calls` numbers its json_each calls.
    """

    database: Database
    engine: Engine
    nodes: Allowance
    relations: Allowance = field(default_factory=lambda: Allowance(MAX_RELATIONS))
    calls: count[int] = field(default_factory=count)

    def count_use(self, size: int, node: exp.Expr) -> None:
        """One more use of a table expression of so many nodes. Raises Refused where it is too much."""
        self.check_relations(node)
        self.nodes.left -= size
        if self.nodes.left < 0:
            message = "The table expressions are too long for being used so often"
            raise Refused(message, range_of(node), "shorten them, or split the file")

    def count_relation(self, node: exp.Expr) -> None:
        """One more item of FROM. Raises Refused where the query has too many."""
        self.check_relations(node)
        self.relations.left -= 1

    def check_relations(self, node: exp.Expr) -> None:
        """Raises Refused where the query has as many relations as it may have."""
        if self.relations.left <= 0:
            raise Refused(f"The query joins more than {MAX_RELATIONS} tables and subqueries", range_of(node))


@dataclass(eq=False)
class Names:
    """The relations that one SELECT names in FROM, inside the SELECT around it, if any."""

    surroundings: Surroundings
    text: str
    report: Report
    outer: Names | None = None
    relations: dict[str, Relation] = field(default_factory=dict)

    def add(self, name: str, relation: Relation, node: exp.Expr) -> None:
        """Raises Refused where the name is taken."""
        if name in self.relations:
            raise Refused(f"Table '{name}' is there twice in this FROM clause", range_of(node), "give it an alias")
        self.relations[name] = relation

    def relation(self, qualifier: str, node: exp.Expr) -> Relation:
        """What a qualifier names here or around. Raises Refused."""
        found = self.known(qualifier)
        if found is not None:
            return found
        hint = close(qualifier, self.relations)
        raise Refused(f"Table '{qualifier}' has not been added in a FROM clause here.", range_of(node), hint)

    def known(self, qualifier: str) -> Relation | None:
        """What a qualifier names here or around, if anything."""
        found = self.relations.get(qualifier)
        return self.outer.known(qualifier) if found is None and self.outer is not None else found

    def only_relation(self, node: exp.Expr) -> Relation:
        """The relation that unqualified names mean. Raises Refused."""
        if len(self.relations) == 1:
            return next(iter(self.relations.values()))
        if self.relations:
            raise Refused("Invalid unqualified reference since multiple tables are in scope", range_of(node))
        if self.outer is not None:
            return self.outer.only_relation(node)
        raise Refused("There is no table here that this could refer to", range_of(node), "add a FROM clause")

    def term(self, node: exp.Expr, *, after: Term | None = None) -> Term | None:
        """The term that an expression means; None, with a finding, where it means none.

        `after` is what stands before it under one operator, and has its owner.
        """
        return self._term(node, Expression(self, owner(after)))

    def output(self, node: exp.Expr) -> Term | None:
        """The term of a result column: of rows of tables only."""
        return self._term(node, Expression(self, None, output=True))

    def _term(self, node: exp.Expr, scope: Expression) -> Term | None:
        try:
            return translate(node, scope)
        except Reported:
            return None
        except Refused as refused:
            self.report.fatal(refused)
            return None

    def each(self, argument: exp.Expr, node: exp.Expr) -> Each:
        """A json_each call over an expression."""
        return Each(next(self.surroundings.calls), self.term(argument), node, self.report)


def standing_for(each: Each) -> exp.Expr:
    """A column node that means the call's value, and stands where the call does."""
    first, last = range_of(each.node)
    column = exp.column("value")
    column.meta.update({_EACH: each, "first": first, "last": last - 1})
    return column


class Expression(Scope):
    """The scope of one term, which refuses a second owner where it comes in."""

    def __init__(self, names: Names, owner: Owner, *, output: bool = False) -> None:
        super().__init__(dialect="compiled", engine=names.surroundings.engine)
        self._names = names
        self._owner = owner
        self._output = output

    def column(self, node: exp.Expr) -> Term:
        each = node.meta.get(_EACH)
        if each is not None:
            return self._leaf(["value", each.number], each, node)
        if node.args.get("db") or node.args.get("catalog") or isinstance(node.this, exp.Star):
            raise Refused(UNSUPPORTED, range_of(node))
        name = self.name(node.this)
        qualifier = node.args.get("table")
        relation = self._names.relation(self.name(qualifier), node) if qualifier else self._names.only_relation(node)
        if isinstance(relation, Table):
            self._check_known(name, relation, node)
            return self._leaf(["column", name], relation, node)
        if isinstance(relation, Each):
            if name not in ("key", "value"):
                raise Refused("Column not found.", range_of(node), "json_each has the columns key and value")
            return self._leaf([name, relation.number], relation, node)
        return self._derived(name, relation, node)

    def call(self, node: exp.Expr, schema: str | None, function: str, arguments: list[exp.Expr]) -> Term | None:
        if schema is None:
            return None
        if schema in ("auth", "connection", "subscription"):
            return self._request(node, schema, function, arguments)
        relation = self._names.known(schema)
        if isinstance(relation, Table) and function in _METADATA and not arguments:
            return self._leaf([_METADATA[function]], relation, node)
        raise Refused("Invalid schema in function name", _called_range(node), _SCHEMAS)

    def combined(self, kind: str, node: exp.Expr, terms: list[Term]) -> None:
        """Sources have been judged one by one."""

    def _request(self, node: exp.Expr, schema: str, function: str, arguments: list[exp.Expr]) -> Term:
        if function == "user_id":
            if schema != "auth":
                raise Refused(".user_id() is only available on auth schema", _called_range(node))
            return self._parameter(["auth", "user_id"], schema, node, [])
        if function == "parameters":
            return self._parameter([schema, "parameters"], schema, node, [])
        if function == "parameter":
            if len(arguments) != 1:
                bound = "least" if not arguments else "most"
                raise Refused(f"Expected at {bound} 1 arguments", range_of(node))
            return self._parameter([schema, "parameter"], schema, node, arguments)
        raise Refused("Unknown function", _called_range(node), _SCHEMAS)

    def _parameter(self, leaf: list[object], schema: str, node: exp.Expr, arguments: list[exp.Expr]) -> Term:
        parameter = Parameter(schema == "auth", node, self._names.report)
        found = self._leaf(leaf, parameter, node)
        values = [translate(argument, self) for argument in arguments]
        own: frozenset[Hashable] = found.sources.union(*(value.sources for value in values))
        return Term([*leaf, *(value.expression for value in values)], own, node)

    def _derived(self, name: str, relation: Derived, node: exp.Expr) -> Term:
        if name not in relation.columns:
            raise Refused("Column not found.", range_of(node), close(name, relation.columns))
        term = relation.term(name)
        if term is None:
            raise Reported
        for source in sources(term):
            self._take(source, node)
        return Term(term.expression, term.sources, node)

    def _leaf(self, expression: list[object], source: Source, node: exp.Expr) -> Term:
        self._take(source, node)
        return Term(expression, frozenset((source,)), node)

    def _take(self, source: Source, node: exp.Expr) -> None:
        new, known = owner_of(source), self._owner
        if self._output:
            _check_output(source, node)
        if known is None or new is None or new is known:
            self._owner = known or new
        elif isinstance(known, Request):
            raise Refused(_already("connection parameters", "row data"), range_of(node), once=True)
        elif isinstance(new, Request):
            raise Refused(_already("row data", "connection parameters"), range_of(node), once=True)
        else:
            raise Refused(_already(f"'{known.name}'", "data from this row"), range_of(node), once=True)

    def _check_known(self, name: str, table: Table, node: exp.Expr) -> None:
        database = self._names.surroundings.database
        columns = (database.tables or {}).get(table.pattern)
        if columns is not None and name not in columns:
            database.report_unknown(
                self._names.report, Refused("Column not found.", range_of(node), close(name, columns))
            )


def _check_output(source: Source, node: exp.Expr) -> None:
    if isinstance(source, Each):
        raise Refused("Sync streams can only select from actual tables", range_of(node), once=True)
    if isinstance(source, Parameter):
        raise Refused(
            "This attempts to sync a connection parameter. Only values from the source database can be synced.",
            range_of(node),
            once=True,
        )


def _already(known: str, new: str) -> str:
    return f"This expression already references {known}, so it can't also reference {new} {_EQUALS}"


def _called_range(node: exp.Expr) -> tuple[int, int]:
    """`schema.function` of a call."""
    start, _ = range_of(node)
    return start, start + len(f"{node.this.this}.{node.expression.this}") + 2 * bool(node.this.args.get("quoted"))


_METADATA = {"schema": "schema", "table_name": "table", "table_suffix": "suffix"}
_SCHEMAS = "known: auth, connection and subscription, each with parameters() and parameter(name); auth.user_id()"
