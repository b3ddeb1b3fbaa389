"""Values of each source database as SQLite values (powersync.md 1.9)."""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.definitions.model import Options
from connector.errors import BadRecord
from connector.source import printed
from connector.source.calendar import civil_from_days, days_from_civil
from connector.source.values import convert, literals
from connector.source.values.mongo import MAX_DEPTH
from connector.source.values.nested import json_text

EDITION_1 = Options()
EDITION_2 = Options(timestamps_iso8601=True, custom_postgres_types=True)
SECONDS = Options(timestamps_iso8601=True, custom_postgres_types=True, timestamp_max_precision="seconds")
MICROSECONDS = Options(timestamps_iso8601=True, timestamp_max_precision="microseconds")
NANOSECONDS = Options(timestamps_iso8601=True, timestamp_max_precision="nanoseconds")

# Type, text, value in edition 1 and, where it differs, in edition 2.
POSTGRES: list[tuple[Any, ...]] = [
    ("text", "é", "é"),
    ("bpchar", "ab   ", "ab   "),
    ("bool", "t", 1),
    ("bigint", "9223372036854775807", 9223372036854775807),
    ("float8", "3", 3.0),
    ("numeric(10,2)", "1.10", "1.10"),
    ("bytea", "\\x00ff", b"\x00\xff"),
    ("interval", "1 day -01:00:00", "1 day -01:00:00"),
    ("timetz", "15:47:00+02", "15:47:00+02"),
    ("pg_lsn", "16/B374D848", "00000016/B374D848"),
    ("mood", "o k", "o k"),
    ("timestamptz", "2023-03-06 15:47:00.5+02", "2023-03-06 13:47:00.5Z", "2023-03-06T13:47:00.500000Z"),
    ("timestamptz", "2023-03-06 15:47:00-05:30", "2023-03-06 21:17:00Z", "2023-03-06T21:17:00.000000Z"),
    ("timestamptz", "-infinity", "0000-01-01 00:00:00Z", "0000-01-01T00:00:00.000000Z"),
    ("timestamptz", "0044-03-15 00:00:00+00 BC", None),
    ("timestamptz", "10022-02-03 12:13:14+03", None),
    ("timestamptz", "0022-02-03 12:13:14+03", "0022-02-03 09:13:14Z", "0022-02-03T09:13:14.000000Z"),
    ("timestamp", "0001-01-01 00:00:00", "0001-01-01 00:00:00", "0001-01-01T00:00:00.000000"),
    ("timestamp", "0001-12-31 00:00:00 BC", None),
    ("int4[]", "{}", "[]"),
    ("int4[][]", "{{1,2},{NULL,4}}", "[[1,2],[null,4]]"),
    ("int4[]", "[0:1]={5,6}", "[5,6]"),
    ("_text", '{a,"b\\"c\\\\",NULL,"NULL","","{}"}', '["a","b\\"c\\\\",null,"NULL","","{}"]'),
    ("float8[]", "{1,1.5,NaN,-Infinity}", "[1.0,1.5,null,null]"),
    ("numeric[]", "{1.10,NaN}", '["1.10","NaN"]'),
    ("jsonb[]", '{"{\\"a\\": 1.0}",5}', '[{"a": 1.0},5]'),
    ("time[]", "{01:02:03.5}", '["01:02:03.5"]', '["01:02:03.500000"]'),
    ("point[]", '{"(1,2)"}', '["(1,2)"]'),
    ("box[]", "{(3,4),(1,2);(7,8),(5,6)}", '["(3","4)","(1","2);(7","8)","(5","6)"]', '["(3,4),(1,2)","(7,8),(5,6)"]'),
    ("mood[]", '{sad,"o k",NULL}', '{sad,"o k",NULL}', '["sad","o k",null]'),
    ("domain_bool", "t", "t", 1),
    ("domain_bytea", "\\x00ff", "\\x00ff", b"\x00\xff"),
    ("domain_domain_int4", "5", "5", 5),
    ("domain_array_of_domain_int4", "{1,NULL}", "{1,NULL}", "[1,null]"),
    ("int4range", "[1,5)", "[1,5)", '{"lower":1,"upper":5,"lower_exclusive":0,"upper_exclusive":1}'),
    ("numrange", "(,2.50]", "(,2.50]", '{"lower":null,"upper":"2.50","lower_exclusive":1,"upper_exclusive":0}'),
    (
        "int4range[]",
        '{"[1,5)",empty}',
        '{"[1,5)",empty}',
        '[{"lower":1,"upper":5,"lower_exclusive":0,"upper_exclusive":1},"empty"]',
    ),
    (
        "tstzrange",
        '["2022-12-31 22:00:00+00",infinity)',
        '["2022-12-31 22:00:00+00",infinity)',
        '{"lower":"2022-12-31T22:00:00.000000Z","upper":"9999-12-31T23:59:59.000000Z",'
        '"lower_exclusive":0,"upper_exclusive":1}',
    ),
    (
        "range_text",
        '["a""b","c\\\\d"]',
        '["a""b","c\\\\d"]',
        '{"lower":"a\\"b","upper":"c\\\\d","lower_exclusive":0,"upper_exclusive":0}',
    ),
    (
        "composite(a int4,b text,c bytea,d jsonb)",
        '(,"a,""b""","\\\\x00",5)',
        '(,"a,""b""","\\\\x00",5)',
        '{"a":null,"b":"a,\\"b\\"","d":5}',
    ),
    ("composite(a text, b text)", '("",)', '("",)', '{"a":"","b":null}'),
    ("composite(a numeric(10,2), b domain_float8)", "(1.10,2)", "(1.10,2)", '{"a":"1.10","b":2.0}'),
    ("composite()", "()", "()", "{}"),
    (
        "array_of_composite(p composite(x int4))",
        '{"(\\"(1)\\")",NULL}',
        '{"(\\"(1)\\")",NULL}',
        '[{"p":{"x":1}},null]',
    ),
]


