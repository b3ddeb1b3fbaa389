"""The rows of a batch, each key once, decoded once and converted once per set of options."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from fastavro import parse_schema, schemaless_reader

from connector.definitions.model import Options
from connector.source.types import plain_schema, row_reader
from connector.values import Row


class BadRow(NamedTuple):
    """Stands where a row cannot be decoded or converted; it gives no output (law 11)."""

    reason: str


class Place(NamedTuple):
    """Where the source record is."""

    partition: int
    offset: int


DecodedRow = dict[str, Any] | BadRow
ConvertedRow = Row | BadRow


class Decoders:
    """Decoders of source rows by schema id, and of their values by schema id and options; each is made once."""

    def __init__(self, text_of: Callable[[int], str]) -> None:
        self._text_of = text_of
        self._schemas: dict[int, Any] = {}
        self._decoders: dict[int, Callable[[bytes], DecodedRow]] = {}
        self._converters: dict[tuple[int, Options], Callable[[dict[str, Any]], ConvertedRow]] = {}

    def decoder(self, schema_id: int) -> Callable[[bytes], DecodedRow]:
        """Row bytes → the row as Avro values. Bytes that do not fit the schema give a BadRow."""
        if schema_id not in self._decoders:
            self._decoders[schema_id] = _decoder(parse_schema(plain_schema(self._schema(schema_id))), schema_id)
        return self._decoders[schema_id]

    def converter(self, schema_id: int, options: Options) -> Callable[[dict[str, Any]], ConvertedRow]:
        """The row as Avro values → SQLite values. A value that cannot be converted gives a BadRow."""
        if (schema_id, options) not in self._converters:
            self._converters[schema_id, options] = _guarded(row_reader(self._schema(schema_id), options))
        return self._converters[schema_id, options]

    def decoded(self, schemas: Sequence[int], rows: Iterable[bytes]) -> list[DecodedRow]:
        """Each row under the schema beside it."""
        decoders = {schema_id: self.decoder(schema_id) for schema_id in set(schemas)}
        return [decoders[schema_id](row) for schema_id, row in zip(schemas, rows, strict=True)]

    def _schema(self, schema_id: int) -> Any:
        if schema_id not in self._schemas:
            self._schemas[schema_id] = json.loads(self._text_of(schema_id))
        return self._schemas[schema_id]


def _decoder(schema: Any, schema_id: int) -> Callable[[bytes], DecodedRow]:
    def decode(row: bytes) -> DecodedRow:
        try:
            return cast(dict[str, Any], schemaless_reader(io.BytesIO(row), schema, None))
        except Exception as error:  # fastavro raises whatever the bytes lead it to: any of it is bad input
            return BadRow(f"row does not fit schema {schema_id}: {error!r}")

    return decode


def _guarded(read: Callable[[dict[str, Any]], Row]) -> Callable[[dict[str, Any]], ConvertedRow]:
    def convert(row: dict[str, Any]) -> ConvertedRow:
        try:
            return read(row)
        except Exception as error:  # bad input must not stop the good (law 11)
            return BadRow(f"value cannot be read: {error!r}")

    return convert


@dataclass(slots=True)
class TableRows:
    """The last state of each key of one table: `keys`, `sources`, `schemas` and `decoded` run side by side.

    `sources` holds whatever `place_of` reads a source record's place from: places are needed for rejected rows only.
    `gone` are the keys without a row: deleted, or unreadable in the source (rule S11).
    """

    table: str
    topic: str
    place_of: Callable[[Any], Place]
    keys: list[str] = field(default_factory=list)
    sources: list[Any] = field(default_factory=list)
    schemas: list[int] = field(default_factory=list)
    decoded: list[DecodedRow] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    _converted: dict[Options, list[ConvertedRow]] = field(default_factory=dict)

    def place(self, row: int) -> Place:
        """Where a row's source record is."""
        return self.place_of(self.sources[row])

    def rows(self, options: Options, decoders: Decoders) -> list[ConvertedRow]:
        """The rows as SQLite values under `options`, beside `keys`; made at the first call."""
        if options not in self._converted:
            converters = {i: decoders.converter(i, options) for i in set(self.schemas)}
            self._converted[options] = [
                row if type(row) is BadRow else converters[schema_id](cast(dict[str, Any], row))
                for schema_id, row in zip(self.schemas, self.decoded, strict=True)
            ]
        return self._converted[options]


def batch_rows(batch: Mapping[str, Any], reads: Callable[[str], bool], decoders: Decoders) -> list[TableRows]:
    """The rows of a Batch record in the tables that anybody `reads`, only the last change of each key.

    Checkpoints only ever show whole batches, so what a key was inside one is seen by nobody.
    """
    found = [TableRows(t["table"], t["topic"], _place) if reads(t["table"]) else None for t in batch["tables"]]
    last = {change["key"]: change for change in batch["changes"]}
    for key, change in last.items():
        rows = found[change["table"]]
        if rows is None:
            continue
        if change["op"] == "UPSERT":
            rows.keys.append(key)
            rows.sources.append(change)
            rows.schemas.append(change["schema"])
        else:
            rows.gone.append(key)
    alive = [rows for rows in found if rows is not None]
    for rows in alive:
        rows.decoded = decoders.decoded(rows.schemas, [change["row"] for change in rows.sources])
    return alive


def _place(change: Mapping[str, Any]) -> Place:
    return Place(change["partition"], change["offset"])
