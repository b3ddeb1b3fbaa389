"""Columns of a Debezium row as SQLite values, by what their Avro schema says of the source type.

The tables below are the whole of it: one line per Connect or Debezium semantic type, and per Avro type without one. A
column whose type needs nothing costs nothing. A type that is in no table gives its value as text;
docs/source-types.md lists what Debezium cannot deliver, and the connector settings that all this assumes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from connector.definitions.model import Options
from connector.source import avro, intervals, numerics, printed, shapes, structured, temporal
from connector.source.columns import Column, column
from connector.source.values import literals, postgres
from connector.source.values.nested import Json, json_text
from connector.source.values.postgres_types import Array, Multirange, Range, is_custom
from connector.values import Row, SqliteValue

Convert = Callable[[Any], Any]  # to a SqliteValue; of an array's elements also to lists, maps and Json
RowReader = Callable[[Mapping[str, Any]], Row]

plain_schema = avro.raw

# The settings of Debezium's Postgres connector under which no value is lost that Debezium can deliver at all.
CONNECTOR_SETTINGS = {
    "decimal.handling.mode": "string",  # all digits; NaN and zeros at the end would be lost otherwise
    "time.precision.mode": "microseconds",  # isostring makes 00:00 of 24:00, the others lose microseconds or infinity
    "interval.handling.mode": "string",  # numeric makes 30.4 days of a month
    "binary.handling.mode": "bytes",  # nothing in a record tells the others from each other
    "hstore.handling.mode": "map",
    "include.unknown.datatypes": "true",  # composite types and multiranges are left out otherwise
    "column.propagate.source.type": ".*",  # tells numeric, bit, ranges, domains and unknown types from text and bytes
}

# An element that is itself an array comes as the name of a Java object.
_JAVA_ARRAY = re.compile(r"\[+L[\w.$]+;@[0-9a-f]+")


def row_reader(avro_schema: Mapping[str, Any], options: Options) -> RowReader:
    """The function from a row, as fastavro decodes it under `plain_schema`, to its SQLite values.

    `avro_schema` is the row's record (Debezium's `…Value`), standing alone, logical types or not. The row given is
    not changed. Columns that need no conversion are not looked at.
    """
    known: dict[str, Any] = {}
    converting = []
    for field in avro_schema["fields"]:
        found = column(field["type"], options, known)
        convert = _as_text if found is None else _converter(found)
        if convert is not None:
            converting.append((str(field["name"]), convert))
    if not converting:
        return lambda row: row

    def read(row: Mapping[str, Any]) -> Row:
        found = dict(row)
        for name, convert in converting:
            value = found.get(name)
            if value is not None:
                found[name] = convert(value)
        return found

    return read


def _converter(found: Column) -> Convert | None:
    """What a column's values need; None for nothing."""
    if found.is_domain and not found.options.custom_postgres_types:
        as_printed = _PRINTED.get(found.semantic or found.type)
        if as_printed is not None:
            return as_printed
    if found.semantic in _SEMANTIC:
        return _SEMANTIC[found.semantic](found)
    if found.type == "string" and isinstance(found.source, Range):
        return postgres.reader(found.source, found.options) if found.options.custom_postgres_types else None
    build = _PLAIN.get((found.type, found.scalar)) or _PLAIN.get((found.type, None))
    if build is not None:
        return build(found)
    if found.type in ("int", "long", "double") and found.semantic is None:
        return None
    return _as_text


def _as_text(value: Any) -> SqliteValue:
    """A value of a type that is not known here: text stays, anything else is written as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value, default=_bytes_as_hex).decode()


def _bytes_as_hex(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"a {type(value).__name__} is no source value")


def _bytes(found: Column) -> Convert | None:
    """Of types that Debezium does not know (composites, multiranges, …) the bytes are the text that Postgres prints."""
    if found.semantic is not None:
        return _as_text
    if found.scalar == "bytea" or found.source is None:
        return None
    if isinstance(found.source, Multirange):
        read = postgres.reader(found.source, found.options)
        return lambda value: read(_decoded(value))
    if found.scalar == "pg_lsn":
        return lambda value: postgres.log_position(_decoded(value))
    return _decoded


def _decoded(value: bytes) -> str:
    return value.decode(errors="replace")


def _json(found: Column) -> Convert | None:
    """Text; but an hstore in Debezium's `json` mode is printed as what it is."""
    return (lambda value: _hstore(orjson.loads(value))) if found.scalar == "hstore" else None


