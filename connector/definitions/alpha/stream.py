"""Streams of edition 2: one bucket part per variant, one index per subquery, one querier per variant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from connector.definitions.alpha.conditions import (
    Filter,
    Found,
    Given,
    Leaf,
    Matched,
    Subquery,
    alternatives,
    formula,
)
from connector.definitions.alpha.scope import stream_scope
from connector.definitions.alpha.subqueries import RESULT, SubqueryReader
from connector.definitions.document import Scalar
from connector.definitions.entries import StreamEntry
from connector.definitions.legacy.columns import check_id, data_columns
from connector.definitions.legacy.tables import NOT_ONE_TABLE, Table, check_columns, table_of
from connector.definitions.model import Definition, Options, Part
from connector.definitions.parts import part_of
from connector.definitions.reading import Findings, InScalar
from connector.definitions.source import Report, Source
from connector.definitions.sql import Refused, Select, parse
from connector.definitions.terms import canonical_order

Expression = list[Any]
_BY_DEFAULT = (
    "Clients subscribe to this stream by default, but it uses subscription parameters. Default subscriptions use null "
    "for all parameters, which can lead to unintentional results. Try removing the parameter or not marking the stream "
    "as auto-subscribe."
)


def compile_alpha(
    streams: Sequence[StreamEntry], options: Options, source: Source, findings: Findings
) -> list[Definition]:
    """One definition for each stream; usable where nothing fatal was found."""
    read = [_definition(stream, scalar, options, source, findings) for stream in streams for scalar in stream.queries]
    return [definition for definition in read if definition is not None]


def _definition(
    stream: StreamEntry, scalar: Scalar, options: Options, source: Source, findings: Findings
) -> Definition | None:
    report = InScalar(findings, scalar)
    query = report.read(lambda inner: _stream_query(scalar.text, source, inner))
    if query is None:
        return None
    parts = (*_buckets(stream.name, query, options), *_indexes(stream.name, query, options))
    queriers = tuple(_querier(stream, number, variant) for number, variant in enumerate(query.variants))
    if stream.auto_subscribe and _uses_subscription(queriers):
        report.warning(Refused(_BY_DEFAULT, (0, len(scalar.text.rstrip()))))
    return Definition(stream.name, "stream", stream.priority, stream.auto_subscribe, parts, queriers)


@dataclass(frozen=True)
class _StreamQuery:
    table: Table
    columns: list[list[Any]]
    variants: list[tuple[Leaf, ...]]
    subqueries: list[Subquery]


def _stream_query(sql: str, source: Source, report: Report) -> _StreamQuery:
    select = _parsed(sql)
    table = table_of(select, source, report)
    scope = stream_scope(table.name, wildcard=table.wildcard)
    subqueries = SubqueryReader(sql, source, report)
    variants: list[tuple[Leaf, ...]] = [()]
    if select.where is not None:
        try:
            variants = alternatives(formula(select.where, scope, subqueries))
        except Refused as refused:
            report.fatal(refused)
    columns = list(data_columns(select, scope, report))
    check_id(select, columns, table, source, report)
    check_columns(table, scope, source, report)
    return _StreamQuery(table, columns, variants, subqueries.found)


def _parsed(sql: str) -> Select:
    """The SELECT; a join is shown by the whole of it."""
    try:
        return parse(sql)
    except Refused as refused:
        if refused.message != NOT_ONE_TABLE:
            raise
        raise Refused(refused.message, (0, len(sql.rstrip())), "edition 3 has joins") from refused


def _buckets(name: str, query: _StreamQuery, options: Options) -> Iterator[Part]:
    for number, variant in enumerate(query.variants):
        entry = {
            "table": query.table.pattern,
            "type": query.table.type,
            "columns": query.columns,
            "alternatives": [_alternative(variant)],
        }
        yield part_of(name, _label(name, number), {"kind": "bucket", "queries": [entry]}, options)


def _label(name: str, number: int) -> str:
    return f"{name}|{number}"


def _alternative(variant: Sequence[Leaf]) -> dict[str, Any]:
    functions, keys = _row_side([leaf.row for leaf in variant if isinstance(leaf, Matched)])
    return {"functions": functions, "filters": _filters(variant, of_request=False), "keys": keys}


def _row_side(rows: Sequence[Expression]) -> tuple[list[Expression], list[Expression]]:
    """Functions and keys: each array's elements are a function's rows, as each is matched on its own."""
    functions: list[Expression] = []
    keys: list[Expression] = []
    for row in rows:
        if row[0] == "elements":
            functions.append(row)
        keys.append(["value", len(functions) - 1] if row[0] == "elements" else row)
    return functions, keys


def _filters(variant: Sequence[Leaf], *, of_request: bool) -> list[Expression]:
    found = [leaf.expression for leaf in variant if isinstance(leaf, Filter) and leaf.of_request is of_request]
    flat = [inner for each in found for inner in (each[1:] if each[0] == "and" and len(each) > 2 else [each])]
    return canonical_order(flat)


def _indexes(name: str, query: _StreamQuery, options: Options) -> Iterator[Part]:
    sought = {leaf.subquery.number for variant in query.variants for leaf in variant if isinstance(leaf, Found)}
    for subquery in query.subqueries:
        by_result = [subquery.result] if subquery.number in sought else []
        functions, inputs = _row_side([*subquery.rows, *by_result])
        body = {
            "kind": "index",
            "table": subquery.pattern,
            "functions": functions,
            "filters": canonical_order(list(subquery.filters)),
            "inputs": inputs,
            "outputs": [[RESULT, subquery.result]],
            "null_outputs": True,
        }
        yield part_of(name, _index_label(name, subquery.number), body, options)


def _index_label(name: str, number: int) -> str:
    return f"{name}#{number}"


class _Request:
    """What a querier asks of the request, as it is put together."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self.functions: list[Expression] = []
        self.filters: list[Expression] = []
        self.lookups: list[dict[str, Any]] = []

    def value(self, given: Given) -> Expression:
        if not given.expands:
            return given.expression
        self.functions.append(["elements", given.expression])
        return ["value", len(self.functions) - 1]

    def output(self, subquery: Subquery, *sought: Given) -> Expression:
        self.filters += subquery.request_filters
        inputs = [self.value(given) for given in (*subquery.inputs, *sought)]
        self.lookups.append({"index": _index_label(self._stream, subquery.number), "inputs": inputs})
        return ["output", len(self.lookups) - 1, RESULT]


def _querier(stream: StreamEntry, number: int, variant: Sequence[Leaf]) -> dict[str, Any]:
    request = _Request(stream.name)
    keys = []
    for leaf in variant:
        if isinstance(leaf, Matched):
            given = leaf.given
            keys.append([request.value(given) if isinstance(given, Given) else request.output(given)])
        elif isinstance(leaf, Found):
            request.output(leaf.subquery, leaf.given)
    return {
        "bucket": _label(stream.name, number),
        "priority": stream.priority,
        "functions": request.functions,
        "filters": canonical_order([*_filters(variant, of_request=True), *request.filters]),
        "lookups": request.lookups,
        "keys": keys,
        "nulls": True,
    }


def _uses_subscription(part: Any) -> bool:
    if isinstance(part, dict):
        return any(map(_uses_subscription, part.values()))
    if not isinstance(part, list | tuple):
        return False
    return (len(part) > 1 and part[0] == "subscription") or any(map(_uses_subscription, part))
