"""The named entries of a sync config as written: structure checked, queries still text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from connector.definitions.document import Map, Node, Scalar
from connector.definitions.reading import (
    Findings,
    boolean,
    entries,
    is_null,
    known_entries,
    priority,
    text,
    texts,
)

DEFAULT_PRIORITY = 3
_BUCKETS = ("parameters", "data", "priority", "accept_potentially_dangerous_queries")
_STREAM = ("query", "queries", "with", "auto_subscribe", "priority", "accept_potentially_dangerous_queries")
_ONLY_COMPILED = ("queries", "with")


@dataclass(frozen=True, slots=True)
class BucketsEntry:
    """One of `bucket_definitions:`. `parameters` and `data` are its queries; `written_priority` None where none is.

    `incomplete`: a query is missing because it is no text, so that what the others lack may be its doing.
    """

    name: str
    key: Scalar
    parameters: tuple[Scalar, ...]
    data: tuple[Scalar, ...]
    written_priority: int | None
    accepts_danger: bool
    incomplete: bool

    @property
    def priority(self) -> int:
        return DEFAULT_PRIORITY if self.written_priority is None else self.written_priority

    @property
    def queries(self) -> tuple[Scalar, ...]:
        return self.parameters + self.data


@dataclass(frozen=True, slots=True)
class TableExpression:
    """One of `with:`, a common table expression: what it is called, and its query."""

    name: str
    key: Scalar
    query: Scalar


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One of `streams:`. `expressions` are its own common table expressions."""

    name: str
    key: Scalar
    queries: tuple[Scalar, ...]
    expressions: tuple[TableExpression, ...]
    priority: int
    auto_subscribe: bool
    accepts_danger: bool


@dataclass(frozen=True, slots=True)
class EventEntry:
    """One of `event_definitions:`."""

    name: str
    key: Scalar
    payloads: tuple[Scalar, ...]


Entry = TypeVar("Entry")


def bucket_entries(node: Node | None, findings: Findings) -> tuple[BucketsEntry, ...]:
    return _each(node, findings, lambda key, value: _buckets(key, value, findings))


def stream_entries(node: Node | None, edition: int, findings: Findings) -> tuple[StreamEntry, ...]:
    return _each(node, findings, lambda key, value: _stream(key, value, edition, findings))


def event_entries(node: Node | None, findings: Findings) -> tuple[EventEntry, ...]:
    return _each(node, findings, lambda key, value: _event(key, value, findings))


def table_expressions(node: Node | None, findings: Findings) -> tuple[TableExpression, ...]:
    return _each(node, findings, lambda key, value: _table_expression(key, value, findings))


def _each(node: Node | None, findings: Findings, read: Callable[[Scalar, Node], Entry | None]) -> tuple[Entry, ...]:
    found = (read(key, value) for key, value in entries(node, findings).values())
    return tuple(entry for entry in found if entry is not None)


def _buckets(key: Scalar, node: Node, findings: Findings) -> BucketsEntry | None:
    if not isinstance(node, Map):
        findings.fatal_at(node, f"'{key.text}' bucket definition must be an object")
        return None
    found = known_entries(node, _BUCKETS, findings)
    if "data" not in found:
        findings.fatal_at(key, "Missing required keys: data", "add `data:` with a list of queries")
    parameters = found.get("parameters")
    written = () if parameters is None or is_null(parameters) else tuple(_one_or_many(parameters, findings))
    data = tuple(texts(found["data"], findings)) if "data" in found else ()
    return BucketsEntry(
        key.text,
        key,
        written,
        data,
        priority(found["priority"], findings) if "priority" in found else None,
        _switch(found, "accept_potentially_dangerous_queries", findings),
        parameters is not None and not is_null(parameters) and not written,
    )


def _stream(key: Scalar, node: Node, edition: int, findings: Findings) -> StreamEntry | None:
    if not isinstance(node, Map):
        findings.fatal_at(node, "Expected a map here.", "a stream has `query:` and options")
        return None
    found = known_entries(node, _STREAM, findings)
    if edition < 3:
        _refuse_compiled(node, findings)
    if ("query" in found) is ("queries" in found):
        findings.fatal_at(node, "One of `queries` or `query` must be given.")
    written = priority(found["priority"], findings) if "priority" in found else None
    return StreamEntry(
        key.text,
        key,
        tuple(_stream_queries(found, findings)),
        table_expressions(found.get("with"), findings),
        DEFAULT_PRIORITY if written is None else written,
        _switch(found, "auto_subscribe", findings),
        _switch(found, "accept_potentially_dangerous_queries", findings),
    )


def _stream_queries(found: dict[str, Node], findings: Findings) -> Iterator[Scalar]:
    if "query" in found:
        query = text(found["query"], findings)
        yield from () if query is None else (query,)
    if "queries" in found:
        yield from texts(found["queries"], findings)


def _refuse_compiled(node: Map, findings: Findings) -> None:
    for key, _ in node.entries:
        if isinstance(key, Scalar) and key.text in _ONLY_COMPILED:
            findings.fatal_at(key, f"'{key.text}' requires edition 3", "set `edition: 3` under `config:`")


def _event(key: Scalar, node: Node, findings: Findings) -> EventEntry | None:
    if not isinstance(node, Map):
        findings.fatal_at(node, "Expected a map here.", "an event has `payloads:`, a list of queries")
        return None
    found = known_entries(node, ("payloads",), findings)
    if "payloads" not in found:
        findings.fatal_at_top("Event definition payloads must be an array.", f"add `payloads:` to '{key.text}'")
    return EventEntry(key.text, key, tuple(texts(found["payloads"], findings)) if "payloads" in found else ())


def _table_expression(key: Scalar, node: Node, findings: Findings) -> TableExpression | None:
    query = text(node, findings)
    return None if query is None else TableExpression(key.text, key, query)


def _one_or_many(node: Node, findings: Findings) -> list[Scalar]:
    return [node] if isinstance(node, Scalar) else texts(node, findings)


def _switch(found: dict[str, Node], name: str, findings: Findings) -> bool:
    return name in found and boolean(found[name], findings)