def _hstore(value: Mapping[str, str | None]) -> str:
    """An hstore as Postgres prints it: by length of the key, then by its bytes."""
    pairs = sorted(value.items(), key=lambda pair: (len(pair[0].encode()), pair[0].encode()))
    return ", ".join(f"{_quoted(key)}=>{'NULL' if text is None else _quoted(text)}" for key, text in pairs)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _array(found: Column) -> Convert:
    """Arrays as JSON text (powersync.md 1.9); without `custom_postgres_types` those of custom types as printed."""
    if found.scalar in ("int2vector", "oidvector"):
        return lambda value: None  # they always come empty
    element = found.element(found.source.element if isinstance(found.source, Array) else None)
    if element is None:
        return _as_text
    custom = found.is_domain or (isinstance(found.source, Array) and is_custom(found.source))
    if custom and not found.options.custom_postgres_types:
        return _array_as_printed(element)
    convert = _element(element)
    if convert is None:
        return _texts if element.type == "string" else json_text
    return lambda value: json_text([None if each is None else convert(each) for each in value])


def _element(element: Column) -> Convert | None:
    """What an element needs to stand in JSON; None for nothing."""
    if isinstance(element.source, Range) and element.type == "string":
        return postgres.decoder(element.source, element.options)
    if isinstance(element.source, Multirange) and element.type == "bytes":
        decode = postgres.decoder(element.source, element.options)
        return lambda value: decode(_decoded(value))
    convert = _converter(element)
    if element.type == "array" and convert is not None and element.semantic is None:
        return lambda value: Json(convert(value))
    if element.semantic == "io.debezium.data.Json" and convert is None:
        return Json
    if element.type == "bytes" and convert is None:
        return bytes  # null in JSON
    return convert


def _array_as_printed(element: Column) -> Convert:
    convert = _PRINTED.get(element.semantic or element.type) or _converter(element) or str

    def text(value: list[Any]) -> str:
        return literals.array_text(
            None if each is None or _unless_array(each) is None else str(convert(each)) for each in value
        )

    return text


def _texts(value: list[str | None]) -> str:
    text = json_text(value)
    return json_text(list(map(_unless_array, value))) if '"[' in text else text


def _unless_array(value: Any) -> Any:
    """A text, or None for the name of a Java object that stands for an array."""
    odd = isinstance(value, str) and value.startswith("[") and _JAVA_ARRAY.fullmatch(value)
    return None if odd else value


Build = Callable[[Column], Convert | None]


def _always(convert: Convert | None) -> Build:
    return lambda found: convert


def _by_options(build: Callable[[Options], Convert]) -> Build:
    return lambda found: build(found.options)


# Per Avro type, and source type where the connector tells it; None stands for any.
_PLAIN: dict[tuple[str, str | None], Build] = {
    ("array", None): _array,
    ("boolean", None): _always(int),
    ("boolean", "bit"): _always(numerics.bit),
    ("boolean", "varbit"): _always(numerics.bit),
    ("bytes", None): _bytes,
    ("double", "money"): numerics.double,
    ("double", "numeric"): numerics.double,
    ("float", None): _always(printed.short_float),
    ("map", None): _always(_hstore),
    ("string", None): _always(None),
    ("string", "money"): numerics.text,
    ("string", "numeric"): numerics.text,
}

# How values of a domain look without `custom_postgres_types`: per semantic type, or Avro type without one.
_PRINTED: dict[str, Convert] = {
    "boolean": printed.boolean,
    "double": printed.float8,
    "float": printed.float4,
    "int": str,
    "long": str,
    "io.debezium.time.Date": printed.date,
    "org.apache.kafka.connect.data.Date": printed.date,
    "io.debezium.time.Timestamp": printed.timestamp(-1000),
    "org.apache.kafka.connect.data.Timestamp": printed.timestamp(-1000),
    "io.debezium.time.MicroTimestamp": printed.timestamp(1),
    "io.debezium.time.NanoTimestamp": printed.timestamp(1000),
    "io.debezium.time.ZonedTimestamp": printed.timestamp_of_text,
}

