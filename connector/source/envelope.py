"""Debezium's envelope → what the sequencer needs of it; the row's bytes are cut out, not decoded.

Both orders of the envelope's fields (schema versions 1 and 2) are read by name. What is not an envelope is refused
by name: flattened rows, JSON, ids in headers, 8-byte ids.
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any, NamedTuple

import orjson

from connector.errors import BadRecord, SourceRefused
from connector.source import avro
from connector.source.records import Begin, End
from connector.source.tail import Blocks, Template
from connector.source.toast import Placeholder

_FRAME = 5
_ROWS = ("before", "after")
_THERE = 2  # the union branch of a row, as Avro writes it


class Event(NamedTuple):
    """One change event, its row still encoded."""

    op: str
    table: str  # of a logical message its prefix
    read: bool  # from a snapshot: initial, incremental or blocking
    last_commit: int  # lastCommitLsn, 0 where null
    lsn: int  # of the row itself, 0 where null
    order: int  # total_order, 0 without a transaction block
    transaction: str  # id of the transaction, "" without a block
    committed_at: int
    row: bytes  # of a logical message its content
    held: bool  # has a TOAST placeholder


_new_event = tuple.__new__  # a NamedTuple's own constructor costs three times as much


class Envelope:
    """Reads the events written under one schema.

    `row_schema` is the row's own schema, standing alone; None in an envelope without rows (logical messages).
    Raises SourceRefused where the schema is no envelope at all.
    """

    def __init__(self, schema: avro.Schema, placeholder: Placeholder) -> None:
        fields = _envelope_fields(schema)
        known, namespace = avro.definitions(schema), avro.inside(schema)
        self._placeholder = placeholder
        self._pieces = _pieces(fields, known, namespace)
        self.row_schema = _row_schema(fields, known, namespace)
        self._row = (
            None
            if self.row_schema is None
            else avro.record(
                "Row", self.row_schema["fields"], avro.definitions(self.row_schema), avro.inside(self.row_schema)
            )
        )
        # learn only where the envelope is before, after, and the rest behind them
        rest = [field for field in fields if field["name"] not in _ROWS]
        in_order = [field["name"] for field in fields[:2]] == list(_ROWS)
        self._tail = rest if in_order and avro.branches(fields[0]["type"])[0] == "null" else []
        self._before = self._pieces[0][1]
        self._template: Template | None = None

    def read(self, value: bytes) -> Event:
        """The event in a framed value. Raises BadRecord where it cannot be decoded."""
        if self._template is not None and (event := self._by_template(self._template, value)) is not None:
            return event
        try:
            return self._read(value)
        except (EOFError, ValueError, LookupError, OverflowError, TypeError) as error:
            raise BadRecord(f"the value cannot be decoded: {error!r}") from error

    def _by_template(self, template: Template, value: bytes) -> Event | None:
        """The event read by patterns; None where they do not fit. Only `before` beside an `after` must be skipped."""
        start = value.rfind(template.prefix)
        if start <= _FRAME + 1:
            return None
        blocks = template.match(value, start)
        if blocks is None:
            return None
        op, last, lsn, order, transaction, committed_at = blocks
        row = b""
        if value[_FRAME] == 0:
            if value[_FRAME + 1] == _THERE:
                row = value[_FRAME + 2 : start]
            elif start != _FRAME + 2:
                return None
        elif op != "d":
            return None if op != "u" else self._after_before(value, start, template, blocks)
        held = self._placeholder.suspected(row) and self._is_held(row)
        read = op == "r"
        return _new_event(Event, (op, template.table, read, last, lsn, order, transaction, committed_at, row, held))

    def _after_before(self, value: bytes, start: int, template: Template, blocks: Blocks) -> Event | None:
        body = BytesIO(value)
        body.seek(_FRAME)
        try:
            avro.skip(body, self._before)
        except (EOFError, ValueError, LookupError, OverflowError, TypeError):
            return None
        at = body.tell()
        if at >= start or value[at] != _THERE:
            return None
        row = value[at + 1 : start]
        op, last, lsn, order, transaction, committed_at = blocks
        return Event(op, template.table, False, last, lsn, order, transaction, committed_at, row, self._held(row))

    def _read(self, value: bytes) -> Event:
        body = BytesIO(value)
        body.seek(_FRAME)
        row, parts = b"", {}
        for name, schema in self._pieces:
            start = body.tell()
            if name is None:
                parts.update(avro.read(body, schema))
            elif value[start] == 0:
                body.seek(start + 1)  # a null
            else:
                avro.skip(body, schema)
                if name == "after":
                    row = value[start + 1 : body.tell()]
        if body.tell() != len(value):
            raise BadRecord(f"the value has {len(value) - body.tell()} bytes too many")
        if self._tail:
            self._template = Template.learn(self._tail, parts)
            self._tail = []  # learn once
        return _event(parts, row, self._held(row))

    def _held(self, row: bytes) -> bool:
        return self._placeholder.suspected(row) and self._is_held(row)

    def _is_held(self, row: bytes) -> bool:
        return self._row is not None and self._placeholder.present(avro.read(BytesIO(row), self._row))


def _envelope_fields(schema: avro.Schema) -> list[dict[str, Any]]:
    fields = schema.get("fields", []) if isinstance(schema, dict) else []
    names = {field["name"] for field in fields}
    if {"op", "source"} <= names and (names & {"after", "message"}):
        return list(fields)
    raise SourceRefused(
        "the topic's values are no Debezium envelopes: " + (", ".join(sorted(names)) or json.dumps(schema)[:80]),
        hint="remove ExtractNewRecordState (flattening) and other value transforms from the connector",
    )


def _pieces(
    fields: list[dict[str, Any]], known: dict[str, Any], namespace: str
) -> list[tuple[str | None, avro.Schema]]:
    """Runs of ordinary fields (name None), and each row by itself."""
    pieces: list[tuple[str | None, avro.Schema]] = []
    run: list[dict[str, Any]] = []
    for field in [*fields, None]:
        if field is not None and field["name"] not in _ROWS:
            run.append(field)
            continue
        if run:
            pieces.append((None, avro.record("Tail", run, known, namespace)))
            run = []
        if field is not None:
            pieces.append((field["name"], avro.record("Cut", [field], known, namespace)))
    return pieces


def _row_schema(fields: list[dict[str, Any]], known: dict[str, Any], namespace: str) -> avro.Schema | None:
    for field in fields:
        if field["name"] == "after":
            row = next(branch for branch in avro.branches(field["type"]) if branch != "null")
            if avro.branches(field["type"])[0] != "null":
                raise SourceRefused("the envelope's rows are not optional", hint="use Debezium's own envelope")
            return avro.standalone(row, known, namespace)
    return None


def _event(parts: dict[str, Any], row: bytes, held: bool) -> Event:
    source = parts["source"]
    block = parts.get("transaction") or {}
    op = parts["op"]
    last_commit, lsn = sequence(source.get("sequence"))
    message = parts.get("message")
    if message:
        table, row = message.get("prefix") or "", message.get("content") or b""
    else:
        table = f"{source['schema']}.{source['table']}"
    return Event(
        op=op,
        table=table,
        read=op == "r",
        last_commit=last_commit,
        lsn=lsn,
        order=block.get("total_order", 0),
        transaction=block.get("id", "").partition(":")[0],
        committed_at=source["ts_ms"],
        row=row,
        held=held,
    )


def sequence(text: str | None) -> tuple[int, int]:
    """`source.sequence`, `["lastCommitLsn","lsn"]`; 0 for what is null."""
    last_commit, lsn = orjson.loads(text) if text else (None, None)
    return int(last_commit or 0), int(lsn or 0)


def refuse_foreign(value: bytes, headers: list[tuple[str, Any]]) -> None:
    """Raise SourceRefused where a value shows another converter or other framing than ours."""
    if any(name.startswith("apicurio.") for name, _ in headers):
        raise SourceRefused(
            "schema ids are in the records' headers", hint="set value.converter.apicurio.registry.headers.enabled=false"
        )
    if value[:1] == b"{" and _is_json_event(value):
        raise SourceRefused(
            "the topic's values are JSON", hint="use the Avro converter for key and value (`syncline init`)"
        )
    if value[:5] == b"\0\0\0\0\0" and len(value) > 9:
        raise SourceRefused(
            "schema ids are 8 bytes wide",
            hint="set value.converter.apicurio.registry.as-confluent=true and use-id=contentId",
        )


def _is_json_event(value: bytes) -> bool:
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    return "source" in event or {"schema", "payload"} <= event.keys()


def read_transaction(record: dict[str, Any], offset: int) -> Begin | End:
    """A decoded record of the transaction topic. Raises SourceRefused where the id has no LSN."""
    transaction, _, lsn = record["id"].partition(":")
    if record["status"] != "END":
        return Begin(offset, transaction)
    if not lsn.isdigit():
        raise SourceRefused(
            f'transaction id "{record["id"]}" has no LSN', hint="Syncline reads Debezium's Postgres connector 3.7"
        )
    return End(
        offset=offset,
        lsn=int(lsn),
        events=int(record["event_count"] or 0),
        transaction=transaction,
        committed_at=int(record.get("ts_ms") or 0),
        tables=tuple(each["data_collection"] for each in record.get("data_collections") or ()),
    )
