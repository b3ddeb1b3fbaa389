"""Columns whose type in Postgres the connector tells, in the record shapes that it was seen to send."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from connector.definitions.model import Options
from connector.source.types import row_reader

EDITION_1 = Options()
EDITION_2 = Options(timestamps_iso8601=True, custom_postgres_types=True)
GEOMETRY = "io.debezium.data.geometry.Geometry"
JSON = "io.debezium.data.Json"


def told(avro_type: str, source: str, semantic: str | None = None, **parameters: int) -> dict[str, Any]:
    """A column's schema as the connector writes it under `column.propagate.source.type`."""
    told_of = {"type": source} | {name: str(number) for name, number in parameters.items()}
    schema: dict[str, Any] = {"type": avro_type} | ({"connect.name": semantic} if semantic else {})
    return schema | {"connect.parameters": {f"__debezium.source.column.{name}": text for name, text in told_of.items()}}


def array(items: Any, source: str) -> dict[str, Any]:
    return told("array", source) | {"items": ["null", items]}


def named(semantic: str) -> dict[str, Any]:
    return {"type": "string", "connect.name": semantic}


def record(semantic: str) -> dict[str, Any]:
    namespace, _, name = semantic.rpartition(".")
    return {"type": "record", "name": name, "namespace": namespace, "fields": [], "connect.name": semantic}


def convert(schema: Any, value: Any, options: Options) -> Any:
    row_schema = {"type": "record", "name": "Value", "fields": [{"name": "c", "type": ["null", schema]}]}
    return row_reader(row_schema, options)({"c": value})["c"]


