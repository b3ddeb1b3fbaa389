"""Data queries: which rows a bucket gets, and what of them; and the payload queries of events, which look alike."""

from __future__ import annotations

import json
from typing import Any

from connector.definitions.legacy.columns import check_id, data_columns
from connector.definitions.legacy.matches import Alternative, Input, Match, conditions, placed
from connector.definitions.legacy.scope import LegacyScope
from connector.definitions.legacy.tables import check_columns, table_of
from connector.definitions.source import Report, Source
from connector.definitions.sql import Refused, Select, parse
from connector.definitions.terms import BUCKET

_ELSEWHERE = {"request": "request schema is not available in data queries"}


def data_query(sql: str, parameters: tuple[str, ...] | None, source: Source, report: Report) -> dict[str, Any]:
    """One data query as the bucket plan's entry; `parameters` are the bucket's, None where errors hide them.

    Everything wrong goes to `report`; the result is usable only if nothing did. Raises Refused where the text is
    no query at all.
    """
    select = parse(sql)
    table = table_of(select, source, report)
    scope = LegacyScope(table.name, {"bucket": BUCKET}, wildcard=table.wildcard, elsewhere=_ELSEWHERE)
    found = conditions(select.where, scope, report.fatal)
    columns = list(data_columns(select, scope, report))
    check_id(select, columns, table, source, report)
    if parameters is not None and not report.failed:
        _check_coverage(select, parameters, found, report)
    check_columns(table, scope, source, report)
    order = [Input(["bucket", name]).identity for name in parameters or ()]
    usable = not report.failed and parameters is not None
    return bucket_query(table.pattern, table.type, columns, found.alternatives if usable else (), order)


def payload_query(sql: str, source: Source, report: Report) -> None:
    """Checks the payload query of an event: a data query without parameters that needs no id."""
    select = parse(sql)
    table = table_of(select, source, report)
    scope = LegacyScope(table.name, wildcard=table.wildcard, elsewhere=_ELSEWHERE)
    conditions(select.where, scope, report.fatal)
    for _column in data_columns(select, scope, report):
        pass
    check_columns(table, scope, source, report)


def bucket_query(
    pattern: str, type_: str | None, columns: list[list[Any]], alternatives: tuple[Alternative, ...], order: list[str]
) -> dict[str, Any]:
    """An entry of a bucket plan's queries; `order`: the identities of the bucket's parameters."""
    listed = {json.dumps(each): each for each in (placed(alternative, order) for alternative in alternatives)}
    return {
        "table": pattern,
        "type": type_,
        "columns": columns,
        "alternatives": [listed[text] for text in sorted(listed)],
    }


def _check_coverage(select: Select, parameters: tuple[str, ...], found: Match, report: Report) -> None:
    got = [str(each.expression[1]) for each in found.inputs]
    if set(got) == set(parameters):
        return
    listed = (
        json.dumps([f"bucket.{name}" for name in names], separators=(",", ":"), ensure_ascii=False)
        for names in (parameters, got)
    )
    report.fatal(
        Refused(
            "Query must cover all bucket parameters. Expected: {} Got: {}".format(*listed),
            select.whole,
            "a row belongs to the buckets whose parameters it fixes: add `column = bucket.parameter` for each",
        )
    )
