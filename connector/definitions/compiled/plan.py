"""A conjunction's graph as plans: the rows of the primary table, a parameter index per lookup, a querier."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connector.definitions.compiled.graph import Edge, Graph
from connector.definitions.compiled.numbering import Expression, anonymous, numbering, refined, renumbered, text
from connector.definitions.compiled.sources import Request, Table
from connector.definitions.terms import Term, canonical_order

REQUEST = Request.OWNER


@dataclass(frozen=True)
class Disjunct:
    """One conjunction's share of a stream: rows by key, and how a request gets the keys' values.

    `keys` are pairs of a row expression and the expressions of the querier that it must equal, in canonical order of
    the latter; the plans of `lookups` stand where their labels will be.
    """

    functions: list[Expression]
    filters: list[Expression]
    keys: list[tuple[Expression, list[Expression]]]
    querier: dict[str, Any]

    @property
    def instantiation(self) -> str:
        """Equal for disjuncts whose buckets every request gets together."""
        return text([self.querier, [constraints for _, constraints in self.keys]])


@dataclass(frozen=True)
class _Place:
    """What is computed in one place, with numbers of its own: the functions, the filters, any other expression."""

    functions: list[Expression]
    filters: list[Expression]
    numbers: Mapping[int, int]

    def __call__(self, term: Term) -> Expression:
        return list(renumbered(term.expression, self.numbers))


def disjunct(graph: Graph) -> Disjunct:
    """The plans of a graph."""
    places: dict[Any, _Place] = {table: _place(table, graph) for table in graph.edges}
    places[REQUEST] = _place(REQUEST, graph)
    lookups = _Lookups(graph, places)
    constraints: dict[str, list[Expression]] = {}
    rows: dict[str, Expression] = {}
    for edge in graph.edges[graph.primary]:
        row = places[graph.primary](edge.own)
        rows[text(row)] = row
        constraints.setdefault(text(row), []).append(lookups.expression(edge))
    keys = [(rows[row], canonical_order(found)) for row, found in constraints.items()]
    keys.sort(key=lambda key: (text(key[1]), text(key[0])))
    primary, request = places[graph.primary], places[REQUEST]
    querier = {"functions": request.functions, "filters": request.filters, "lookups": lookups.plans}
    return Disjunct(primary.functions, primary.filters, keys, querier)


def _place(place: Any, graph: Graph) -> _Place:
    calls = {
        each.number: each.argument.expression
        for each, where in graph.eaches.items()
        if where == place and each.argument is not None
    }
    filters = [term.expression for term in graph.filters.get(place, [])]
    numbers = numbering(calls, [*filters, *_uses(place, graph)])
    functions = [["json_each", renumbered(calls[each], numbers)] for each in sorted(calls, key=numbers.__getitem__)]
    return _Place(functions, canonical_order([renumbered(each, numbers) for each in filters]), numbers)


def _uses(place: Any, graph: Graph) -> list[Expression]:
    """What is compared with other places, each with the other side."""
    edges = [edge for edges in graph.edges.values() for edge in edges]
    own = [[edge.own.expression, anonymous(edge.other.expression)] for edge in graph.edges.get(place, [])]
    other = [[edge.other.expression, anonymous(edge.own.expression)] for edge in edges if edge.place == place]
    return own if isinstance(place, Table) else other


class _Lookups:
    """The parameter indexes of a graph in canonical order, and what the request and later ones take from them."""

    def __init__(self, graph: Graph, places: Mapping[Any, _Place]) -> None:
        self._graph = graph
        self._places = places
        self._outputs = {table: self._texts(table, given=True) for table in graph.lookups}
        self._indexes = {table: self._index(table) for table in graph.lookups}
        self._numbers: dict[Table, int] = {}
        texts = refined(graph.lookups, {table: text(self._indexes[table]) for table in graph.lookups}, self._near)
        while len(self._numbers) < len(graph.lookups):
            pending = [table for table in graph.lookups if table not in self._numbers]
            ready = [table for table in pending if not set(self._givers(table)) & set(pending)]
            self._numbers[min(ready, key=texts.__getitem__)] = len(self._numbers)

    @property
    def plans(self) -> list[dict[str, Any]]:
        """The lookups of a querier, each with the plan of its index."""
        return [
            {"index": self._indexes[table], "inputs": [self.expression(edge) for edge in self._inputs(table)]}
            for table in self._numbers
        ]

    def expression(self, edge: Edge) -> Expression:
        """What a querier computes for the other end of an edge."""
        place, other = edge.place, self._places[edge.place](edge.other)
        if not isinstance(place, Table):
            return other
        return ["output", self._numbers[place], str(self._outputs[place].index(text(other)))]

    def _index(self, table: Table) -> dict[str, Any]:
        place = self._places[table]
        outputs = [[str(number), json.loads(output)] for number, output in enumerate(self._outputs[table])]
        return {
            "table": table.pattern,
            "functions": place.functions,
            "filters": place.filters,
            "inputs": sorted((place(edge.own) for edge in self._edges(table, given=False)), key=text),
            "outputs": outputs,
        }

    def _inputs(self, table: Table) -> list[Edge]:
        place = self._places[table]
        edges = self._edges(table, given=False)
        return sorted(edges, key=lambda edge: (text(place(edge.own)), text(self.expression(edge))))

    def _edges(self, table: Table, *, given: bool) -> list[Edge]:
        """The table's edges towards what takes its outputs, or from what gives its inputs."""
        before = {REQUEST, *self._before(table)}
        return [edge for edge in self._graph.edges[table] if (edge.place in before) is not given]

    def _givers(self, table: Table) -> list[Table]:
        return [edge.place for edge in self._edges(table, given=False) if isinstance(edge.place, Table)]

    def _before(self, table: Table) -> list[Table]:
        lookups = self._graph.lookups
        return lookups[: lookups.index(table)]

    def _texts(self, table: Table, *, given: bool) -> list[str]:
        place = self._places[table]
        return sorted({text(place(edge.own)) for edge in self._edges(table, given=given)})

    def _near(self, table: Table, texts: Mapping[Table, str]) -> Any:
        """What the lookup is compared with: by its text, and where it is another lookup by that one's."""
        found = []
        for edge in self._graph.edges[table]:
            own, other = self._places[table](edge.own), self._places[edge.place](edge.other)
            found.append(text([own, other, texts.get(edge.place, "") if isinstance(edge.place, Table) else "request"]))
        return sorted(found)
