"""Records of the CDC topics → rows (rules S9, S11); what cannot be decoded is an unreadable row with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import Any

from fastavro import parse_schema

from connector.errors import BadRecord, SourceRefused
from connector.source import avro
from connector.source.envelope import Envelope, Event, read_transaction, refuse_foreign
from connector.source.keys import Columns, KeyReader, source_key
from connector.source.records import Begin, End, Kind, Partition, Row
from connector.source.toast import Placeholder

_FRAME = 5
_OPS = frozenset("cudtrm")
_NO_KEY: tuple[None, Columns, str] = (None, (), "")
_new_row = tuple.__new__  # a NamedTuple's own constructor costs three times as much
Headers = Callable[[], list[tuple[str, Any]] | None]  # asked only where something is odd


def _no_headers() -> None:
    return None


class Decoder:
    """Decodes records; `schema_text` gives a schema by id, `row_schema_id` registers a row's schema.

    Both may raise Unavailable; then nothing has changed and the same record can be tried again. `tables` maps CDC
    topics to tables for records that do not say their table (tombstones, unreadable ones).
    """

    def __init__(
        self,
        schema_text: Callable[[int], str],
        row_schema_id: Callable[[str, str], int],
        tables: Mapping[str, str],
        *,
        seen: Iterable[str] = (),
        placeholder: Placeholder | None = None,
    ) -> None:
        self._schema_text = schema_text
        self._row_schema_id = row_schema_id
        self._tables = dict(tables)
        self._seen = set(seen)  # topics that have had an envelope
        self._placeholder = placeholder or Placeholder()
        self._envelopes: dict[int, Envelope | str] = {}
        self._rows: dict[tuple[int, str], int] = {}
        self._keys: dict[int, KeyReader | str] = {}
        self._ends: dict[int, Any] = {}

    def row(
        self, partition: Partition, offset: int, key: bytes | None, value: bytes | None, headers: Headers = _no_headers
    ) -> Row:
        """One record of a CDC topic. Raises SourceRefused where the topic is not Debezium's in our format."""
        size = len(key or b"") + len(value or b"")
        topic = partition[0]
        if value is None:
            return self._bare(partition, offset, Kind.TOMBSTONE, key, size, "")
        try:
            event, schema_id = self._event(topic, value, headers)
        except BadRecord as error:
            return self._bare(partition, offset, Kind.UNREADABLE, key, size, error.message)
        op, table, read, last_commit, lsn, order, transaction, committed_at, body, held = event
        if op not in _OPS:
            return self._bare(partition, offset, Kind.UNREADABLE, key, size, f'unknown op "{op}"')
        has_row = body and op != "m"
        row_id = (self._rows.get((schema_id, table)) or self._row_id(schema_id, table)) if has_row else 0
        text, columns, reason = _NO_KEY if op in "tm" else self._key(table, key)
        if op != "m":
            self._tables[topic] = table
        kind = Kind.READ if read else Kind.NUMBERED if order else Kind.SILENT if op == "m" else Kind.BARE
        fields = (partition, offset, kind, op, table, text, columns, row_id, body, last_commit, order)
        return _new_row(Row, (*fields, transaction, committed_at, held, reason, size, lsn))

    def transaction(self, offset: int, value: bytes) -> Begin | End:
        """A record of the transaction topic. Raises SourceRefused where it is none."""
        refuse_foreign(value, [])
        schema_id = _schema_id(value)
        schema = self._ends.get(schema_id)
        if schema is None:
            schema = self._ends[schema_id] = parse_schema(avro.raw(json.loads(self._schema_text(schema_id))))
        body = BytesIO(value)
        body.seek(_FRAME)
        return read_transaction(avro.read(body, schema), offset)

    def _event(self, topic: str, value: bytes, headers: Headers) -> tuple[Event, int]:
        schema_id = int.from_bytes(value[1:_FRAME], "big") if len(value) > _FRAME and value[0] == 0 else 0
        envelope = self._envelopes.get(schema_id)
        if envelope is None:
            refuse_foreign(value, headers() or [])
            _schema_id(value)
            envelope = self._envelopes[schema_id] = self._envelope(topic, schema_id)
        if isinstance(envelope, str):
            raise BadRecord(envelope)
        event = envelope.read(value)
        self._seen.add(topic)
        return event, schema_id

    def _envelope(self, topic: str, schema_id: int) -> Envelope | str:
        try:
            schema = json.loads(self._schema_text(schema_id))
        except SourceRefused as error:
            return f"schema {schema_id} of the value is not in the registry: {error.message}"
        try:
            return Envelope(schema, self._placeholder)
        except SourceRefused as error:
            if topic in self._seen:
                return error.message  # a stray record; the topic's own are envelopes
            raise SourceRefused(error.message, where=topic, hint=error.hint) from error

    def _row_id(self, schema_id: int, table: str) -> int:
        row_id = self._rows.get((schema_id, table))
        if row_id is None:
            envelope = self._envelopes[schema_id]
            text = json.dumps(getattr(envelope, "row_schema", None), separators=(",", ":"), ensure_ascii=False)
            row_id = self._rows[schema_id, table] = self._row_schema_id(table, text)
        return row_id

    def _bare(  # noqa: PLR0917
        self, partition: Partition, offset: int, kind: Kind, key: bytes | None, size: int, reason: str
    ) -> Row:
        table = self._tables.get(partition[0], "")
        text, columns, wrong = self._key(table, key)
        reason = reason or wrong or ("" if key is not None else "record without key and value")
        return Row(partition, offset, kind, "", table, text, columns, 0, b"", 0, 0, "", 0, False, reason, size)

    def _key(self, table: str, key: bytes | None) -> tuple[str | None, tuple[tuple[str, str], ...], str]:
        """(source key, columns, why there is no source key)."""
        if key is None:
            return None, (), ""
        try:
            reader = self._key_reader(key)
            return source_key(table, reader.values(key)), reader.columns, ""
        except BadRecord as error:
            return None, (), error.message

    def _key_reader(self, key: bytes) -> KeyReader:
        schema_id = _schema_id(key)
        reader = self._keys.get(schema_id)
        if reader is None:
            reader = self._keys[schema_id] = self._make_key_reader(schema_id)
        if isinstance(reader, str):
            raise BadRecord(reader)
        return reader

    def _make_key_reader(self, schema_id: int) -> KeyReader | str:
        try:
            return KeyReader(json.loads(self._schema_text(schema_id)))
        except (SourceRefused, BadRecord) as error:
            return error.message


def _schema_id(record: bytes) -> int:
    if len(record) < _FRAME or record[0] != 0:
        raise BadRecord(f"record of {len(record)} bytes does not begin with a schema id (Confluent frame)")
    return int.from_bytes(record[1:_FRAME], "big")
