"""Bucket definitions: their queries, compiled to one bucket part, an index for each table query, and queriers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connector.definitions.document import Scalar
from connector.definitions.entries import BucketsEntry
from connector.definitions.legacy.danger import DANGEROUS, HINT
from connector.definitions.legacy.data import data_query
from connector.definitions.legacy.parameters import ParameterQuery, parameter_query
from connector.definitions.model import Definition, Options
from connector.definitions.parts import part_of
from connector.definitions.patterns import is_wildcard
from connector.definitions.reading import Findings, InScalar
from connector.definitions.source import Source
from connector.definitions.sql import Refused


def compile_buckets(
    entries: Sequence[BucketsEntry], options: Options, source: Source, findings: Findings
) -> list[Definition]:
    """One definition for each entry; usable where nothing fatal was found."""
    return [_compiled(entry, options, source, findings) for entry in entries]


def _compiled(entry: BucketsEntry, options: Options, source: Source, findings: Findings) -> Definition:
    if entry.incomplete and not entry.parameters:
        return _without_parameters(entry, options, findings)
    queries = _parameter_queries(entry, source, findings)
    names = None if queries is None else queries[0].names if queries else ()
    data = [_data_query(scalar, names, source, findings) for scalar in entry.data]
    return _definition(entry, options, [query for query in data if query is not None], queries or [])


def _without_parameters(entry: BucketsEntry, options: Options, findings: Findings) -> Definition:
    """An empty list of parameter queries: nobody gets a bucket, so there is none to fill."""
    for scalar in entry.data:
        hint = "remove `parameters:` for one bucket that everybody gets"
        InScalar(findings, scalar).fatal(Refused("Bucket parameters must be defined", None, hint))
    part = part_of(entry.name, entry.name, {"kind": "bucket", "queries": []}, options)
    return Definition(entry.name, "buckets", entry.priority, True, (part,), ())


def _data_query(
    scalar: Scalar, names: tuple[str, ...] | None, source: Source, findings: Findings
) -> dict[str, Any] | None:
    return InScalar(findings, scalar).read(lambda report: data_query(scalar.text, names, source, report))


def _parameter_queries(entry: BucketsEntry, source: Source, findings: Findings) -> list[ParameterQuery] | None:
    """None where one of them is unusable."""
    found: list[ParameterQuery] = []
    for scalar in entry.parameters:
        query = _parameter_query(scalar, source, findings)
        if query is None:
            continue
        report = InScalar(findings, scalar)
        _check_beside(scalar, query, found, entry.written_priority, report)
        if query.dangerous and not entry.accepts_danger:
            report.warning(Refused(DANGEROUS, _whole(scalar), HINT))
        found.append(query)
    return found if not entry.incomplete and len(found) == len(entry.parameters) else None


def _parameter_query(scalar: Scalar, source: Source, findings: Findings) -> ParameterQuery | None:
    return InScalar(findings, scalar).read(lambda report: parameter_query(scalar.text, source, report))


def _check_beside(
    scalar: Scalar, query: ParameterQuery, before: list[ParameterQuery], own_priority: int | None, report: InScalar
) -> None:
    """What must hold between a query, those before it and its definition."""
    if own_priority is not None and query.priority is not None:
        message = "Cannot set priority multiple times."
        report.fatal(Refused(message, _whole(scalar), "the definition has a priority too"))
    if before and set(before[0].names) != set(query.names):
        expected, got = (", ".join(sorted(names)) or "none" for names in (before[0].names, query.names))
        report.fatal(
            Refused(
                "Bucket parameters must match for each parameter query within a bucket",
                _whole(scalar),
                f"the queries before it give {expected}, this one {got}: name the results alike, `… AS name`",
            )
        )


def _whole(scalar: Scalar) -> tuple[int, int]:
    return 0, len(scalar.text.rstrip())


_EVERYBODY = ParameterQuery((), [], None)


def _definition(
    entry: BucketsEntry, options: Options, data: list[dict[str, Any]], queries: list[ParameterQuery]
) -> Definition:
    name = entry.name
    order = queries[0].names if queries else ()
    parts = [part_of(name, name, {"kind": "bucket", "queries": _ordered(data)}, options)]
    queriers = []
    for number, query in enumerate(queries or [_EVERYBODY], 1):
        label = f"{name}#{number}"
        if query.index is not None:
            parts.append(part_of(name, label, {"kind": "index", **query.index}, options))
        queriers.append(_querier(query, entry, order, label))
    return Definition(name, "buckets", entry.priority, True, tuple(parts), tuple(queriers))


def _ordered(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By table, as queries of different tables never meet in one row; with patterns they may, and the last one wins."""
    if any(is_wildcard(query["table"]) for query in data):
        return data
    return sorted(data, key=lambda query: str(query["table"]))


def _querier(query: ParameterQuery, entry: BucketsEntry, order: tuple[str, ...], label: str) -> dict[str, Any]:
    """How a request gets buckets by this query: parameters in the order of the bucket's, which the first query sets."""
    values = dict(zip(query.names, query.values, strict=True))
    return {
        "bucket": entry.name,
        "priority": entry.priority if query.priority is None else query.priority,
        "functions": query.functions,
        "filters": query.filters,
        "lookups": [] if query.index is None else [{"index": label, "inputs": query.inputs}],
        "keys": [[values[each]] for each in order if each in values],
        "nulls": True,
    }
