"""Postgres values, from the text that Postgres prints, to SQLite values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from connector.definitions.model import Options
from connector.source import temporal
from connector.source.values import literals
from connector.source.values.nested import Json, flat
from connector.source.values.postgres_types import (
    Array,
    Composite,
    Domain,
    Multirange,
    PgType,
    Range,
    Scalar,
    is_custom,
    of_notation,
)
from connector.values import SqliteValue

Decode = Callable[[str], Any]  # to a SqliteValue, or to lists and maps of them (`nested`)


def of_text(type_name: str, text: str, options: Options) -> SqliteValue:
    """The value of a text of a type named as `postgres_types.of_notation` reads it."""
    return reader(of_notation(type_name), options)(text)


def reader(type_: PgType, options: Options) -> Callable[[str], SqliteValue]:
    """The function from a type's texts to values. It raises ValueError for a text that is none."""
    if is_custom(type_) and not options.custom_postgres_types:
        return lambda text: text
    decode = decoder(type_, options)
    return lambda text: flat(decode(text))


def decoder(type_: PgType, options: Options) -> Decode:
    """The function from a type's texts to values that can be nested. It raises ValueError for a text that is none."""
    match type_:
        case Scalar(name):
            return _scalars(options).get(name, str)
        case Domain(base):
            return decoder(base, options)
        case Array(element):
            return _array(element, options)
        case Composite(fields):
            return _composite(fields, options)
        case Range(bound):
            return _range(bound, options)
        case Multirange(bound):
            of_bounds = _of_bounds(bound, options)
            return lambda text: [of_bounds(each) for each in literals.multirange(text)]


def _array(element: PgType, options: Options) -> Decode:
    decode = decoder(element, options)
    # Boxes stand between semicolons. The reference has learnt that with custom types, and keeps what was before.
    delimiter = ";" if element == Scalar("box") and options.custom_postgres_types else ","

    def decode_each(elements: list[Any]) -> list[Any]:
        return [
            decode_each(each) if isinstance(each, list) else None if each is None else decode(each) for each in elements
        ]

    return lambda text: decode_each(literals.array(text, delimiter))


def _composite(fields: tuple[tuple[str, PgType], ...], options: Options) -> Decode:
    decoders = [(name, decoder(type_, options)) for name, type_ in fields]

    def decode(text: str) -> dict[str, Any]:
        texts = literals.composite(text) if fields else []
        return {
            name: None if each is None else decode_field(each)
            for (name, decode_field), each in zip(decoders, texts, strict=True)
        }

    return decode


def _range(bound: PgType, options: Options) -> Decode:
    of_bounds = _of_bounds(bound, options)

    def decode(text: str) -> dict[str, Any] | str:
        found = literals.range_(text)
        return "empty" if found is None else of_bounds(found)

    return decode


def _of_bounds(bound: PgType, options: Options) -> Callable[[literals.Range], dict[str, Any]]:
    decode = decoder(bound, options)

    def of_bounds(found: literals.Range) -> dict[str, Any]:
        return {
            "lower": None if found.lower is None else decode(found.lower),
            "upper": None if found.upper is None else decode(found.upper),
            "lower_exclusive": int(found.lower_exclusive),
            "upper_exclusive": int(found.upper_exclusive),
        }

    return of_bounds


def bytea(text: str) -> bytes:
    """`\\x00ff` → its bytes."""
    if not text.startswith("\\x"):
        raise ValueError("only the hexadecimal form of bytea is read")
    return bytes.fromhex(text[2:])


def log_position(text: str) -> str:
    """A pg_lsn with all its digits, so that texts compare as positions do."""
    high, _, low = text.partition("/")
    return f"{high:0>8}/{low:0>8}"


def _scalars(options: Options) -> dict[str, Decode]:
    """The types whose value is not their text."""
    return {
        "bool": {"t": 1, "f": 0, "true": 1, "false": 0}.__getitem__,
        "bytea": bytea,
        "date": temporal.date_of_postgres,
        "float4": float,
        "float8": float,
        "int2": int,
        "int4": int,
        "int8": int,
        "json": Json,
        "jsonb": Json,
        "oid": int,
        "pg_lsn": log_position,
        "time": temporal.time_of_text(options, ""),
        "timestamp": temporal.timestamp_of_postgres(options, ""),
        "timestamptz": temporal.timestamp_of_postgres(options, "Z"),
    }
