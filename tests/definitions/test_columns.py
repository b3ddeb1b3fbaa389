"""Columns of a Debezium row as SQLite values, from the Avro schema alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.definitions.model import Options
from connector.source.calendar import days_from_civil
from connector.source.temporal import date_of_days
from connector.source.types import plain_schema, row_reader

EDITION_1, EDITION_2 = Options(), Options(timestamps_iso8601=True)
SECONDS = Options(timestamps_iso8601=True, timestamp_max_precision="seconds")
MILLISECONDS = Options(timestamps_iso8601=True, timestamp_max_precision="milliseconds")


def semantic(base: str, name: str, **parameters: str) -> dict[str, Any]:
    return {"type": base, "connect.name": name, "connect.parameters": parameters}


def convert(avro_type: Any, value: Any, options: Options = EDITION_1) -> Any:
    schema = {"type": "record", "name": "Value", "fields": [{"name": "c", "type": ["null", avro_type]}]}
    return row_reader(schema, options)({"c": value})["c"]


@pytest.mark.parametrize(
    ("avro_type", "value", "expected"),
    [
        ("string", "x", "x"),
        ("long", 5, 5),
        ("boolean", True, 1),
        ("float", 0.10000000149011612, 0.1),
        ("double", 0.1, 0.1),
        ("bytes", b"\x00", b"\x00"),
        ({"type": "int", "connect.type": "int16"}, 3, 3),
        (semantic("bytes", "org.apache.kafka.connect.data.Decimal", scale="2"), b"\xfb", "-0.05"),
        (semantic("bytes", "org.apache.kafka.connect.data.Decimal", scale="0"), b"\x01\x00", "256"),
        (semantic("int", "io.debezium.time.Date"), -719163, "0001-12-31 BC"),
        (semantic("int", "org.apache.kafka.connect.data.Date"), 19422, "2023-03-06"),
        (semantic("string", "io.debezium.time.IsoDate"), "2023-03-06Z", "2023-03-06"),
        (semantic("string", "io.debezium.time.IsoDate"), "-5877611-06-22Z", "0000-01-01"),
        (semantic("int", "io.debezium.time.Time"), 56820500, "15:47:00.5"),
        (semantic("long", "io.debezium.time.NanoTime"), 1000, "00:00:00.000001"),
        (semantic("string", "io.debezium.time.IsoTime"), "15:47:00.5Z", "15:47:00.5"),
        (semantic("string", "io.debezium.time.ZonedTime"), "13:47:00Z", "13:47:00+00"),
        (semantic("long", "io.debezium.time.Timestamp"), 1678117620120, "2023-03-06 15:47:00.12"),
        (semantic("long", "io.debezium.time.NanoTimestamp"), (1 << 63) - 1, "9999-12-31 23:59:59"),
        (semantic("string", "io.debezium.time.IsoTimestamp"), "2023-03-06T15:47:00Z", "2023-03-06 15:47:00"),
        (semantic("string", "io.debezium.time.IsoTimestamp"), "-292275055-05-16T23:00:00Z", "0000-01-01 00:00:00"),
        (semantic("string", "io.debezium.time.ZonedTimestamp"), "2023-01-01T00:30:00+02:00", "2022-12-31 22:30:00Z"),
        (semantic("string", "io.debezium.time.Interval"), "P0Y0M1DT0H0M0S", "1 day"),
        (semantic("bytes", "io.debezium.data.Bits", length="10"), b"\x01\x02", "1000000001"),
        (semantic("bytes", "io.debezium.data.Bits", length="2147483647"), b"\x05", "101"),
        ({"type": "map", "values": ["null", "string"]}, {"bb": None, "a": 'q"'}, '"a"=>"q\\"", "bb"=>NULL'),
        ({"type": "array", "items": ["null", {"type": "array", "items": "int"}]}, [[1, 2], None], "[[1,2],null]"),
        (semantic("string", "com.example.Unknown"), "raw", "raw"),
        (semantic("long", "com.example.Unknown"), 5, "5"),
        (semantic("bytes", "com.example.Unknown"), b"\xff", '"ff"'),
    ],
)
def test_each_type(avro_type: Any, value: Any, expected: Any) -> None:
    assert convert(avro_type, value) == expected
    assert type(convert(avro_type, value)) is type(expected)
    assert convert(avro_type, None) is None


@pytest.mark.parametrize(
    ("options", "timestamp", "time"),
    [
        (EDITION_1, "2023-03-06 15:47:00.12", "15:47:00.12"),
        (EDITION_2, "2023-03-06T15:47:00.120000", "15:47:00.120000"),
        (MILLISECONDS, "2023-03-06T15:47:00.120", "15:47:00.120"),
        (SECONDS, "2023-03-06T15:47:00", "15:47:00"),
    ],
)
def test_precision_is_cut_and_padded(options: Options, timestamp: str, time: str) -> None:
    assert convert(semantic("long", "io.debezium.time.MicroTimestamp"), 1678117620120000, options) == timestamp
    zoned = semantic("string", "io.debezium.time.ZonedTimestamp")
    assert convert(zoned, "2023-03-06T15:47:00.12Z", options) == f"{timestamp}Z"
    assert convert(semantic("long", "io.debezium.time.MicroTime"), 56820120000, options) == time


def test_a_row_is_left_alone() -> None:
    schema = {
        "type": "record",
        "name": "Value",
        "fields": [{"name": "id", "type": "int"}, {"name": "done", "type": "boolean"}, {"name": "n", "type": "string"}],
    }
    row = {"id": 1, "done": True, "n": "x"}
    assert row_reader(schema, EDITION_1)(row) == {"id": 1, "done": 1, "n": "x"}
    assert row["done"] is True
    without = {**schema, "fields": [schema["fields"][0], schema["fields"][2]]}
    assert row_reader(without, EDITION_1)(row) is row


def test_a_named_type_is_known_where_it_is_used_again() -> None:
    decimal = {
        "type": "record",
        "name": "VariableScaleDecimal",
        "namespace": "io.debezium.data",
        "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}],
        "connect.name": "io.debezium.data.VariableScaleDecimal",
    }
    fields = [
        {"name": "a", "type": ["null", decimal]},
        {"name": "b", "type": ["null", "io.debezium.data.VariableScaleDecimal"]},
    ]
    read = row_reader({"type": "record", "name": "Value", "fields": fields}, EDITION_1)
    assert read({"a": {"scale": 1, "value": b"\x0f"}, "b": {"scale": -2, "value": b"\x0f"}}) == {
        "a": "1.5",
        "b": "1500",
    }


def test_logical_types_are_taken_off_everywhere() -> None:
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}
    nested = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "a", "type": ["null", {"type": "array", "items": decimal}]}],
    }
    assert "logicalType" not in str(plain_schema(nested))
    assert "logicalType" in str(nested)


@given(st.integers(-5_000_000, 5_000_000_00))
def test_days_and_dates_are_inverse(days: int) -> None:
    text = date_of_days(days)
    year, month, day = (int(part) for part in text.removesuffix(" BC").split("-"))
    assert days_from_civil(1 - year if text.endswith(" BC") else year, month, day) == days
