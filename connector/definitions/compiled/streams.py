"""Streams of edition 3: their queries' disjuncts as buckets, equal ones shared, and their queriers (powersync.md 1.6).

Within a stream, disjuncts that every request gets together are one bucket. A bucket or an index that is there already,
whichever stream made it, is used again: parts are known by their text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlglot import exp

from connector.definitions.compiled.buckets import Rows, bucket_plan, key_order
from connector.definitions.compiled.names import MAX_NODES, Allowance, Surroundings
from connector.definitions.compiled.numbering import text
from connector.definitions.compiled.query import Query, read_query
from connector.definitions.compiled.select import Cte, Reader
from connector.definitions.compiled.shape import parsed, statement_range
from connector.definitions.document import Scalar
from connector.definitions.entries import StreamEntry, TableExpression
from connector.definitions.model import Definition, Options, Part
from connector.definitions.parts import part_of
from connector.definitions.reading import Findings, InScalar
from connector.definitions.source import Report, Source
from connector.definitions.sql import Refused

MAX_BUCKETS = 100  # of one stream
_UNREFERENCED = "This common table expression isn't referenced."


def compile_streams(
    streams: Sequence[StreamEntry],
    expressions: Sequence[TableExpression],
    options: Options,
    source: Source,
    findings: Findings,
) -> list[Definition]:
    """One definition for each stream; usable where nothing fatal was found."""
    shared = _ctes(expressions, source, findings)
    surroundings = partial(Surroundings, source, options.engine, Allowance(MAX_NODES))
    parts = _Parts(options)
    found = []
    for stream in streams:
        own = _ctes(stream.expressions, source, findings)
        queries = _queries(stream, {**shared, **own}, surroundings, findings)
        _warn_unused(stream.expressions, own, findings)
        found.append(_Stream(stream, parts).definition(queries, findings))
    _warn_unused(expressions, shared, findings)
    return found


def _ctes(expressions: Sequence[TableExpression], source: Source, findings: Findings) -> dict[str, Cte]:
    found = {}
    for expression in expressions:
        report = InScalar(findings, expression.query)
        tree = report.read(partial(_parsed, expression.query.text))
        if f"{source.default_schema}.{expression.name}" in (source.tables or ()):
            findings.warning_at(expression.key, f"This common table expression shadows the table '{expression.name}'.")
        found[expression.name] = Cte(tree, expression.query.text, report)
    return found


def _parsed(text: str, report: Report) -> exp.Select:
    return parsed(text)


def _warn_unused(expressions: Sequence[TableExpression], ctes: dict[str, Cte], findings: Findings) -> None:
    for expression in expressions:
        if not ctes[expression.name].used:
            findings.warning_at(expression.key, _UNREFERENCED, "remove it, or select from it")


def _queries(
    stream: StreamEntry, ctes: Mapping[str, Cte], surroundings: Callable[[], Surroundings], findings: Findings
) -> list[Query]:
    found = []
    for scalar in stream.queries:
        reader = Reader(surroundings(), ctes)
        read = partial(read_query, scalar.text, reader, accepts_danger=stream.accepts_danger)
        query = InScalar(findings, scalar).read(read)
        if query is not None:
            found.append(query)
    return found


class _Parts:
    """The parts of all streams, each once."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._known: dict[str, Part] = {}
        self._indexes = 0

    def bucket(self, definition: str, label: str, body: dict[str, Any]) -> Part:
        """The bucket with this plan; `label` is for a new one."""
        part = part_of(definition, label, body, self._options)
        return self._known.setdefault(part.canonical, part)

    def index(self, definition: str, body: dict[str, Any]) -> Part:
        part = part_of(
            definition, f"lookup#{self._indexes}", {"kind": "index", **body, "null_outputs": False}, self._options
        )
        self._indexes += part.canonical not in self._known
        return self._known.setdefault(part.canonical, part)


class _Stream:
    """One stream's buckets, indexes and queriers as its queries ask for them."""

    def __init__(self, entry: StreamEntry, parts: _Parts) -> None:
        self._entry = entry
        self._parts = parts
        self._found: dict[str, Part] = {}
        self._queriers: dict[str, dict[str, Any]] = {}
        self._buckets = 0

    def definition(self, queries: Sequence[Query], findings: Findings) -> Definition:
        groups: dict[str, list[Rows]] = {}
        for query in queries:
            for disjunct in query.disjuncts:
                groups.setdefault(disjunct.instantiation, []).append(Rows(query.output, disjunct))
        for rows in groups.values():
            self._add(rows)
        buckets = {part.label for part in self._found.values() if part.kind == "bucket"}
        if len(buckets) > MAX_BUCKETS:
            _refuse_buckets(len(buckets), self._entry.queries[0], findings)
        parts = sorted(self._found.values(), key=lambda part: part.kind)
        entry = self._entry
        return Definition(
            entry.name, "stream", entry.priority, entry.auto_subscribe, tuple(parts), tuple(self._queriers.values())
        )

    def _add(self, rows: Sequence[Rows]) -> None:
        order = key_order(rows)
        bucket = self._parts.bucket(self._entry.name, f"{self._entry.name}|{self._buckets}", bucket_plan(rows, order))
        self._buckets += bucket.label == f"{self._entry.name}|{self._buckets}"
        self._found[bucket.label] = bucket
        querier = rows[0].disjunct.querier
        constraints = [found for _, found in rows[0].disjunct.keys]
        made = {
            "bucket": bucket.label,
            "priority": self._entry.priority,
            "functions": querier["functions"],
            "filters": querier["filters"],
            "lookups": [self._lookup(lookup) for lookup in querier["lookups"]],
            "keys": [constraints[position] for position in order],
            "nulls": False,
        }
        self._queriers[text(made)] = made

    def _lookup(self, lookup: dict[str, Any]) -> dict[str, Any]:
        index = self._parts.index(self._entry.name, lookup["index"])
        self._found[index.label] = index
        return {"index": index.label, "inputs": lookup["inputs"]}


def _refuse_buckets(count: int, query: Scalar, findings: Findings) -> None:
    message = (
        f"This stream defines too many buckets ({count}, at most {MAX_BUCKETS} are allowed). Try splitting queries "
        "into separate streams or move inner OR operators in filters to separate queries."
    )
    InScalar(findings, query).fatal(Refused(message, statement_range(parsed(query.text), query.text)))
