"""Debezium's records, as bytes, become rows; what is foreign is refused by name (rules S9, S10, S11)."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.errors import BadRecord, SourceRefused
from connector.source import avro
from connector.source.decode import Decoder
from connector.source.envelope import Envelope, sequence
from connector.source.keys import KeyReader, reordered
from connector.source.records import Kind
from connector.source.toast import DEFAULT, Placeholder

TOPIC = ("source.public.todos", 1)


def optional(kind: Any) -> list[Any]:
    return ["null", kind]


ROW = {
    "type": "record",
    "name": "Value",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "note", "type": optional("string"), "default": None},
        {"name": "n", "type": optional({"type": "int", "connect.type": "int16"}), "default": None},
        {"name": "tags", "type": optional({"type": "array", "items": optional("string")}), "default": None},
        {"name": "numbers", "type": optional({"type": "array", "items": "long"}), "default": None},
    ],
}
SNAPSHOT = [{"type": "string", "connect.default": "false", "connect.name": "io.debezium.data.Enum"}, "null"]
SOURCE = {
    "type": "record",
    "name": "Source",
    "namespace": "io.debezium.connector.postgresql",
    "fields": [
        {"name": "version", "type": "string"},
        {"name": "ts_ms", "type": "long"},
        {"name": "snapshot", "type": SNAPSHOT, "default": "false"},
        {"name": "sequence", "type": optional("string"), "default": None},
        {"name": "schema", "type": "string"},
        {"name": "table", "type": "string"},
        {"name": "txId", "type": optional("long"), "default": None},
        {"name": "lsn", "type": optional("long"), "default": None},
        {"name": "origin", "type": optional("string"), "default": None},
    ],
}
BLOCK = {
    "type": "record",
    "name": "block",
    "namespace": "event",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "total_order", "type": "long"},
        {"name": "data_collection_order", "type": "long"},
    ],
}
ROWS = [{"name": "before", "type": optional(ROW)}, {"name": "after", "type": optional("Value")}]
TIMES = [{"name": name, "type": optional("long"), "default": None} for name in ("ts_ms", "ts_us", "ts_ns")]
TRANSACTION = {"name": "transaction", "type": optional(BLOCK), "default": None}
OP = {"name": "op", "type": "string"}
NEWER = [*ROWS, {"name": "source", "type": SOURCE}, TRANSACTION, OP, *TIMES]
OLDER = [*ROWS, {"name": "source", "type": SOURCE}, OP, *TIMES, TRANSACTION]
KEY = {"type": "record", "name": "Key", "namespace": "s.t", "fields": [{"name": "id", "type": "string"}]}


def envelope(fields: list[Any] = NEWER) -> dict[str, Any]:
    return {"type": "record", "name": "Envelope", "namespace": "source.public.todos", "fields": fields}


def encoded(schema: dict[str, Any], value: Any, schema_id: int = 7) -> bytes:
    out = BytesIO()
    out.write(b"\0" + schema_id.to_bytes(4, "big"))
    schemaless_writer(out, parse_schema(json.loads(json.dumps(schema))), value)
    return out.getvalue()


def event(op: str = "u", **more: Any) -> dict[str, Any]:
    after = {"id": "k", "note": "buy milk", "n": -3, "tags": ["a", None], "numbers": [1, 2]}
    found = {
        "before": None,
        "after": None if op in ("d", "t") else after,
        "source": {
            "version": "3.7.0.Final",
            "ts_ms": 1_700_000_000_123,
            "snapshot": "false",
            "sequence": '["24023128","24023424"]',
            "schema": "public",
            "table": "todos",
            "txId": 555,
            "lsn": 24023424,
            "origin": None,
        },
        "transaction": {"id": "555:24023424", "total_order": 24, "data_collection_order": 24},
        "op": op,
        "ts_ms": 1_700_000_000_200,
        "ts_us": None,
        "ts_ns": None,
    }
    return {**found, **more}


class Schemas:
    """Texts by id, and what was registered."""

    def __init__(self, texts: dict[int, dict[str, Any]]) -> None:
        self.texts = texts
        self.registered: list[tuple[str, str]] = []

    def text(self, schema_id: int) -> str:
        if schema_id not in self.texts:
            raise SourceRefused(f"no schema {schema_id}")
        return json.dumps(self.texts[schema_id])

    def row_id(self, table: str, text: str) -> int:
        self.registered.append((table, text))
        return 40


def decoder(schema: dict[str, Any], **more: Any) -> tuple[Decoder, Schemas]:
    schemas = Schemas({7: schema, 8: KEY, 9: {"type": "string"}})
    return Decoder(schemas.text, schemas.row_id, {TOPIC[0]: "public.todos"}, **more), schemas


K = encoded(KEY, {"id": "k"}, 8)


@pytest.mark.parametrize("fields", [NEWER, OLDER])
@pytest.mark.parametrize("order", [1, 24, 63, 64, 5_000_000])
def test_both_envelope_versions_and_the_learned_pattern(fields: list[Any], order: int) -> None:
    """The first event is decoded in full, the second by the pattern learned from it: the same row."""
    schema = envelope(fields)
    reader, schemas = decoder(schema)
    block = {"id": "555:24023424", "total_order": order, "data_collection_order": 1}
    value = encoded(schema, event(transaction=block))
    first, second = (reader.row(TOPIC, offset, K, value) for offset in (1, 2))
    assert second == first._replace(offset=2)
    assert (first.kind, first.op, first.table, first.key) == (
        Kind.NUMBERED,
        "u",
        "public.todos",
        '["public.todos","k"]',
    )
    assert (first.last_commit, first.order, first.transaction) == (24023128, order, "555")
    assert first.committed_at == 1_700_000_000_123
    assert first.schema == 40
    table, text = schemas.registered[0]
    assert table == "public.todos"
    row = avro.read(BytesIO(first.row), parse_schema(json.loads(text)))
    assert row == event()["after"]


@pytest.mark.parametrize("size", range(1, 31))
def test_ids_of_any_length(size: int) -> None:
    """The length's own byte may be a colon."""
    reader, _ = decoder(envelope())
    reader.row(TOPIC, 1, K, encoded(envelope(), event()))
    block = {"id": f"7:{'1' * size}", "total_order": 1, "data_collection_order": 1}
    after = {**event()["after"], "note": "a:b"}
    row = reader.row(TOPIC, 2, K, encoded(envelope(), event(transaction=block, after=after)))
    assert row.transaction == "7"


