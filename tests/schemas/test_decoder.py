"""The decoders that are spelled out read what fastavro reads, and tell what is no whole record."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import Codec
from schemas.decoder import decoder
from schemas.registry import NAMES
from tests.schemas.records import HEAD, PARSED, SCHEMAS, values, written

DECODERS = {name: decoder(schema, len(HEAD)) for name, schema in SCHEMAS.items()}


def read(name: str, record: bytes) -> Any:
    return schemaless_reader(io.BytesIO(record[len(HEAD) :]), PARSED[name], None)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(data=st.data())
def test_equals_fastavro(name: str, data: st.DataObject) -> None:
    record = written(PARSED[name], data.draw(values(SCHEMAS[name])))
    assert DECODERS[name](record) == read(name, record)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(data=st.data())
def test_a_record_cut_short_is_none(name: str, data: st.DataObject) -> None:
    record = written(PARSED[name], data.draw(values(SCHEMAS[name])))
    with pytest.raises(ValueError, match=f"are no {name}"):
        DECODERS[name](record[: data.draw(st.integers(len(HEAD), len(record) - 1))])


@pytest.mark.parametrize("record", [b"\xff" * 40, HEAD + b"\x08" + b"\xff" * 4, HEAD + b"\xff" * 11], ids=repr)
def test_bytes_of_something_else_are_none(record: bytes) -> None:
    with pytest.raises(ValueError, match="are no Answer"):
        DECODERS["Answer"](record)


def test_an_array_may_come_in_blocks_with_and_without_their_size() -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": "array", "items": "int"}}]}
    assert decoder(schema)(b"\x03\x04\x02\x04" + b"\x02\x06" + b"\x00") == {"a": [1, 2, 3]}


class _Schemas:
    def __init__(self, schema: Any) -> None:
        self._text = json.dumps(schema)

    def id_of(self, subject: str, text: str) -> int:
        return 7

    def text(self, schema_id: int) -> str:
        return self._text


@pytest.mark.parametrize(("kind", "value"), [("double", 0.5), (["null", "int", "string"], "text"), ("long", -3)])
def test_a_newer_release_may_write_other_types(kind: Any, value: Any) -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "a", "type": kind}]}
    assert Codec(_Schemas(schema)).decode(written(parse_schema(schema), {"a": value})) == {"a": value}
