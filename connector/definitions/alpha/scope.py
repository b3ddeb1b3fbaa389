"""What names and calls mean in streams of edition 2."""

from __future__ import annotations

from dataclasses import dataclass

from connector.definitions.legacy.scope import SUBSCRIPTION, Functions, LegacyScope, RequestFunction
from connector.definitions.sql import Refused, range_of
from connector.definitions.terms import CLIENT, TOKEN, Term

STREAM_FUNCTIONS: Functions = {
    ("auth", "user_id"): RequestFunction(TOKEN, 0),
    ("auth", "parameters"): RequestFunction(TOKEN, 0),
    ("auth", "parameter"): RequestFunction(TOKEN, 1),
    ("connection", "parameters"): RequestFunction(CLIENT, 0),
    ("connection", "parameter"): RequestFunction(CLIENT, 1),
    ("subscription", "parameters"): RequestFunction(SUBSCRIPTION, 0),
    ("subscription", "parameter"): RequestFunction(SUBSCRIPTION, 1),
}


@dataclass
class StreamScope(LegacyScope):
    """The scope of a stream's query, or of a subquery in it."""

    def written_arguments(self, function: str, terms: list[Term]) -> list[object]:
        for term in terms:
            if term.sources:
                raise Refused(f"Function '{function}' takes a constant", range_of(term.node))
        return [term.expression for term in terms]


def stream_scope(table: str, *, wildcard: bool) -> StreamScope:
    """The scope of a SELECT from a table."""
    return StreamScope(table, wildcard=wildcard, functions=STREAM_FUNCTIONS, overlaps=True)
