"""One conjunction as a graph: whose the filters are, what joins what, in what order lookups run (powersync.md 1.6)."""

from __future__ import annotations

from dataclasses import dataclass, field

from connector.definitions.compiled.boolean import Condition, Conjunction, Equality, Present, equal_term, terms
from connector.definitions.compiled.sources import (
    Each,
    Request,
    Table,
    eaches,
    owner,
    owner_of,
    parameters,
    sources,
)
from connector.definitions.sql import Refused, range_of
from connector.definitions.terms import Term

DANGEROUS = (
    "Clients can send any value for this unauthenticated parameter, so this is unsuitable for authorization. "
    "Consider further constraining this with an authenticated parameter."
)
DANGER_HINT = "compare with auth.user_id() or auth.parameter(…) too, or set accept_potentially_dangerous_queries"
UNPARTITIONED = (
    "This table-valued function depends on request data and can't be partitioned. If possible, try rewriting the "
    "query to not use = operators on this function and multiple other tables."
)
UNASSOCIATED = "Unable to associate this filter with added tables"

Place = Table | Request


@dataclass(frozen=True)
class Edge:
    """`own`, of a table, equals `other`, of another one or of the request: that is its place."""

    own: Term
    other: Term
    place: Place


@dataclass
class Graph:
    """One conjunction, sorted by place. Each table has a list of edges, even if empty; an edge is at both its ends.

    `lookups` are the tables other than the primary one, each after those that give it input.
    """

    primary: Table
    eaches: dict[Each, Place]
    filters: dict[Place, list[Term]] = field(default_factory=dict)
    edges: dict[Table, list[Edge]] = field(default_factory=dict)
    lookups: list[Table] = field(default_factory=list)

    def place(self, term: Term) -> Place:
        """Where a term is computed; constants are the request's."""
        places = {self.eaches[source] if isinstance(source, Each) else owner_of(source) for source in sources(term)} - {
            None
        }
        tables = [place for place in places if isinstance(place, Table)]
        return tables[0] if tables else Request.OWNER


def connect(primary: Table, conjunction: Conjunction) -> Graph | None:
    """The graph of a conjunction of a query that selects from `primary`; None, with findings, where there is none."""
    graph = Graph(primary, _each_places(conjunction))
    sound = True
    for leaf in conjunction:
        if isinstance(leaf, Present):
            if isinstance(leaf.source, Table):
                graph.edges.setdefault(leaf.source, [])
        else:
            sound = _add(leaf, graph) and sound
    sound = _check_partitions(graph) and sound
    if not sound or primary not in graph.edges:
        return None
    graph.lookups = _Order(graph).tables()
    return graph


def warn_dangerous(conjunction: Conjunction, graph: Graph | None) -> None:
    """Warns of what clients can set, unless an authenticated value is compared with rows beside it."""
    if graph is not None and _is_authenticated(graph):
        return
    for leaf in conjunction:
        for parameter in parameters(terms(leaf)):
            if not parameter.authenticated:
                parameter.report.warning(Refused(DANGEROUS, range_of(parameter.node), DANGER_HINT))


def _is_authenticated(graph: Graph) -> bool:
    """Filters on the request alone do not count: they say who may ask, not for what."""
    others = [edge.other for edges in graph.edges.values() for edge in edges if edge.place is Request.OWNER]
    return any(parameter.authenticated for parameter in parameters(others))


def _each_places(conjunction: Conjunction) -> dict[Each, Place]:
    """Where the rows of each json_each call are made; those of a constant where they are used, if in one place only."""
    found: dict[Each, Place] = {}
    calls = {leaf.source: None for leaf in conjunction if isinstance(leaf, Present) and isinstance(leaf.source, Each)}
    for each in sorted(calls.keys() | eaches(term for leaf in conjunction for term in terms(leaf)), key=_number):
        found[each] = owner(each.argument) or _partner(each, conjunction)
    return found


def _number(each: Each) -> int:
    return each.number


def _partner(constant: Each, conjunction: Conjunction) -> Place:
    used = [terms(leaf) for leaf in conjunction if not isinstance(leaf, Present) and constant in eaches(terms(leaf))]
    partners = {owner(term) for tested in used for term in tested} - {None}
    table = next(iter(partners)) if len(partners) == 1 else None
    return table if isinstance(table, Table) else Request.OWNER


def _add(leaf: Condition | Equality, graph: Graph) -> bool:
    """Puts a leaf into the graph; False where it has no place there."""
    if isinstance(leaf, Condition):
        return leaf.term is not None and _add_filter(leaf.term, leaf, graph)
    if leaf.left is None or leaf.right is None:
        return False
    places = [graph.place(leaf.left), graph.place(leaf.right)]
    if places[0] == places[1] or not leaf.left.sources or not leaf.right.sources:
        return _add_filter(equal_term(leaf.left, leaf.right, leaf.node), leaf, graph)
    for own, other, (at, place) in ((leaf.left, leaf.right, places), (leaf.right, leaf.left, places[::-1])):
        if isinstance(at, Table):
            graph.edges.setdefault(at, []).append(Edge(own, other, place))
    return True


def _add_filter(term: Term, leaf: Condition | Equality, graph: Graph) -> bool:
    place = graph.place(term)
    calls = {source for source in sources(term) if isinstance(source, Each)}
    if len({graph.eaches[each] for each in calls} | {place}) > 1 or (place is Request.OWNER and len(calls) > 1):
        leaf.report.fatal(Refused(UNASSOCIATED, range_of(term.node)))
        return False
    graph.filters.setdefault(place, []).append(term)
    return True


def _check_partitions(graph: Graph) -> bool:
    """The rows that a json_each call of the request gives can be compared with one table only."""
    tables: dict[Each, set[Table]] = {}
    for table, edges in graph.edges.items():
        for each in eaches(edge.other for edge in edges):
            if graph.eaches[each] is Request.OWNER:
                tables.setdefault(each, set()).add(table)
    wrong = [each for each, compared in tables.items() if len(compared) > 1]
    for each in wrong:
        each.report.fatal(Refused(UNPARTITIONED, range_of(each.node)))
    return not wrong


class _Order:
    """The lookups in an order in which each has its inputs: from the primary table on, what leads to the request first.

    A table that the request reaches only through others waits for them; where the request reaches none of them, the
    one that is farthest from the primary table begins, without input.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._open: set[Table] = {graph.primary}
        self._done: list[Table] = []

    def tables(self) -> list[Table]:
        self._visit_neighbours(self._graph.primary)
        for table in self._graph.edges:
            self._visit(table)
        return self._done

    def _visit(self, table: Table) -> None:
        if table in self._open or table in self._done:
            return
        self._open.add(table)
        self._visit_neighbours(table)
        self._open.discard(table)
        self._done.append(table)

    def _visit_neighbours(self, table: Table) -> None:
        for neighbour in self._neighbours(table):
            if table is self._graph.primary or self._leads(neighbour) or not self._leads(table):
                self._visit(neighbour)

    def _neighbours(self, table: Table) -> list[Table]:
        return [edge.place for edge in self._graph.edges[table] if isinstance(edge.place, Table)]

    def _leads(self, table: Table) -> bool:
        """Whether the request is compared with the table, or with one beyond it that is not being visited."""
        seen, pending = {table}, [table]
        while pending:
            one = pending.pop()
            if any(edge.place is Request.OWNER for edge in self._graph.edges[one]):
                return True
            beyond = set(self._neighbours(one)) - seen - self._open
            seen |= beyond
            pending += beyond
        return False