@pytest.mark.parametrize("op", ["c", "u", "d", "t", "r", "m"])
def test_before_is_skipped_and_every_op_is_read(op: str) -> None:
    reader, _ = decoder(envelope())
    value = encoded(envelope(), event(op, before={**event()["after"], "note": "old"}))
    row = reader.row(TOPIC, 1, K, value)
    assert row.op == op
    assert b"old" not in row.row
    assert row.key == (None if op in "tm" else '["public.todos","k"]')


@pytest.mark.parametrize(
    "snapshot", ["true", "first", "first_in_data_collection", "last_in_data_collection", "last", "incremental", None]
)
def test_snapshot_reads(snapshot: str | None) -> None:
    """No transaction block, null lsn; `snapshot` may be anything, even null."""
    reader, _ = decoder(envelope())
    source = {**event()["source"], "snapshot": snapshot, "sequence": None, "lsn": None, "txId": None}
    value = encoded(envelope(), event("r", source=source, transaction=None))
    rows = [reader.row(TOPIC, offset, K, value) for offset in (1, 2)]
    assert [(row.kind, row.last_commit, row.order) for row in rows] == [(Kind.READ, 0, 0)] * 2


def test_a_template_of_reads_fits_changes_too() -> None:
    reader, _ = decoder(envelope())
    source = {**event()["source"], "snapshot": "first", "sequence": '[null,"5"]'}
    reader.row(TOPIC, 1, K, encoded(envelope(), event("r", source=source, transaction=None)))
    row = reader.row(TOPIC, 2, K, encoded(envelope(), event()))
    assert (row.kind, row.last_commit, row.order) == (Kind.NUMBERED, 24023128, 24)


