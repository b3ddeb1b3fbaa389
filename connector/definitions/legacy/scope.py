"""What names and calls mean in the queries of bucket definitions (editions 1 and 2), and which of them go together.

A term's sources: ROW, BUCKET (`bucket.p`), and of a request TOKEN (authenticated), CLIENT and SUBSCRIPTION (whatever
the client says), ELEMENT (a row of `json_each`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlglot import exp

from connector.definitions.sql import Refused, range_of
from connector.definitions.terms import BUCKET, CLIENT, MIXED, ROW, TOKEN, Scope, Term, translate

SUBSCRIPTION, ELEMENT = "subscription", "element"
MATCH_NOT_HERE = "Parameter match clauses cannot be used here"
SUFFIX_COLUMN = "_table_suffix"
_MATCHING = ("=", "in", "and", "or")


class RequestFunction(NamedTuple):
    """A function on the request: its source and how many arguments it takes."""

    source: str
    arguments: int


Functions = Mapping[tuple[str, str], RequestFunction]

REQUEST_FUNCTIONS: Functions = {
    ("request", "user_id"): RequestFunction(TOKEN, 0),
    ("request", "jwt"): RequestFunction(TOKEN, 0),
    ("request", "parameters"): RequestFunction(CLIENT, 0),
    ("request", "parameter"): RequestFunction(CLIENT, 1),
}
TOKENS = {"token_parameters": TOKEN, "user_parameters": CLIENT}


@dataclass
class LegacyScope(Scope):
    """`table` qualifies the columns of the row; `wildcard`: its pattern may match several tables.

    `functions` are the request's, by schema and name; those in `elsewhere` exist, but not in this kind of query.
    """

    wildcard: bool = False
    functions: Functions = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    def column(self, node: exp.Expr) -> Term:
        if node.args.get("db") or node.args.get("catalog"):
            raise Refused("Schema is not supported in column references", range_of(node))
        if isinstance(node.this, exp.Star):
            raise Refused("* is not supported here - use explicit columns", range_of(node))
        name = self.name(node.this)
        qualifier = self.name(node.args["table"]) if node.args.get("table") else self.table
        if qualifier is not None and qualifier == self.table:
            return self.row_column(name, node)
        source = self.qualifiers.get(qualifier) if qualifier is not None else None
        if source is None:
            written = name if qualifier is None else f"{qualifier}.{name}"
            raise Refused(f"Undefined reference: {written}", range_of(node), self._known_names())
        return Term([source, name], frozenset((source,)), node)

    def row_column(self, name: str, node: exp.Expr) -> Term:
        """A column of the table that the query selects from."""
        if self.wildcard and name == SUFFIX_COLUMN:
            return Term(["suffix"], frozenset((ROW,)), node)
        self.columns.append((name, node))
        return Term(["column", name], frozenset((ROW,)), node)

    def call(self, node: exp.Expr, schema: str | None, function: str, arguments: list[exp.Expr]) -> Term | None:
        if schema is None:
            return None
        full = f"{schema}.{function}"
        if schema in self.elsewhere:
            raise Refused(self.elsewhere[schema], range_of(node))
        found = self.functions.get((schema, function))
        if found is None:
            raise Refused(f"Function '{full}' is not defined", range_of(node), self._known_functions())
        if len(arguments) != found.arguments:
            raise Refused(f"Function '{full}' takes {found.arguments} arguments.", range_of(node))
        terms = [translate(argument, self) for argument in arguments]
        return Term([schema, function, *self.written_arguments(full, terms)], frozenset((found.source,)), node)

    def written_arguments(self, function: str, terms: list[Term]) -> list[object]:
        """A request function's arguments as the plan holds them: here only texts as they stand."""
        for term in terms:
            if term.expression[0] != "literal" or not isinstance(term.expression[1], str):
                raise Refused(f"Function '{function}' takes a text in quotes", range_of(term.node))
        return [term.expression[1] for term in terms]

    def combined(self, kind: str, node: exp.Expr, terms: list[Term]) -> None:
        for term in terms:
            if BUCKET in term.sources:
                raise Refused(
                    "Cannot use bucket parameters in expressions",
                    range_of(term.node),
                    "only `column = bucket.parameter`, or `bucket.parameter IN column`, is possible here",
                )
        of_row = None
        for term in terms:
            if not term.sources:
                continue
            if of_row is not None and of_row is not (ROW in term.sources):
                matching = kind in _MATCHING
                raise Refused(MATCH_NOT_HERE if matching else MIXED, range_of(node if matching else term.node))
            of_row = ROW in term.sources

    def _known_names(self) -> str | None:
        known = sorted([*self.qualifiers, *([self.table] if self.table else [])])
        return f"known here: {', '.join(known)}" if known else "a query without FROM has no columns"

    def _known_functions(self) -> str | None:
        known = ", ".join(f"{schema}.{name}()" for schema, name in self.functions)
        return f"known here: {known}" if known else None


def of_request(term: Term) -> bool:
    """Computed from the request alone, and not from constants alone."""
    return bool(term.sources) and term.sources.isdisjoint((ROW, BUCKET))
