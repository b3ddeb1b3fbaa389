"""A sync config's text as checked definitions: everything that is wrong at once, nothing raised."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from connector.definitions.alpha import compile_alpha
from connector.definitions.compiled import compile_streams
from connector.definitions.document import Map, Node, Scalar, Unreadable, read
from connector.definitions.entries import (
    BucketsEntry,
    EventEntry,
    StreamEntry,
    TableExpression,
    bucket_entries,
    event_entries,
    stream_entries,
    table_expressions,
)
from connector.definitions.legacy import check_events, compile_buckets
from connector.definitions.model import Checked, Definition, Diagnostic, SyncConfig
from connector.definitions.options import Config, read_options
from connector.definitions.positions import Lines
from connector.definitions.reading import Findings, known_entries
from connector.definitions.source import Source

MAX_SQL_CHARACTERS = 1_500_000  # of all queries, an aliased one counted wherever it is used

_TOP_LEVEL = ("bucket_definitions", "streams", "with", "event_definitions", "config")
_ALPHA = (
    "This is using an alpha version of Sync Streams. We recommend upgrading `config.edition` to version 3 to support "
    "the latest features."
)
_NO_STREAMS = (
    "Sync streams require edition 2 or later. Try adding a `config: {edition: 2} block to the end of the file.`"
)
_EVENTS = "event definitions give no bucket data: Syncline checks their queries, and evaluates them for nobody"


def check(
    text: str,
    *,
    path: str = "sync-config.yaml",
    default_schema: str = "public",
    tables: Mapping[str, Collection[str]] | None = None,
    unknown: Literal["fatal", "warning"] = "fatal",
) -> Checked:
    """The definitions in `text`, and all that is wrong with it; no input makes it raise.

    `path` is the file name that spans carry; unqualified tables are looked for in `default_schema`. `tables` are the
    source's, `schema.table` to column names: with them, an unknown table or column is as grave as `unknown` says.
    """
    text = text.removeprefix("\ufeff")
    findings = Findings(text, Lines(text, path))
    try:
        root = read(text)
    except Unreadable as error:
        findings.fatal(error.message, error.offset, error.offset + 1, error.hint)
        return Checked(findings.sorted(), None)
    written = _written(root, findings)
    definitions = _compiled(written, Source(default_schema, tables, unknown), findings)
    options = written.config.options
    config = None if findings.fatal_seen else SyncConfig(options, tuple(definitions), options.evaluation())
    return Checked(findings.sorted(), config, _notices(written, findings))


@dataclass(frozen=True, slots=True)
class _Written:
    """The file's entries, before any SQL is read."""

    config: Config
    buckets: tuple[BucketsEntry, ...]
    streams: tuple[StreamEntry, ...]
    expressions: tuple[TableExpression, ...]
    events: tuple[EventEntry, ...]
    events_node: Node | None

    def queries(self) -> Iterator[Scalar]:
        for entry in self.buckets:
            yield from entry.parameters + entry.data
        for stream in self.streams:
            yield from stream.queries
            yield from (expression.query for expression in stream.expressions)
        yield from (expression.query for expression in self.expressions)
        yield from (query for event in self.events for query in event.payloads)


def _written(root: Node | None, findings: Findings) -> _Written:
    if root is None:
        findings.fatal("the file is empty", 0, 0, "write `streams:` and at least one stream")
    found = known_entries(root, _TOP_LEVEL, findings)
    config = read_options(found.get("config"), findings)
    written = _Written(
        config,
        bucket_entries(found.get("bucket_definitions"), findings),
        stream_entries(found.get("streams"), config.edition, findings),
        table_expressions(found.get("with"), findings),
        event_entries(found.get("event_definitions"), findings),
        found.get("event_definitions"),
    )
    if isinstance(root, Map):
        _check_edition(found, written, findings)
    return written


def _check_edition(found: Mapping[str, Node], written: _Written, findings: Findings) -> None:
    """What must be there and what must not, by edition."""
    there = {name for name in ("bucket_definitions", "streams") if isinstance(found.get(name), Map)}
    if written.config.edition == 3:
        if "streams" not in there:
            findings.fatal_at_top("'streams' are required.", "add `streams:`; an empty map will do")
        if "bucket_definitions" in found:
            findings.fatal_at(
                found["bucket_definitions"],
                "'bucket_definitions' are not supported in edition 3",
                "write them as streams, or set `edition: 2`",
            )
        return
    if not there:
        findings.fatal_at_top("'bucket_definitions' or 'streams' is required", "an empty map will do")
    if "with" in found:
        findings.fatal_at(found["with"], "'with' requires edition 3", "set `edition: 3` under `config:`")
    if "streams" in there:
        findings.warning_at(found["streams"], _ALPHA)
    names = {entry.name for entry in written.buckets}
    for stream in written.streams:
        if stream.name in names:
            findings.fatal_at(stream.key, f"The name '{stream.name}' is used by a bucket definition and a stream")


def _compiled(written: _Written, source: Source, findings: Findings) -> list[Definition]:
    """The definitions in the order of the file: bucket definitions, then streams."""
    edition, options = written.config
    if not _within_limit(written.queries(), findings):
        return []
    check_events(written.events, source, findings)
    if edition == 3:
        return compile_streams(written.streams, written.expressions, options, source, findings)
    return [
        *compile_buckets(written.buckets, options, source, findings),
        *compile_alpha(_usable(written.streams, edition, findings), options, source, findings),
    ]


def _usable(streams: Sequence[StreamEntry], edition: int, findings: Findings) -> Sequence[StreamEntry]:
    """The streams; in edition 1, that has none, a finding for each."""
    if edition > 1:
        return streams
    for query in (query for stream in streams for query in stream.queries):
        findings.fatal(_NO_STREAMS, query.start, query.end, "better `edition: 3`: edition 2 is an alpha version")
    return ()


def _within_limit(queries: Iterable[Scalar], findings: Findings) -> bool:
    """Whether there is no more SQL than can be read in reasonable time; with a finding where there is."""
    left = MAX_SQL_CHARACTERS
    for query in queries:
        left -= len(query.text)
        if left < 0:
            message = f"the queries have more than {MAX_SQL_CHARACTERS:,} characters in all"
            findings.fatal(message, query.start, query.end, "split the file")
            return False
    return True


def _notices(written: _Written, findings: Findings) -> tuple[Diagnostic, ...]:
    """What Syncline itself has to say of a config that is right."""
    node = written.events_node
    if node is None or not written.events:
        return ()
    span = findings.lines.span(node.start, node.outer_end)
    return (Diagnostic("warning", _EVENTS, span, "keep them in the service that listens to them"),)
