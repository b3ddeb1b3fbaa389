"""Kafka keys of Debezium → canonical source keys (rule S9).

A source key is the compact JSON array `["schema.table", value, …]`, key columns in the pinned order. Two Kafka keys
that differ in bytes only (another schema id, int instead of long) give the same source key.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import orjson

from connector.errors import BadRecord
from connector.source import avro

Columns = tuple[tuple[str, str], ...]  # name and canonical type

_TYPES = {
    "string": "text",
    "enum": "text",
    "int": "integer",
    "long": "integer",
    "boolean": "boolean",
    "float": "real",
    "double": "real",
    "bytes": "bytes",
    "fixed": "bytes",
}
_FRAME = 5
_CACHE = 20_000
_ONE_BYTE = 0x80  # lengths below are one byte


class KeyReader:
    """Reads the keys written under one schema. Raises BadRecord where a key cannot be canonical."""

    def __init__(self, schema: avro.Schema) -> None:
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise BadRecord(
                "the key is not a record of columns",
                hint="use Debezium's own key: no key transform (ValueToKey, ExtractField)",
            )
        known = avro.definitions(schema)
        self.columns: Columns = tuple((field["name"], _canonical_type(field)) for field in schema["fields"])
        self._schema = avro.record("Key", schema["fields"], known, avro.inside(schema))
        self._names = [field["name"] for field in schema["fields"]]
        self._texts: dict[bytes, list[Any]] = {}
        self._is_text = [field["type"] for field in schema["fields"]] == ["string"]

    def values(self, key: bytes) -> list[Any]:
        """The key columns' values as JSON can hold them."""
        if (
            self._is_text
            and len(key) > _FRAME
            and key[_FRAME] < _ONE_BYTE
            and len(key) == _FRAME + 1 + (key[_FRAME] >> 1)
        ):
            return [_text(key[_FRAME + 1 :])]
        found = self._texts.get(key)
        if found is None:
            if len(self._texts) >= _CACHE:
                self._texts.clear()
            found = self._texts[key] = self._read(key)
        return found

    def _read(self, key: bytes) -> list[Any]:
        body = BytesIO(key)
        body.seek(_FRAME)
        try:
            record = avro.read(body, self._schema)
        except (EOFError, ValueError, IndexError, OverflowError, UnicodeDecodeError) as error:
            raise BadRecord(f"the key cannot be decoded: {error!r}") from error
        if body.tell() != len(key):
            raise BadRecord(f"the key has {len(key) - body.tell()} bytes too many")
        return [_json_value(record[name]) for name in self._names]


def _text(encoded: bytes) -> str:
    try:
        return encoded.decode()
    except UnicodeDecodeError as error:
        raise BadRecord(f"the key cannot be decoded: {error!r}") from error


def _canonical_type(field: dict[str, Any]) -> str:
    types = [branch for branch in avro.branches(field["type"]) if branch != "null"]
    described = types[0] if isinstance(types[0], dict) else {"type": types[0]}
    base = _TYPES.get(described["type"])
    if len(types) != 1 or base is None:
        raise BadRecord(
            f'key column "{field["name"]}" has type {json.dumps(described.get("connect.name", described["type"]))}, '
            "which has no canonical form",
            hint="set decimal.handling.mode=string and time.precision.mode=microseconds (`syncline init`)",
        )
    semantic = described.get("connect.name")
    return f"{base} {semantic}" if semantic else base


def _json_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, float) and value - value != 0:
        raise BadRecord(f"a key of {value} has no canonical form")
    return value


def source_key(table: str, values: Sequence[Any]) -> str:
    """The canonical source key."""
    return orjson.dumps([table, *values]).decode()


def table_key(table: str) -> str:
    """The key of a table's truncate records in its snapshot topic."""
    return orjson.dumps([table]).decode()


def reordered(key: str, columns: Columns, pinned: Columns) -> str:
    """The source key with its values in the pinned order of the same columns."""
    table, *values = orjson.loads(key)
    by_name = dict(zip((name for name, _ in columns), values, strict=True))
    return source_key(table, [by_name[name] for name, _ in pinned])


def compact(columns: Columns, key: str) -> dict[str, Any]:
    """Column names with values of a source key."""
    return dict(zip((name for name, _ in columns), orjson.loads(key)[1:], strict=True))