@pytest.mark.parametrize("case", POSTGRES, ids=lambda case: f"{case[0]} {case[1]}")
def test_postgres(case: tuple[Any, ...]) -> None:
    type_name, text, *expected = case
    assert convert("postgres", type_name, text, EDITION_1) == expected[0]
    assert convert("postgres", type_name, text, EDITION_2) == expected[-1]


@pytest.mark.parametrize(
    ("source", "type_name", "value"),
    [
        ("postgres", "int4", "x"),
        ("postgres", "bool", "yes"),
        ("postgres", "bytea", "abc"),
        ("postgres", "int4[]", "{1,2"),
        ("postgres", "int4[]", "{1}}"),
        ("postgres", "int4[]", "1"),
        ("postgres", "int4range", "[1)"),
        ("postgres", "int4range", "[1,2"),
        ("postgres", "int4range", "[1,2)x"),
        ("postgres", "int4multirange", "{[1,2)"),
        ("postgres", "composite(a int4)", "(1,2)"),
        ("postgres", "composite(a int4)", "(1)x"),
        ("postgres", "composite(a int4)", "1"),
        ("mysql", "INT", "x"),
        ("mysql", "BLOB", 5.5),
        ("sqlserver", "time", "noon"),
        ("sqlserver", "datetime2", "noon"),
        ("mongodb", None, {"$numberInt": "x"}),
        ("mongodb", None, {"$date": "noon"}),
        ("mongodb", None, {"$timestamp": {}}),
        ("mongodb", None, {"$binary": {"base64": "eA", "subType": "00"}}),
    ],
)
def test_a_value_that_is_none_of_its_type(source: str, type_name: str | None, value: Any) -> None:
    with pytest.raises(BadRecord, match=source):
        convert(source, type_name, value, EDITION_2)


@pytest.mark.parametrize("source", ["postgres", "mysql", "sqlserver", "mongodb"])
def test_null_is_null(source: str) -> None:
    assert convert(source, "int", None, EDITION_1) is None