_SEMANTIC: dict[str | None, Build] = {
    # Text that needs nothing.
    "io.debezium.data.Uuid": _always(None),
    "io.debezium.data.Xml": _always(None),
    "io.debezium.data.Enum": _always(None),
    "io.debezium.data.EnumSet": _always(None),
    "io.debezium.data.Ltree": _always(None),
    "io.debezium.data.Tsvector": _always(None),
    "io.debezium.data.Json": _json,
    # Numbers.
    "org.apache.kafka.connect.data.Decimal": numerics.decimal,
    "io.debezium.data.VariableScaleDecimal": _always(numerics.variable_decimal),
    "io.debezium.data.Bits": numerics.bits,
    "io.debezium.time.Year": _always(None),
    "io.debezium.data.DoubleVector": _always(shapes.vector),
    "io.debezium.data.FloatVector": _always(shapes.vector),
    "io.debezium.data.SparseDoubleVector": _always(shapes.sparse_vector),
    # Dates: days, ISO text, or fields.
    "io.debezium.time.Date": _always(temporal.date_of_days),
    "org.apache.kafka.connect.data.Date": _always(temporal.date_of_days),
    "io.debezium.time.IsoDate": _always(temporal.date_of_text),
    "io.debezium.time.StructuredDate": _always(structured.date),
    # Times of day.
    "io.debezium.time.Time": _by_options(lambda options: temporal.time_of(-1000, options)),
    "org.apache.kafka.connect.data.Time": _by_options(lambda options: temporal.time_of(-1000, options)),
    "io.debezium.time.MicroTime": _by_options(lambda options: temporal.time_of(1, options)),
    "io.debezium.time.NanoTime": _by_options(lambda options: temporal.time_of(1000, options)),
    "io.debezium.time.IsoTime": _by_options(lambda options: temporal.time_of_text(options, "")),
    "io.debezium.time.ZonedTime": _always(temporal.time_of_text(Options(), "Z")),
    "io.debezium.time.StructuredTime": _by_options(structured.time),
    "io.debezium.time.StructuredZonedTime": _always(structured.zoned_time),
    # Timestamps.
    "io.debezium.time.Timestamp": _by_options(lambda options: temporal.timestamp_of(-1000, options)),
    "org.apache.kafka.connect.data.Timestamp": _by_options(lambda options: temporal.timestamp_of(-1000, options)),
    "io.debezium.time.MicroTimestamp": _by_options(lambda options: temporal.timestamp_of(1, options)),
    "io.debezium.time.NanoTimestamp": _by_options(lambda options: temporal.timestamp_of(1000, options)),
    "io.debezium.time.IsoTimestamp": _by_options(lambda options: temporal.timestamp_of_text(options, "")),
    "io.debezium.time.ZonedTimestamp": _by_options(lambda options: temporal.timestamp_of_text(options, "Z")),
    "io.debezium.time.StructuredTimestamp": _by_options(lambda options: structured.timestamp(options, "")),
    "io.debezium.time.StructuredZonedTimestamp": _by_options(lambda options: structured.timestamp(options, "Z")),
    # Intervals: ISO text, fields, or microseconds, which have lost their months and days.
    "io.debezium.time.Interval": _always(intervals.interval_of_text),
    "io.debezium.time.StructuredDuration": _always(structured.interval),
    "io.debezium.time.MicroDuration": _always(lambda value: intervals.interval_text(0, 0, value)),
    # Shapes.
    "io.debezium.data.geometry.Point": _always(shapes.point),
    "io.debezium.data.geometry.Circle": _always(shapes.circle),
    "io.debezium.data.geometry.Line": _always(shapes.line),
    "io.debezium.data.geometry.Geometry": _always(shapes.geometry),
    "io.debezium.data.geometry.Geography": _always(shapes.geometry),
}