def test_another_table_under_the_same_schema() -> None:
    """The pattern fits its own table only; what does not fit is decoded in full."""
    reader, _ = decoder(envelope())
    reader.row(TOPIC, 1, K, encoded(envelope(), event()))
    other = event(source={**event()["source"], "table": "lists"})
    assert reader.row(TOPIC, 2, K, encoded(envelope(), other)).table == "public.lists"


def test_a_change_without_block() -> None:
    reader, _ = decoder(envelope())
    assert reader.row(TOPIC, 1, K, encoded(envelope(), event(transaction=None))).kind is Kind.BARE


def test_a_message_outside_transactions_is_silent() -> None:
    reader, _ = decoder(envelope())
    assert reader.row(TOPIC, 1, None, encoded(envelope(), event("m", transaction=None))).kind is Kind.SILENT


def test_a_tombstone() -> None:
    reader, _ = decoder(envelope())
    row = reader.row(TOPIC, 1, K, None)
    assert (row.kind, row.key) == (Kind.TOMBSTONE, '["public.todos","k"]')


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "schema id"),
        (b"garbage", "schema id"),
        (b'{"id": 1}', "schema id"),
        (b"\0\0\0\0\x63body", "not in the registry"),
        (b"\0\0\0\0\7\x02", "cannot be decoded"),
    ],
)
def test_what_cannot_be_decoded_is_unreadable_with_a_reason(value: bytes, reason: str) -> None:
    reader, _ = decoder(envelope())
    row = reader.row(TOPIC, 1, K, value)
    assert row.kind is Kind.UNREADABLE
    assert reason in row.reason
    assert row.key == '["public.todos","k"]'


def test_bytes_too_many_are_unreadable() -> None:
    reader, _ = decoder(envelope())
    assert reader.row(TOPIC, 1, K, encoded(envelope(), event()) + b"x").kind is Kind.UNREADABLE


def test_a_key_that_cannot_be_decoded() -> None:
    reader, _ = decoder(envelope())
    row = reader.row(TOPIC, 1, K[:-1], encoded(envelope(), event()))
    assert row.key is None
    assert "cannot be decoded" in row.reason


def test_flattened_rows_are_refused() -> None:
    flat = {"type": "record", "name": "Value", "fields": [*ROW["fields"], {"name": "__deleted", "type": "string"}]}
    reader, _ = decoder(flat)
    value = encoded(flat, {**event()["after"], "__deleted": "false"})
    with pytest.raises(SourceRefused, match="no Debezium envelopes") as caught:
        reader.row(TOPIC, 1, K, value)
    assert "ExtractNewRecordState" in str(caught.value.hint)


def test_a_stray_record_in_a_topic_of_envelopes_stops_nothing() -> None:
    reader, _ = decoder(
        {"type": "record", "name": "Other", "fields": [{"name": "x", "type": "string"}]}, seen=[TOPIC[0]]
    )
    value = encoded({"type": "record", "name": "Other", "fields": [{"name": "x", "type": "string"}]}, {"x": "y"})
    assert reader.row(TOPIC, 1, K, value).kind is Kind.UNREADABLE


@pytest.mark.parametrize(
    "body", [{"schema": {}, "payload": {}}, {"before": None, "after": {}, "source": {}, "op": "c"}]
)
def test_json_with_and_without_schemas_is_refused(body: dict[str, Any]) -> None:
    reader, _ = decoder(envelope())
    with pytest.raises(SourceRefused, match="JSON"):
        reader.row(TOPIC, 1, K, json.dumps(body).encode())