MYSQL: list[tuple[Any, ...]] = [
    ("INT UNSIGNED", 4294967295, 4294967295),
    ("bigint", "18446744073709551615", 18446744073709551615),
    ("DECIMAL(10,2)", "1.10", 1.1),
    ("YEAR", 2023, 2023.0),
    ("DATE", "0000-12-31", "0000-12-31"),
    ("DATE", "2023-02-29", None),
    ("DATETIME", "2023-03-06 15:47:12", "2023-03-06T15:47:12.000Z"),
    ("TIMESTAMP(6)", "2024-00-00 00:00:00", None),
    ("TIME(6)", "-838:59:59.000000", "-838:59:59.000000"),
    ("BIT(8)", b"\xaa", b"\xaa"),
    ("VARBINARY(3)", "abc", b"abc"),
    ("SET", "a,b", '["a","b"]'),
    ("JSON", '{"a": 1}', '{"a": 1}'),
    ("JSON", {"a": [True, None]}, '{"a":[1,null]}'),
    ("GEOMETRY", b"\x00", b"\x00"),
]
SQL_SERVER: list[tuple[Any, ...]] = [
    ("bit", True, 1),
    ("bigint", "9223372036854775807", 9223372036854775807),
    ("money", "12345.67", 12345.67),
    ("uniqueidentifier", "550E8400-E29B-41D4-A716-446655440000", "550E8400-E29B-41D4-A716-446655440000"),
    ("varbinary(max)", b"\x00", b"\x00"),
    ("xml", "<a/>", "<a/>"),
    ("date", "2023-03-06", "2023-03-06"),
    ("datetime2(7)", "2023-03-06T15:47:00.1234567", "2023-03-06T15:47:00.123456700Z"),
    ("datetimeoffset", "2023-03-06 15:47:00.5 +05:00", "2023-03-06T10:47:00.500000000Z"),
    ("smalldatetime", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000000Z"),
    ("time(7)", "15:47:00.1234567", "15:47:00.123456700"),
]


@pytest.mark.parametrize(
    ("source", "case"), [("mysql", case) for case in MYSQL] + [("sqlserver", case) for case in SQL_SERVER]
)
def test_mysql_and_sql_server(source: str, case: tuple[Any, ...]) -> None:
    type_name, value, expected = case
    for options in (EDITION_1, EDITION_2):
        got = convert(source, type_name, value, options)
        assert (got, type(got)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("source", "type_name", "value", "expected"),
    [
        ("mysql", "DATETIME(6)", "2023-03-06 15:47:12.1239", ["Z", ".123900Z", ".123900Z"]),
        ("sqlserver", "datetime2", "2023-03-06T15:47:12.1239", ["Z", ".123900Z", ".123900000Z"]),
        ("mongodb", None, {"$date": {"$numberLong": "1678117632123"}}, ["Z", ".123Z", ".123Z"]),
        ("postgres", "timestamptz", "2023-03-06 15:47:12.1239+00", ["Z", ".123900Z", ".123900Z"]),
    ],
)
def test_precision_is_the_options_within_the_sources(
    source: str, type_name: str | None, value: Any, expected: list[str]
) -> None:
    """Cut, never rounded; and no point without digits, which is a mistake of the reference's."""
    got = [convert(source, type_name, value, options) for options in (SECONDS, MICROSECONDS, NANOSECONDS)]
    assert got == [f"2023-03-06T15:47:12{rest}" for rest in expected]


UUID = {"$binary": {"base64": "ABEiM0RVZneImaq7zN3u/w==", "subType": "04"}}
CODE = {"$code": "return x;", "$scope": {"x": {"$numberInt": "1"}}}
MONGO: list[tuple[Any, ...]] = [
    ("text", "text"),
    (5, 5),
    (2.0, 2),
    (-0.0, 0),
    (1.25, 1.25),
    (1e300, 1e300),
    ({"$numberDouble": "-Infinity"}, -math.inf),
    ({"$numberLong": "-9007199254740993"}, -9007199254740993),
    (UUID, "00112233-4455-6677-8899-aabbccddeeff"),
    ({"$uuid": "00112233-4455-6677-8899-aabbccddeeff"}, "00112233-4455-6677-8899-aabbccddeeff"),
    ({"$binary": {"base64": "AAE=", "subType": "04"}}, b"\x00\x01"),
    ({"$binary": "AAE=", "$type": "00"}, b"\x00\x01"),
    ({"$date": "2023-03-06T15:47:00.1+02:00"}, "2023-03-06 13:47:00.100Z"),
    ({"$date": 253402300800000}, "+010000-01-01 00:00:00.000Z"),
    ({"$date": {"$numberLong": "-62167219200001"}}, "-000001-12-31 23:59:59.999Z"),
    ({"$undefined": True}, None),
    ({"$regularExpression": {"pattern": 'a"', "options": "mi"}}, '{"pattern":"a\\"","options":"mi"}'),
    ({"$regex": "a", "$options": ""}, '{"pattern":"a","options":""}'),
    ({"$code": "f"}, '{"code":"f","scope":null}'),
    (CODE, '{"code":"return x;","scope":{"x":1}}'),
    ({"$dbPointer": {"$ref": "c", "$id": {"$oid": "66"}}}, '{"collection":"c","oid":"66","fields":{}}'),
    ({"$dbPointer": {"$ref": "d.c", "$id": {"$oid": "66"}}}, '{"collection":"c","oid":"66","db":"d","fields":{}}'),
    ({"$ref": "c", "$id": {"$oid": "66"}, "$db": "d"}, '{"$ref":"c","$id":"66","$db":"d"}'),
    (
        {"a": {"$binary": {"base64": "", "subType": "00"}}, "b": [UUID, True]},
        '{"b":["00112233-4455-6677-8899-aabbccddeeff",1]}',
    ),
    ({"a": {"$undefined": True}, "b": {"$minKey": 1}}, '{"b":null}'),
    (
        [{"$numberDouble": "NaN"}, {"$numberDouble": "1.5"}, {"$date": {"$numberLong": "0"}}],
        '[null,1.5,"1970-01-01 00:00:00.000Z"]',
    ),
    ([{"$timestamp": {"t": 456, "i": 123}}, {"$maxKey": 1}, {"é": "\n"}], '[1958505087099,null,{"é":"\\n"}]'),
]


@pytest.mark.parametrize("case", MONGO, ids=str)
def test_mongo(case: tuple[Any, ...]) -> None:
    value, expected = case
    got = convert("mongodb", None, value, EDITION_1)
    assert (got, type(got)) == (expected, type(expected))


def test_mongo_nests_so_deep_and_no_deeper() -> None:
    deepest: Any = 1
    for _ in range(MAX_DEPTH + 1):
        deepest = [deepest]
    assert convert("mongodb", None, deepest, EDITION_1) == f"{'[' * (MAX_DEPTH + 1)}1{']' * (MAX_DEPTH + 1)}"
    with pytest.raises(BadRecord, match="nested deeper than 20"):
        convert("mongodb", None, {"n": deepest}, EDITION_1)


@given(st.lists(st.none() | st.text()))
def test_arrays_are_read_as_they_are_printed(elements: list[str | None]) -> None:
    assert literals.array(literals.array_text(elements)) == elements


@given(st.text(alphabet='{}",\\ab N()[]:= '))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (literals.array, literals.composite, literals.range_, literals.multirange):
        try:
            read(text)
        except ValueError as error:
            assert str(error)


@given(st.floats(allow_nan=False))
def test_doubles_are_printed_as_what_they_are(value: float) -> None:
    assert float(printed.float8(value)) == value


@given(st.floats(allow_nan=False, width=32))
def test_short_floats_are_printed_as_what_they_are(value: float) -> None:
    shortest = printed.short_float(value)
    assert struct.unpack("f", struct.pack("f", shortest))[0] == value
    assert len(printed.float4(value)) <= len("-1.17549435e-38")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e15, "1e+15"),
        (123456789012345.0, "123456789012345"),
        (0.0001, "0.0001"),
        (1e-5, "1e-05"),
        (-0.0, "-0"),
        (74210625846758208.0, "7.421062584675821e+16"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
    ],
)
def test_doubles_as_postgres_prints_them(value: float, text: str) -> None:
    assert printed.float8(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e6, "1e+06"), (999999.0, "999999"), (-87963184.0, "-8.7963184e+07"), (2.0**-149, "1e-45")],
)
def test_short_floats_as_postgres_prints_them(value: float, text: str) -> None:
    assert printed.float4(value) == text


@given(st.integers(min_value=-2_000_000_000, max_value=2_000_000_000))
def test_days_and_dates(days: int) -> None:
    year, month, day = civil_from_days(days)
    assert days_from_civil(year, month, day) == days
    if 1 <= year <= 9999:
        there = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=days)
        assert (there.year, there.month, there.day) == (year, month, day)


def test_nested_values_in_json() -> None:
    assert json_text({"b": b"", "l": [b"", True, 1e21, 0.1, {"a": None}]}) == '{"l":[null,1,1e+21,0.1,{"a":null}]}'
