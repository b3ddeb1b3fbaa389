"""Lines on the wire: JSON and BSON say the same (powersync.md 4.1)."""

from __future__ import annotations

import struct
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.store.buckets import Portion
from connector.sync import bson
from connector.sync.lines import BSON, NDJSON, NDJSON_OBJECTS, Format, Ops, format_for

PUT = b'{"op_id":"1","op":"PUT","object_type":"lists","object_id":"l1","checksum":1105462587,"subkey":"k","data":%s}'
ROW = {"id": "l1", "name": "Größe \U0001f600", "big": 9007199254740993, "real": 1.0}
REMOVE = b'{"op_id":"2","op":"REMOVE","object_type":"lists","object_id":"l1","checksum":3,"subkey":"k","data":null}'
CLEAR = b'{"op_id":"3","op":"CLEAR","checksum":-5}'


def decoded(document: bytes) -> dict[str, Any]:
    """A BSON document, read by the specification."""
    found, end = _fields(document, 0)
    assert end == len(document)
    return found


def _fields(given: bytes, at: int) -> tuple[dict[str, Any], int]:
    (size,) = struct.unpack_from("<i", given, at)
    end, at, found = at + size, at + 4, {}
    while given[at] != 0:
        kind, close = given[at], given.index(b"\0", at)
        name, at = given[at + 1 : close].decode(), close + 1
        if kind == 2:
            (length,) = struct.unpack_from("<i", given, at)
            found[name], at = given[at + 4 : at + 3 + length].decode(), at + 4 + length
        elif kind in (3, 4):
            inner, at = _fields(given, at)
            found[name] = list(inner.values()) if kind == 4 else inner
            assert kind == 3 or list(inner) == [str(number) for number in range(len(inner))]
        else:
            code, length = {1: ("<d", 8), 8: ("<?", 1), 10: ("", 0), 16: ("<i", 4), 18: ("<q", 8)}[kind]
            found[name], at = struct.unpack_from(code, given, at)[0] if code else None, at + length
    assert at + 1 == end
    return found, end


_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(_NAMES, each, max_size=4),
    max_leaves=8,
)


def _damaged(given: tuple[dict[str, Any], int, bytes]) -> bytes:
    fields, at, instead = given
    document = bson.document(fields)
    return document[:at] + instead + document[at + len(instead) :]


@given(st.dictionaries(_NAMES, _JSON, max_size=4))
def test_bson_is_read_as_it_was_written(request: dict[str, Any]) -> None:
    assert bson.read(bson.document(request)) == request


@given(
    st.binary()
    | st.tuples(st.dictionaries(_NAMES, _JSON, max_size=4), st.integers(0, 100), st.binary(max_size=3)).map(_damaged)
)
def test_nothing_that_is_no_bson_is_read(document: bytes) -> None:
    try:
        found = bson.read(document)
    except ValueError:
        return
    assert isinstance(found, dict)


def test_bson_of_what_json_has_no_word_for() -> None:
    for wrong in (b"", b"\x05\0\0\0", bson.document({"a": 1})[:-1], bson.document({"a": 1}) + b"\0"):
        with pytest.raises(ValueError):
            bson.read(wrong)
    with pytest.raises(ValueError, match="0x07"):  # an ObjectId
        bson.read(bson.framed([bson.field("a", b"\x07", bytes(12))]))
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"a": deep}
    with pytest.raises(ValueError, match="too deep"):
        bson.read(bson.document(deep))


@settings(max_examples=50)
@given(st.dictionaries(_NAMES, _JSON, max_size=4))
def test_bson_holds_what_json_holds(line: dict[str, Any]) -> None:
    assert decoded(bson.document(line)) == line


def test_bson_as_the_reference_writes_it() -> None:
    line = bson.document({"checkpoint": {"last_op_id": "31", "write_checkpoint": "2", "buckets": []}})
    recorded = bytes.fromhex(
        "03636865636b706f696e740096010000026c6173745f6f705f6964000300000033310002"
        "77726974655f636865636b706f696e740002000000320004"
    )
    ours = line[4:]
    assert (ours[:12], ours[16 : len(recorded)]) == (recorded[:12], recorded[16:])


@given(st.text(), st.text(), st.integers(0, 2**32 - 1), st.text(), st.none() | st.text())
def test_an_op_in_bson_is_the_op(kind: str, name: str, checksum: int, subkey: str, row: str | None) -> None:
    fields = {"op_id": "7", "op": "PUT", "object_type": kind, "object_id": name}
    op = {**fields, "checksum": checksum, "subkey": subkey, "data": row}
    (read,) = decoded(BSON.ops(Ops("b", 0, Portion([orjson.dumps(op)], 7, False))))["data"]["data"]
    assert (read, list(read)) == (op, list(op))


@given(st.text(), st.dictionaries(st.text(), st.text() | st.integers(-(2**53), 2**53)))
def test_a_row_as_an_object_is_the_row(subkey: str, row: dict[str, Any]) -> None:
    written = orjson.dumps(orjson.dumps(row).decode())
    text = (PUT % written).replace(b'"k"', orjson.dumps(subkey), 1)
    (read,) = orjson.loads(NDJSON_OBJECTS.ops(Ops("b", 0, Portion([text], 7, False))))["data"]["data"]
    assert (read["data"], read["subkey"]) == (row, subkey)


@pytest.mark.parametrize("form", [NDJSON, BSON])
def test_ops_are_one_data_line(form: Format) -> None:
    data = orjson.dumps(orjson.dumps(ROW).decode())
    line = form.ops(Ops('1#a["\\"x"]', 0, Portion([PUT % data, REMOVE, CLEAR], 3, True)))
    read = decoded(line) if form is BSON else orjson.loads(line)
    assert list(read["data"]) == ["bucket", "after", "has_more", "data", "next_after"]
    ops = read["data"].pop("data")
    assert read == {"data": {"bucket": '1#a["\\"x"]', "after": "0", "has_more": True, "next_after": "3"}}
    assert [op["op"] for op in ops] == ["PUT", "REMOVE", "CLEAR"]
    assert orjson.loads(ops[0]["data"]) == ROW
    assert ops[1:] == [orjson.loads(REMOVE), orjson.loads(CLEAR)]


def test_rows_as_objects_keep_their_exact_text() -> None:
    text = orjson.dumps('{"n":9007199254740993,"r":1.0,"e":1e21}')
    line = NDJSON_OBJECTS.ops(Ops("b", 0, Portion([PUT % text, REMOVE], 2, False)))
    assert b'"data":{"n":9007199254740993,"r":1.0,"e":1e21}' in line
    assert orjson.loads(line)["data"]["data"][1]["data"] is None


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", NDJSON),
        ("*/*", NDJSON),
        ("text/html", NDJSON),
        ("application/x-ndjson", NDJSON),
        ("application/vnd.powersync.bson-stream", BSON),
        ("application/vnd.powersync.bson-stream;q=0.9,application/x-ndjson;q=0.8", BSON),
        ("application/vnd.powersync.bson-stream;q=0.7, application/x-ndjson", NDJSON),
        ("application/vnd.powersync.bson-stream;q=none", NDJSON),
    ],
)
def test_what_a_client_accepts(accept: str, form: Format) -> None:
    assert format_for(accept, raw_data=True) is form