def test_ids_of_8_bytes_are_refused() -> None:
    reader, _ = decoder(envelope())
    with pytest.raises(SourceRefused, match="8 bytes"):
        reader.row(TOPIC, 1, K, b"\0" + (7).to_bytes(8, "big") + encoded(envelope(), event())[5:])


def test_ids_in_headers_are_refused() -> None:
    reader, _ = decoder(envelope())
    with pytest.raises(SourceRefused, match="headers"):
        reader.row(TOPIC, 1, K, encoded(envelope(), event())[5:], lambda: [("apicurio.value.globalId", b"7")])


@pytest.mark.parametrize("change", [{"note": DEFAULT}, {"tags": [DEFAULT]}, {"numbers": list(DEFAULT.encode())}])
def test_placeholders_are_found(change: dict[str, Any]) -> None:
    reader, _ = decoder(envelope())
    assert reader.row(TOPIC, 1, K, encoded(envelope(), event(after={**event()["after"], **change}))).held


@pytest.mark.parametrize("change", [{"note": f"about {DEFAULT}"}, {"tags": [DEFAULT, "x"]}, {"note": "x"}])
def test_text_that_only_mentions_the_placeholder_is_none(change: dict[str, Any]) -> None:
    reader, _ = decoder(envelope())
    assert not reader.row(TOPIC, 1, K, encoded(envelope(), event(after={**event()["after"], **change}))).held


def test_placeholder_of_the_connectors_own_choice() -> None:
    assert Placeholder("gone").present({"a": {"b": ["gone"]}})
    assert Placeholder("gone").present(b"gone")


def test_the_same_key_under_other_schemas_is_one_key() -> None:
    narrow = {"type": "record", "name": "Key", "fields": [{"name": "id", "type": "int"}]}
    wide = {"type": "record", "name": "Key", "fields": [{"name": "id", "type": "long"}]}
    one, two = KeyReader(narrow), KeyReader(wide)
    assert one.columns == two.columns == (("id", "integer"),)
    assert one.values(encoded(narrow, {"id": 7}, 1)) == two.values(encoded(wide, {"id": 7}, 2)) == [7]


def test_keys_beyond_53_bits_keep_every_digit() -> None:
    wide = {"type": "record", "name": "Key", "fields": [{"name": "id", "type": "long"}]}
    assert KeyReader(wide).values(encoded(wide, {"id": 2**63 - 1})) == [2**63 - 1]
    assert reordered(f'["t",{2**63 - 1},"x"]', (("a", ""), ("b", "")), (("b", ""), ("a", ""))) == (
        f'["t","x",{2**63 - 1}]'
    )


def test_a_key_type_without_canonical_form_is_refused() -> None:
    odd = {"type": "record", "name": "Key", "fields": [{"name": "id", "type": {"type": "array", "items": "int"}}]}
    with pytest.raises(BadRecord, match="no canonical form"):
        KeyReader(odd)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('["5","6"]', (5, 6)),
        ('[null,"6"]', (0, 6)),
        ('["5",null]', (5, 0)),
        (None, (0, 0)),
        ('["18446744073709551615","1"]', (2**64 - 1, 1)),
    ],
)
def test_the_lsns_of_a_row(text: str | None, found: tuple[int, int]) -> None:
    assert sequence(text) == found


