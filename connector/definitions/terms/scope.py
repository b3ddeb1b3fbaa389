"""Terms of a plan, and the scope that says what names mean where they are made."""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlglot import exp

from connector.definitions.sql import Dialect, Refused, range_of

# What a term is computed from. "token" is authenticated, "client" is whatever the client says.
ROW, TOKEN, CLIENT, BUCKET = "row", "token", "client", "bucket"

MIXED = "Cannot use table values and parameters in the same clauses"

Engine = Literal["js", "sqlite"]
Sources = frozenset[Hashable]


@dataclass(frozen=True)
class Term:
    """One expression of a plan with its sources; `node` is where it stands."""

    expression: list[Any]
    sources: Sources
    node: exp.Expr


@dataclass
class Scope:
    """The names that a query may use, the warnings about how it writes them, and the row's columns that it used.

    What a column, a call or a combination of sources means is for subclasses to say. `overlaps`: `&&` is an operator.
    """

    table: str | None = None
    qualifiers: dict[str, str] = field(default_factory=dict)
    dialect: Dialect = "legacy"
    engine: Engine = "js"
    overlaps: bool = False
    warnings: list[Refused] = field(default_factory=list)
    columns: list[tuple[str, exp.Expr]] = field(default_factory=list)
    depth: int = 0

    def name(self, identifier: exp.Expr) -> str:
        """An identifier as the database knows it: unquoted ones are folded to lower case."""
        text = str(identifier.this)
        if identifier.args.get("quoted") or text == text.lower():
            return text
        if self.dialect == "legacy":
            message = f'Unquoted identifiers are converted to lower-case. Use "{text}" instead.'
            self.warnings.append(Refused(message, range_of(identifier)))
        return text.lower()

    def column(self, node: exp.Expr) -> Term:
        """What a column reference (`exp.Column`) means. Raises Refused for an unknown one."""
        raise Refused(f"Undefined reference: {node.name}", range_of(node), "there are no columns here")

    def call(self, node: exp.Expr, schema: str | None, function: str, arguments: list[exp.Expr]) -> Term | None:
        """What a call means that is no scalar function; None for "not mine"."""
        return None

    def combined(self, kind: str, node: exp.Expr, terms: list[Term]) -> None:
        """Refuses a combination of sources under one operator or function."""


def combination(kind: str, node: exp.Expr, terms: list[Term], scope: Scope, expression: list[Any]) -> Term:
    """The term of several; raises Refused where the scope does not allow them together."""
    scope.combined(kind, node, terms)
    return Term(expression, frozenset().union(*(term.sources for term in terms)), node)


def canonical_order(expressions: list[list[Any]]) -> list[list[Any]]:
    """Expressions in an order that does not depend on how they were written, each once."""
    unique = {json.dumps(expression): expression for expression in expressions}
    return [unique[text] for text in sorted(unique)]