RANGE = '{"lower":1,"upper":5,"lower_exclusive":0,"upper_exclusive":1}'
# Schema, value, and what it becomes in edition 1 and, where it differs, in edition 2.
CUSTOM: list[tuple[Any, ...]] = [
    (told("int", "POSINT"), 12, "12", 12),
    (told("long", "BIG"), -1, "-1", -1),
    (told("int", "SERIAL"), 12, 12),
    (told("long", "BIGSERIAL"), 12, 12),
    (told("boolean", "YESNO"), True, "t", 1),
    (told("double", "RATING"), 1.0, "1", 1.0),
    (told("float", "RATING4"), 0.10000000149011612, "0.1", 0.1),
    (told("string", "LABEL"), "x", "x"),
    (told("int", "DAY", "io.debezium.time.Date"), -622191234, "infinity", "9999-12-31"),
    (told("int", "DAY", "io.debezium.time.Date"), -719163, "0001-12-31 BC"),
    (
        told("long", "AT", "io.debezium.time.MicroTimestamp"),
        1678117620500000,
        "2023-03-06 15:47:00.5",
        "2023-03-06T15:47:00.500000",
    ),
    (
        told("long", "AT", "io.debezium.time.MicroTimestamp"),
        -(1 << 63),
        "-infinity",
        "0000-01-01T00:00:00.000000",
    ),
    (told("long", "AT", "io.debezium.time.MicroTimestamp"), -63517824000000000, "0044-03-15 00:00:00 BC", None),
    (
        told("string", "AT", "io.debezium.time.ZonedTimestamp"),
        "2023-03-06T13:40:00.000000Z",
        "2023-03-06 13:40:00+00",
        "2023-03-06T13:40:00.000000Z",
    ),
    (array("int", "NUMBERS"), [1, None], "{1,NULL}", "[1,null]"),
    (array("boolean", "NUMBERS"), [True], "{t}", "[1]"),
    (array("bytes", "_POSINT"), [b"1", None], "{1,NULL}", '["1",null]'),
    (array("bytes", "_PAIR"), [b"(1,x)"], '{"(1,x)"}', '["(1,x)"]'),
    (array(named("io.debezium.data.Enum"), "_MOOD"), ["sad", "o k"], '{sad,"o k"}', '["sad","o k"]'),
    (
        array({"type": "map", "values": "string"}, "_HSTORE"),
        [{"a": "1"}],
        '{"\\"a\\"=>\\"1\\""}',
        '["\\"a\\"=>\\"1\\""]',
    ),
    (array("string", "_INT4RANGE"), ["[1,5)", "empty"], '{"[1,5)",empty}', f'[{RANGE},"empty"]'),
    (array("bytes", "_INT4MULTIRANGE"), [b"{[1,5)}"], '{"{[1,5)}"}', f"[[{RANGE}]]"),
    (array("string", "_INT4MULTIRANGE"), ["e30="], "{e30=}", '["e30="]'),
    (told("string", "INT4RANGE"), "[1,5)", "[1,5)", RANGE),
    (told("bytes", "INT4MULTIRANGE"), b"{[1,5)}", "{[1,5)}", f"[{RANGE}]"),
    (told("string", "INT4MULTIRANGE"), "e30=", "e30="),
    (told("bytes", "PAIR"), b"(1,x)", "(1,x)"),
]
BUILT_IN: list[tuple[Any, ...]] = [
    (told("bytes", "BYTEA"), b"\x00", b"\x00"),
    (told("bytes", "XID8"), b"5", "5"),
    (told("bytes", "PG_LSN"), b"16/B374D848", "00000016/B374D848"),
    (told("string", "NUMERIC", length=10, scale=2), "1.10", "1.10"),
    (told("string", "NUMERIC", length=3, scale=2046), "12300.000", "12300"),
    (told("string", "NUMERIC"), "NAN", "NaN"),
    (told("double", "NUMERIC", length=10, scale=2), 1.1, "1.10"),
    (told("double", "NUMERIC", length=131089, scale=0), 1e-8, "0.00000001"),
    (told("double", "NUMERIC", length=0), float("-inf"), "-Infinity"),
    (told("double", "NUMERIC", length=3, scale=2046), 12300.0, "12300"),
    (told("string", "MONEY"), "-1234567.5", "-$1,234,567.50"),
    (told("double", "MONEY"), 0.05, "$0.05"),
    (told("bytes", "MONEY", "org.apache.kafka.connect.data.Decimal") | {"scale": 2}, b"\x01\xe2\x3a", "$1,234.50"),
    (told("boolean", "BIT", length=1), True, "1"),
    (told("bytes", "BIT", "io.debezium.data.Bits") | {"length": 20}, b"\x01", "00000000000000000001"),
    (told("bytes", "BIT", "io.debezium.data.Bits") | {"length": 3}, b"", "000"),
    (told("bytes", "VARBIT", "io.debezium.data.Bits") | {"length": 8}, b"\x05", "101"),
    (told("string", "HSTORE", JSON), '{"bb":null,"a":"1"}', '"a"=>"1", "bb"=>NULL'),
    (told("long", "INTERVAL", "io.debezium.time.MicroDuration"), -90_000_500_000, "-25:00:00.5"),
    (told("array", "VECTOR", "io.debezium.data.DoubleVector") | {"items": "double"}, [1.0, 2.5], "[1,2.5]"),
    (array("int", "_INT4"), [1, None], "[1,null]"),
    (array("int", "INT2VECTOR"), [], None),
    (array("string", "_TEXT"), ["[1]", "[Ljava.lang.String;@451ebd99"], '["[1]",null]'),
    (array("string", "_TEXT"), ["[[Ljava.lang.String;@7d6faa8e"], "[null]"),
    (array(named(JSON), "_JSONB"), ['{"a": 1}', None], '[{"a": 1},null]'),
    (array("bytes", "_BYTEA"), [b"\x00"], "[null]"),
    (array("bytes", "_PG_LSN"), [b"1/2"], '["00000001/00000002"]'),
    (array("double", "_FLOAT8"), [1.0, float("nan"), 1e21], "[1.0,null,1e+21]"),
    (array("double", "_NUMERIC"), [1.1], '["1.1"]'),
]


@pytest.mark.parametrize("case", CUSTOM + BUILT_IN, ids=lambda case: str(case[2]))
def test_each_type(case: tuple[Any, ...]) -> None:
    schema, value, *expected = case
    for options, wanted in ((EDITION_1, expected[0]), (EDITION_2, expected[-1])):
        got = convert(schema, value, options)
        assert (got, type(got)) == (wanted, type(wanted))


def well_known(kind: int, *points: tuple[float, float], rings: bool = False) -> bytes:
    header = struct.pack("<bI", 1, kind) + (struct.pack("<I", 1) if rings else b"")
    return header + struct.pack(f"<I{2 * len(points)}d", len(points), *(number for point in points for number in point))