COUNT = {
    "type": "record",
    "name": "event_count",
    "fields": [{"name": "data_collection", "type": "string"}, {"name": "event_count", "type": "long"}],
}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_pattern_and_full_decoding_agree(data: st.DataObject) -> None:
    """Whatever an event holds, the learned pattern reads it as the decoder does, or leaves it to the decoder."""
    draw = data.draw
    text = st.text(alphabet='ab:\x02\x163.7.0.Final"[', max_size=80)
    row = st.fixed_dictionaries(
        {
            "id": text,
            "note": st.none() | text | st.just("\x163.7.0.Final"),
            "n": st.none() | st.integers(-(2**15), 2**15),
            "tags": st.none() | st.lists(st.none() | text, max_size=2),
            "numbers": st.none() | st.lists(st.integers(-(2**60), 2**60), max_size=2),
        }
    )
    op = draw(st.sampled_from("cudtr"))
    source = event()["source"] | {
        "ts_ms": draw(st.integers(0, 2**41)),
        "snapshot": draw(st.sampled_from(["false", "true", "last", None])),
        "sequence": draw(st.sampled_from([None, '[null,"5"]', '["24023128","9"]', '["18446744073709551615","1"]'])),
        "txId": draw(st.none() | st.integers(0, 2**32)),
        "origin": draw(st.sampled_from([None, None, "x"])),
    }
    block = {
        "id": f"{draw(st.integers(0, 2**32))}:{draw(st.integers(0, 2**64))}",
        "total_order": draw(st.integers(1, 2**40)),
        "data_collection_order": draw(st.integers(1, 2**30)),
    }
    value = encoded(
        envelope(),
        event(
            op,
            before=draw(st.none() | row) if op in "ud" else None,
            after=draw(row) if op in "cur" else None,
            source=source,
            transaction=draw(st.none() | st.just(block)),
        ),
    )
    taught = Envelope(envelope(), Placeholder())
    taught.read(encoded(envelope(), event()))
    assert taught.read(value) == Envelope(envelope(), Placeholder()).read(value)


END_SCHEMA = {
    "type": "record",
    "name": "TransactionMetadataValue",
    "fields": [
        {"name": "status", "type": "string"},
        {"name": "id", "type": "string"},
        {"name": "event_count", "type": optional("long")},
        {"name": "data_collections", "type": optional({"type": "array", "items": COUNT}), "default": None},
        {"name": "ts_ms", "type": "long"},
    ],
}


def test_ends() -> None:
    reader, _ = decoder(END_SCHEMA)
    counts = [{"data_collection": "public.todos", "event_count": 3}]
    base = {"id": "555:900", "event_count": 3, "ts_ms": 5, "data_collections": counts}
    end = reader.transaction(8, encoded(END_SCHEMA, {**base, "status": "END"}))
    assert end == (8, 900, 3, "555", 5, ("public.todos",))
    assert reader.transaction(9, encoded(END_SCHEMA, {**base, "status": "BEGIN", "event_count": None})) == (9, "555")
    with pytest.raises(SourceRefused, match="no LSN"):
        reader.transaction(10, encoded(END_SCHEMA, {**base, "status": "END", "id": "555"}))


def test_an_envelope_is_read_without_making_its_row() -> None:
    found = Envelope(envelope(), Placeholder()).read(encoded(envelope(), event()))
    assert found.row == encoded({**ROW, "namespace": "s"}, event()["after"])[5:]


MESSAGE = {
    "type": "record",
    "name": "Message",
    "namespace": "io.debezium.connector.postgresql.MessageValue",
    "fields": [{"name": "prefix", "type": optional("string")}, {"name": "content", "type": optional("bytes")}],
}


@pytest.mark.parametrize(
    ("message", "seen"),
    [
        ({"prefix": "syncline.app", "content": b"\0x"}, ("syncline.app", b"\0x")),
        ({"prefix": "", "content": b""}, ("", b"")),
        ({"prefix": None, "content": None}, ("", b"")),
    ],
)
def test_a_message_keeps_prefix_and_content(message: dict[str, Any], seen: tuple[str, bytes]) -> None:
    """Rule V4; it has a number as a row has, and no schema of its own."""
    fields = [OP, TIMES[0], {"name": "source", "type": SOURCE}, TRANSACTION, {"name": "message", "type": MESSAGE}]
    reader, schemas = decoder(envelope(fields))
    row = reader.row(("source.message", 0), 1, None, encoded(envelope(fields), {**event("m"), "message": message}))
    assert (row.table, row.row) == seen
    assert (row.op, row.kind, row.order, row.key, row.schema) == ("m", Kind.NUMBERED, 24, None, 0)
    assert not schemas.registered
