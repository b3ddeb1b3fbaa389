"""Avro with the Confluent frame: a zero byte, the schema's id in 4 bytes, the record."""

from __future__ import annotations

import io
import json
import struct
from typing import Any, Protocol, cast

from fastavro import parse_schema, schemaless_reader

from connector.errors import BadRecord
from schemas.decoder import Decode, decoder
from schemas.encoder import Encode, encoder
from schemas.registry import text_of

FRAME = struct.Struct(">bI")


class SchemaSource(Protocol):
    """Where ids and texts of schemas come from."""

    def id_of(self, subject: str, text: str) -> int: ...

    def text(self, schema_id: int) -> str: ...


def frame(schema_id: int, body: bytes) -> bytes:
    return FRAME.pack(0, schema_id) + body


def unframe(record: bytes) -> tuple[int, bytes]:
    """(schema id, body). Raises BadRecord where the record has no Confluent frame."""
    if len(record) < FRAME.size or record[0] != 0:
        raise BadRecord(f"record of {len(record)} bytes does not begin with a schema id (Confluent frame)")
    return FRAME.unpack_from(record)[1], record[FRAME.size :]


class Codec:
    """Encodes internal records under their newest schema and decodes them under the writer's."""

    def __init__(self, schemas: SchemaSource) -> None:
        self._schemas = schemas
        self._encoders: dict[str, Encode] = {}
        self._decoders: dict[bytes, Decode] = {}

    def prepare(self, *names: str) -> None:
        """Resolve and register now, so that no transaction waits for the registry (rule S11)."""
        for name in names:
            if name not in self._encoders:
                text = text_of(name)
                schema_id = self._schemas.id_of(f"syncline.{name}", text)
                self._encoders[name] = encoder(json.loads(text), FRAME.pack(0, schema_id))

    def encode(self, name: str, record: dict[str, Any]) -> bytes:
        """Frame and Avro bytes of one internal record, e.g. `encode("Batch", {...})`."""
        if name not in self._encoders:
            self.prepare(name)
        return self._encoders[name](record)

    def decode(self, record: bytes) -> dict[str, Any]:
        """The record as a dict. Raises BadRecord where it has no frame."""
        head = record[: FRAME.size]
        decode = self._decoders.get(head)
        if decode is None:
            schema_id, _ = unframe(head)
            decode = self._decoders[head] = _decoder(json.loads(self._schemas.text(schema_id)))
        return decode(record)


def _decoder(schema: dict[str, Any]) -> Decode:
    try:
        return decoder(schema, FRAME.size)
    except LookupError:  # another release's record, with types that this one's have not
        parsed = parse_schema(schema)
        return lambda record: cast(dict[str, Any], schemaless_reader(io.BytesIO(record[FRAME.size :]), parsed, None))


def name_of(text: str) -> str:
    """The full name of the record that a schema text describes."""
    schema = json.loads(text)
    return f"{schema['namespace']}.{schema['name']}" if schema.get("namespace") else str(schema["name"])
