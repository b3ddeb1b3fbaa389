"""The plan of a bucket from the rows that several disjuncts put into it, in an order that does not depend on theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from connector.definitions.compiled.numbering import text
from connector.definitions.compiled.plan import Disjunct
from connector.definitions.patterns import any_overlap


@dataclass(frozen=True)
class Rows:
    """The rows of one disjunct: table, type and columns as a plan has them, and the disjunct."""

    output: dict[str, Any]
    disjunct: Disjunct

    @property
    def keys(self) -> list[Any]:
        return [row for row, _ in self.disjunct.keys]

    def unordered(self) -> str:
        """All but the order of the keys."""
        return text([self.output, self.disjunct.functions, self.disjunct.filters, sorted(map(text, self.keys))])

    def alternative(self, order: Sequence[int]) -> dict[str, Any]:
        return {
            "functions": self.disjunct.functions,
            "filters": self.disjunct.filters,
            "keys": [self.keys[position] for position in order],
        }


def key_order(rows: Sequence[Rows]) -> list[int]:
    """The canonical order of a bucket's keys, as positions in each disjunct's."""
    vectors = list(zip(*(map(text, one.keys) for one in sorted(rows, key=Rows.unordered)), strict=True))
    return sorted(range(len(vectors)), key=vectors.__getitem__)


def bucket_plan(rows: Sequence[Rows], order: Sequence[int]) -> dict[str, Any]:
    """The plan of the bucket with its keys in this order."""
    queries: dict[str, dict[str, Any]] = {}
    for one in rows:
        query = queries.setdefault(text(one.output), {**one.output, "alternatives": []})
        alternative = one.alternative(order)
        if alternative not in query["alternatives"]:
            query["alternatives"].append(alternative)
    for query in queries.values():
        query["alternatives"].sort(key=text)
    return {"kind": "bucket", "queries": _ordered(list(queries.values()))}


def _ordered(queries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By table. Queries that may give the same row keep their order: the last one wins."""
    if any_overlap({query["table"] for query in queries}):
        return queries
    return sorted(queries, key=lambda query: (query["table"], query["type"] or ""))