BOX = well_known(3, (3, 4), (3, 2), (1, 2), (1, 4), (3, 4), rings=True)
TRIANGLE = well_known(3, (1, 2), (3, 4), (5, 0.5), (1, 2), rings=True)
LINE = well_known(2, (1, 2), (3, 4))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("Point", {"x": 1e30, "y": -0.1}, "(1e+30,-0.1)"),
        ("Circle", {"center": {"x": 1.0, "y": 2.0}, "radius": 3.0}, "<(1,2),3>"),
        ("Line", {"a": 1.0, "b": -1.0, "c": 0.0}, "{1,-1,0}"),
        ("Geometry", {"wkb": BOX, "extensions": {"type": "box"}}, "(3,4),(1,2)"),
        ("Geometry", {"wkb": LINE, "extensions": {"type": "lseg"}}, "[(1,2),(3,4)]"),
        ("Geometry", {"wkb": LINE, "extensions": {"type": "path", "closed": "true"}}, "((1,2),(3,4))"),
        ("Geometry", {"wkb": LINE, "extensions": {"type": "path", "closed": "false"}}, "[(1,2),(3,4)]"),
        ("Geometry", {"wkb": TRIANGLE, "extensions": {"type": "polygon"}}, "((1,2),(3,4),(5,0.5))"),
        ("Geometry", {"wkb": b"\x01\xab", "srid": 4326, "extensions": None}, "01AB"),
        ("Geography", {"wkb": b"\x01\xab", "srid": 4326}, "01AB"),
    ],
)
def test_shapes(name: str, value: Any, expected: str) -> None:
    assert convert(record(f"io.debezium.data.geometry.{name}"), value, EDITION_1) == expected


def test_sparse_vectors() -> None:
    schema = record("io.debezium.data.SparseDoubleVector")
    pairs = [{"key": 1, "value": 1.5}, {"key": 3, "value": 2.0}]
    assert convert(schema, {"dimensions": 5, "vector": pairs}, EDITION_1) == "{1:1.5,3:2}/5"


DAY = {"year": 2023, "month": 3, "day": 6}
CLOCK = {"hour": 15, "minute": 47, "second": 0, "nanos": 120000000}
NONE = dict.fromkeys([*DAY, *CLOCK, "offsetSeconds"])


@pytest.mark.parametrize(
    ("name", "value", "edition_1", "edition_2"),
    [
        ("Date", DAY, "2023-03-06", "2023-03-06"),
        ("Date", {**DAY, "year": -43}, "0044-03-06 BC", "0044-03-06 BC"),
        ("Date", {**NONE, "specialValue": "NEGATIVE_INFINITY"}, "0000-01-01", "0000-01-01"),
        ("Timestamp", DAY | CLOCK, "2023-03-06 15:47:00.12", "2023-03-06T15:47:00.120000"),
        ("Timestamp", {**DAY, **CLOCK, "year": 0}, None, None),
        (
            "Timestamp",
            {**NONE, "specialValue": "POSITIVE_INFINITY"},
            "9999-12-31 23:59:59",
            "9999-12-31T23:59:59.000000",
        ),
        (
            "ZonedTimestamp",
            DAY | CLOCK | {"offsetSeconds": 60_000},
            "2023-03-05 23:07:00.12Z",
            "2023-03-05T23:07:00.120000Z",
        ),
        ("ZonedTimestamp", {**DAY, **CLOCK, "year": 10_000, "offsetSeconds": None}, None, None),
        ("Time", CLOCK, "15:47:00.12", "15:47:00.120000"),
        ("ZonedTime", CLOCK | {"offsetSeconds": 19_800}, "15:47:00.12+05:30", "15:47:00.12+05:30"),
        ("ZonedTime", CLOCK | {"nanos": 0, "offsetSeconds": -43_200}, "15:47:00-12", "15:47:00-12"),
        (
            "Duration",
            {"years": 1, "months": -14, "days": 0, "hours": 0, "minutes": 0, "seconds": -1, "nanos": -500000000},
            "-2 mons -00:00:01.5",
            "-2 mons -00:00:01.5",
        ),
    ],
)
def test_structured_times(name: str, value: Any, edition_1: Any, edition_2: Any) -> None:
    schema = record(f"io.debezium.time.Structured{name}")
    assert convert(schema, value, EDITION_1) == edition_1
    assert convert(schema, value, EDITION_2) == edition_2


def test_a_records_parameters_are_of_the_first_column_that_has_it() -> None:
    first = record(GEOMETRY) | {"connect.parameters": {"__debezium.source.column.type": "BOX"}}
    fields = [{"name": "a", "type": ["null", first]}, {"name": "b", "type": ["null", GEOMETRY]}]
    read = row_reader({"type": "record", "name": "Value", "fields": fields}, EDITION_1)
    row = {"a": {"wkb": BOX, "extensions": {"type": "box"}}, "b": {"wkb": b"\x01", "extensions": None}}
    assert read(row) == {"a": "(3,4),(1,2)", "b": "01"}
