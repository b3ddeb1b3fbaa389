"""Postgres values through the real connector: what a snapshot and what the stream gives is what the table says."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import fastavro
import httpx
import pytest
from confluent_kafka import Consumer

from connector.definitions.model import Options
from connector.deploy import connector
from connector.source import avro
from connector.source.types import CONNECTOR_SETTINGS, plain_schema, row_reader
from tests.worlds import Source
from topologies.database import publish

MODES = (
    Options(),
    Options(timestamps_iso8601=True, custom_postgres_types=True),
    Options(timestamps_iso8601=True, custom_postgres_types=True, timestamp_max_precision="milliseconds"),
    Options(timestamps_iso8601=True, custom_postgres_types=True, timestamp_max_precision="seconds"),
)
Cases = Mapping[str, Sequence[tuple[Any, ...]]]

SETUP = """
CREATE TYPE mood AS ENUM ('sad', 'o k');
CREATE TYPE pair AS (a int, b text);
CREATE TYPE spans AS RANGE (subtype = timestamp);
CREATE DOMAIN posint AS int4; CREATE DOMAIN yesno AS bool; CREATE DOMAIN label AS text; CREATE DOMAIN rating AS float8;
CREATE DOMAIN amount AS numeric(8, 3); CREATE DOMAIN at AS timestamp; CREATE DOMAIN at_zone AS timestamptz;
CREATE DOMAIN day AS date; CREATE DOMAIN numbers AS int4[]; CREATE DOMAIN feeling AS mood;
CREATE DOMAIN twice AS posint; CREATE DOMAIN raw AS bytea; CREATE DOMAIN span AS int4range;
"""
# Extensions that this Postgres has not: a type of that name and those texts is what the connector goes by.
EXTENSIONS = ("hstore", "citext", "ltree", "geometry", "geography", "cube")
EXTENSION = """
CREATE TYPE {0};
CREATE FUNCTION {0}_in(cstring) RETURNS {0} AS 'textin' LANGUAGE internal IMMUTABLE STRICT;
CREATE FUNCTION {0}_out({0}) RETURNS cstring AS 'textout' LANGUAGE internal IMMUTABLE STRICT;
CREATE TYPE {0} (INPUT = {0}_in, OUTPUT = {0}_out, LIKE = text);
"""
PLACE = "0101000020E6100000000000000000F03F0000000000000440"
RANGE = '{"lower":1,"upper":5,"lower_exclusive":0,"upper_exclusive":1}'
TIMES_RANGE = '["2023-01-01 00:00:00","2023-01-02 00:00:00.5")'

# Per column type the texts put in, with what they become in each of MODES; the last stands for the rest.
TYPES: Cases = {
    "text": [("é", "é"), ("", ""), (None, None)],
    "varchar(20)": [("x", "x")],
    "char(5)": [("ab", "ab   ")],
    '"char"': [("a", "a")],
    "name": [("n", "n")],
    "int2": [("-32768", -32768)],
    "int8": [("9223372036854775807", 9223372036854775807)],
    "bigserial": [("5", 5), ("6", 6), ("7", 7), ("8", 8), ("9", 9)],
    "oid": [("4294967295", 4294967295)],
    "xid8": [("5", "5")],
    "bool": [("true", 1), ("false", 0), (None, None)],
    "float4": [("0.1", 0.1), ("1e20", 1e20), ("-Infinity", -math.inf), ("-87963184", -87963184.0)],
    "float8": [("0.1", 0.1), ("3", 3.0)],
    "numeric": [("1.10", "1.10"), ("NaN", "NaN"), ("123456789012345678901234567890.5",) * 2, ("-Infinity",) * 2],
    "numeric(10,2)": [("1.1", "1.10"), ("-0.05", "-0.05"), ("NaN", "NaN")],
    "numeric(3,-2)": [("12345", "12300")],
    "money": [("1234.5", "$1,234.50"), ("-0.05", "-$0.05"), ("92233720368547758.07", "$92,233,720,368,547,758.07")],
    "uuid": [("550e8400-e29b-41d4-a716-446655440000",) * 2],
    "date": [
        ("2023-03-06", "2023-03-06"),
        ("infinity", "9999-12-31"),
        ("-infinity", "0000-01-01"),
        ("10000-01-01", "10000-01-01"),
    ],
    "timestamp": [
        (
            "2023-03-06 15:47:00.12",
            "2023-03-06 15:47:00.12",
            "2023-03-06T15:47:00.120000",
            "2023-03-06T15:47:00.120",
            "2023-03-06T15:47:00",
        ),
        (
            "infinity",
            "9999-12-31 23:59:59",
            "9999-12-31T23:59:59.000000",
            "9999-12-31T23:59:59.000",
            "9999-12-31T23:59:59",
        ),
        (
            "-infinity",
            "0000-01-01 00:00:00",
            "0000-01-01T00:00:00.000000",
            "0000-01-01T00:00:00.000",
            "0000-01-01T00:00:00",
        ),
        ("0044-03-15 00:00:00 BC", None),
        (
            "10000-01-01 00:00:00",
            "10000-01-01 00:00:00",
            "10000-01-01T00:00:00.000000",
            "10000-01-01T00:00:00.000",
            "10000-01-01T00:00:00",
        ),
    ],
    "timestamptz": [
        (
            "2023-03-06 15:47:00.5+02",
            "2023-03-06 13:47:00.5Z",
            "2023-03-06T13:47:00.500000Z",
            "2023-03-06T13:47:00.500Z",
            "2023-03-06T13:47:00Z",
        ),
        (
            "infinity",
            "9999-12-31 23:59:59Z",
            "9999-12-31T23:59:59.000000Z",
            "9999-12-31T23:59:59.000Z",
            "9999-12-31T23:59:59Z",
        ),
        ("0044-03-15 00:00:00+00 BC", None),
        ("10022-02-03 12:13:14+03", None),
    ],
    "timestamptz(0)": [
        (
            "2023-03-06 15:47:00+02",
            "2023-03-06 13:47:00Z",
            "2023-03-06T13:47:00.000000Z",
            "2023-03-06T13:47:00.000Z",
            "2023-03-06T13:47:00Z",
        )
    ],
    "time": [
        ("15:47:00.000001", "15:47:00.000001", "15:47:00.000001", "15:47:00.000", "15:47:00"),
        ("24:00:00", "24:00:00", "24:00:00.000000", "24:00:00.000", "24:00:00"),
    ],
    "interval": [
        ("1 year 2 mons 3 days 04:05:06.7",) * 2,
        ("-1 mons +2 days -00:00:01",) * 2,
        ("00:00:00",) * 2,
        ("25:00:00",) * 2,
        ("-00:00:00.5",) * 2,
    ],
    "json": [('{"a": 1.0,  "b":[true,null]}',) * 2, ("null", "null")],
    "jsonb": [('{"a": 1.0, "b": [true, null]}',) * 2],
    "bytea": [("\\x00ff", b"\x00\xff")],
    "mood": [("o k", "o k")],
    "bit(1)": [("1", "1")],
    "bit(20)": [("0" * 19 + "1",) * 2, ("0" * 20,) * 2],
    "varbit": [("1011", "1011")],
    "inet": [("192.168.0.1/24",) * 2, ("::1", "::1")],
    "cidr": [("10.0.0.0/8",) * 2],
    "macaddr": [("08:00:2b:01:02:03",) * 2],
    "macaddr8": [("08:00:2b:01:02:03:04:05",) * 2],
    "point": [("(1,2.5)",) * 2, ("(1e+30,-0.1)",) * 2],
    "box": [("(3,4),(1,2)",) * 2],
    "circle": [("<(1,2),3>",) * 2],
    "line": [("{1,-1,0}",) * 2],
    "lseg": [("[(1,2),(3,4)]",) * 2],
    "path": [("((1,2),(3,4))",) * 2, ("[(1,2),(3,4)]",) * 2],
    "polygon": [("((1,2),(3,4),(5,0.5))",) * 2],
    "tsvector": [("'a':1 'b':2",) * 2],
    "tsquery": [("'a' & 'b'",) * 2],
    "jsonpath": [('$."a"',) * 2],
    "regclass": [("pg_class", "pg_class")],
    "pg_lsn": [("16/B374D848", "00000016/B374D848")],
    "int4range": [("[1,5)", "[1,5)", RANGE), ("empty",) * 2],
    "tsrange": [
        (
            TIMES_RANGE,
            TIMES_RANGE,
            '{"lower":"2023-01-01T00:00:00.000000","upper":"2023-01-02T00:00:00.500000",'
            '"lower_exclusive":0,"upper_exclusive":1}',
            '{"lower":"2023-01-01T00:00:00.000","upper":"2023-01-02T00:00:00.500",'
            '"lower_exclusive":0,"upper_exclusive":1}',
            '{"lower":"2023-01-01T00:00:00","upper":"2023-01-02T00:00:00","lower_exclusive":0,"upper_exclusive":1}',
        )
    ],
    "int4multirange": [("{[1,5)}", "{[1,5)}", f"[{RANGE}]"), ("{}", "{}", "[]")],
    "posint": [("12", "12", 12)],
    "twice": [("13", "13", 13)],
    "yesno": [("true", "t", 1)],
    "label": [("x", "x")],
    "rating": [("1", "1", 1.0)],
    "amount": [("1.5", "1.500")],
    "feeling": [("sad", "sad")],
    "day": [("infinity", "infinity", "9999-12-31"), ("2023-03-06",) * 2],
    "at": [
        (
            "2023-03-06 15:47:00.5",
            "2023-03-06 15:47:00.5",
            "2023-03-06T15:47:00.500000",
            "2023-03-06T15:47:00.500",
            "2023-03-06T15:47:00",
        )
    ],
    "at_zone": [
        (
            "2023-03-06 15:47:00+02",
            "2023-03-06 13:47:00+00",
            "2023-03-06T13:47:00.000000Z",
            "2023-03-06T13:47:00.000Z",
            "2023-03-06T13:47:00Z",
        )
    ],
    "numbers": [("{1,NULL}", "{1,NULL}", "[1,null]")],
    "int4[]": [("{1,NULL,3}", "[1,null,3]"), ("{}", "[]"), ("[0:1]={5,6}", "[5,6]")],
    "bool[]": [("{t,f,NULL}", "[1,0,null]")],
    "float4[]": [("{0.1,NaN}", "[0.1,null]")],
    "float8[]": [("{1,1.5}", "[1.0,1.5]")],
    "numeric[]": [("{1.10,2}", '["1.10","2"]')],
    "text[]": [('{a,"b\\"c",NULL,"NULL","{}"}', '["a","b\\"c",null,"NULL","{}"]')],
    "uuid[]": [("{550e8400-e29b-41d4-a716-446655440000}", '["550e8400-e29b-41d4-a716-446655440000"]')],
    "date[]": [("{2023-03-06,infinity}", '["2023-03-06","9999-12-31"]')],
    "timestamptz[]": [
        (
            '{"2023-03-06 15:47:00+02"}',
            '["2023-03-06 13:47:00Z"]',
            '["2023-03-06T13:47:00.000000Z"]',
            '["2023-03-06T13:47:00.000Z"]',
            '["2023-03-06T13:47:00Z"]',
        )
    ],
    "jsonb[]": [('{"{\\"a\\": 1}","5"}', '[{"a": 1},5]')],
    "bytea[]": [('{"\\\\x00ff"}', "[null]")],
    "pg_lsn[]": [("{16/B374D848}", '["00000016/B374D848"]')],
    "mood[]": [('{sad,"o k"}', '{sad,"o k"}', '["sad","o k"]')],
    "int4range[]": [('{"[1,5)",empty}', '{"[1,5)",empty}', f'[{RANGE},"empty"]')],
    "int4multirange[]": [('{"{[1,5)}"}', '{"{[1,5)}"}', f"[[{RANGE}]]")],
    "hstore": [('"a"=>"1", "bb"=>NULL, "c\\"d"=>"e\\\\f"',) * 2, ("", "")],
    "citext": [("Ab", "Ab")],
    "ltree": [("a.b.c", "a.b.c")],
    "geometry": [(PLACE, PLACE)],
    "geography": [(PLACE, PLACE)],
    "cube": [("(1, 2)", "(1, 2)")],
    "citext[]": [("{Ab,NULL}", "{Ab,NULL}", '["Ab",null]')],
    "geometry[]": [(f"{{{PLACE}}}", f"{{{PLACE}}}", f'["{PLACE}"]')],
}
# What Debezium cannot deliver (docs/source-types.md): the text put in, and what comes of it instead in each of MODES.
LOST: Cases = {
    "timestamp(6)": [("294276-12-31 00:00:00", "9999-12-31 23:59:59", *TYPES["timestamp"][1][2:])],
    "timetz": [("15:47:00.5+02", "13:47:00.5+00"), ("24:00:00+00", "24:00:00+00")],
    "varbit(8)": [("0101", "101"), ("", "0")],
    "interval(6)": [("infinity", "00:00:00")],
    "pair": [("(1,x)", "(1,x)")],
    "spans": [(TIMES_RANGE, TIMES_RANGE)],
    "span": [("[1,5)", "[1,5)")],
    "raw": [("\\x00ff", "\x00�"), ("\\x41", "A")],
    "int2vector": [("1 2", None)],
    "posint[]": [("{1,2}", "{1,2}", '["1","2"]')],
    "at[]": [('{"2023-03-06 15:47:00.5"}', '{"2023-03-06 15:47:00.5"}', '["2023-03-06 15:47:00.5"]')],
    "pair[]": [('{"(1,x)"}', '{"(1,x)"}', '["(1,x)"]')],
    "mood[][]": [("{sad,NULL}", None)],
    "int4[][]": [("{{1,2},{3,4}}", "[null,null]")],
    "text[][]": [("{{a,b},{c,d}}", "[null,null]")],
    "numeric(10,2)[]": [("{1.1,NaN}", None)],
    "bit(3)[]": [("{010}", None)],
    "box[]": [("{(3,4),(1,2)}", None)],
    "time(0)[]": [
        ("{24:00:00}", '["00:00:00"]', '["00:00:00.000000"]', '["00:00:00.000"]', '["00:00:00"]'),
    ],
}
MISSING = ("interval[]", "money[]", "name[]", "point[]", "varbit[]", "xml[]")
WITHIN = 150.0  # seconds


@pytest.mark.stack
def test_values_of_every_type_from_snapshot_and_stream(source: Source) -> None:
    every = {**TYPES, **LOST}
    snapshot, streamed = through_debezium(source, {**every, **dict.fromkeys(MISSING, ())}, {})
    for schema, rows in (snapshot, streamed):
        assert {field["name"] for field in schema["fields"]} == {"id", *names(every).values()}
        for mode, options in enumerate(MODES):
            assert converted(schema, rows, every, options) == expected(every, mode)


@pytest.mark.stack
def test_dates_before_christ_lose_their_era_in_a_snapshot(source: Source) -> None:
    """Not in the stream. A `time.precision.mode` has nothing to do with it."""
    cases: Cases = {"date": [("0044-03-15 BC", "0044-03-15 BC")]}
    snapshot, streamed = through_debezium(source, cases, {})
    assert converted(*snapshot, cases, MODES[0]) == [{"date": "0044-03-15"}]
    assert converted(*streamed, cases, MODES[0]) == [{"date": "0044-03-15 BC"}]


# Other settings than `syncline init` makes: the settings, and what becomes of values then, in edition 2.
MOMENT = "2023-03-06T15:47:00.120000"
OTHERS: list[tuple[dict[str, str], Cases]] = [
    (
        {
            "decimal.handling.mode": "precise",
            "time.precision.mode": "adaptive",
            "interval.handling.mode": "numeric",
            "hstore.handling.mode": "json",
            "binary.handling.mode": "hex",
        },
        {
            "numeric(10,2)": [("1.1", "1.10"), ("NaN", None)],
            "numeric": [("1.10", "1.1"), ("1e5", "100000")],
            "money": [("-1234.5", "-$1,234.50")],
            "numeric[]": [("{1.10}", '["1.1"]')],
            "timestamp(3)": [("2023-03-06 15:47:00.12", MOMENT), ("infinity", "9999-12-31T23:59:59.000000")],
            "time(3)": [("24:00:00", "24:00:00.000000")],
            "interval": [("25:00:00.5",) * 2, ("1 mon", "730:30:00")],
            "hstore": [('"a"=>"1", "bb"=>NULL',) * 2],
            "bytea": [("\\x00ff", "00ff")],
        },
    ),
    (
        {"decimal.handling.mode": "double", "time.precision.mode": "connect"},
        {
            "numeric(10,2)": [("1.1", "1.10"), ("NaN", "NaN")],
            "numeric": [("1.10", "1.1"), ("0.00000001", "0.00000001")],
            "money": [("-1234.5", "-$1,234.50")],
            "numeric[]": [("{1.10}", '["1.1"]')],
            "timestamp": [("2023-03-06 15:47:00.120456", MOMENT), ("-infinity", "0000-01-01T00:00:00.000000")],
            "time": [("15:47:00.000001", "15:47:00.000000")],
            "date": [("infinity", "9999-12-31")],
        },
    ),
    (
        {"time.precision.mode": "isostring"},
        {
            "timestamp": [("2023-03-06 15:47:00.12", MOMENT), ("infinity", "9999-12-31T23:59:59.000000")],
            "time": [("15:47:00.12", "15:47:00.120000"), ("24:00:00", "00:00:00.000000")],
            "date": [("2023-03-06", "2023-03-06"), ("-infinity", "0000-01-01")],
            "timestamp[]": [('{"2023-03-06 15:47:00.12"}', f'["{MOMENT}"]')],
        },
    ),
    (
        {"time.precision.mode": "nanoseconds"},
        {
            "timestamp": [("2023-03-06 15:47:00.12", MOMENT), ("1500-01-01 00:00:00", None)],
            "time": [("24:00:00", "24:00:00.000000")],
        },
    ),
    (
        {"time.precision.mode": "structured"},
        {
            "timestamp": [
                ("2023-03-06 15:47:00.12", MOMENT),
                ("294276-12-31 00:00:00", "294276-12-31T00:00:00.000000"),
            ],
            "timestamptz": [("infinity", "9999-12-31T23:59:59.000000Z"), ("2023-03-06 15:47:00.12+00", f"{MOMENT}Z")],
            "timetz": [("15:47:00.12+05:30",) * 2],
            "time": [("15:47:00", "15:47:00.000000"), ("24:00:00", None)],
            "date": [("10000-01-01",) * 2, ("infinity", "9999-12-31")],
            "interval": [("-1 mons +2 days -00:00:01.5",) * 2],
            "timestamp[]": [('{"2023-03-06 15:47:00.12"}', f'["{MOMENT}"]')],
        },
    ),
]


@pytest.mark.stack
@pytest.mark.parametrize(("settings", "cases"), OTHERS, ids=[" ".join(settings.values()) for settings, _ in OTHERS])
def test_other_settings_of_the_connector(source: Source, settings: dict[str, str], cases: Cases) -> None:
    for schema, rows in through_debezium(source, cases, settings):
        assert converted(schema, rows, cases, MODES[1]) == expected(cases, 1)


def names(cases: Cases) -> dict[str, str]:
    """A column per type."""
    return {type_: f"c{number}" for number, type_ in enumerate(cases)}


def expected(cases: Cases, mode: int) -> list[dict[str, Any]]:
    """What the rows become in that mode, by type."""
    return [
        {
            type_: texts[row][1:][min(mode, len(texts[row]) - 2)] if row < len(texts) else None
            for type_, texts in cases.items()
        }
        for row in range(max(map(len, cases.values())))
    ]


def converted(
    schema: dict[str, Any], rows: list[dict[str, Any]], cases: Cases, options: Options
) -> list[dict[str, Any]]:
    read = row_reader(schema, options)
    return [{type_: row[name] for type_, name in names(cases).items()} for row in map(read, rows)]


Rows = tuple[dict[str, Any], list[dict[str, Any]]]


def through_debezium(source: Source, cases: Cases, settings: Mapping[str, str]) -> tuple[Rows, Rows]:
    """The rows, with their schema, from a snapshot and from the stream."""
    columns = ", ".join(f"{name} {type_}" for type_, name in names(cases).items())
    for extension in EXTENSIONS:
        source.sql(EXTENSION.format(extension))
    source.sql(f"{SETUP} CREATE TABLE kinds (id int PRIMARY KEY, {columns}); ALTER TABLE kinds REPLICA IDENTITY FULL")
    count = max(map(len, cases.values()))
    insert(source, cases, 0)
    wanted = connector.fresh(source.settings, ["public.kinds"], 1) | CONNECTOR_SETTINGS | dict(settings)
    publish(source.settings, wanted["publication.name"], ["public.kinds"])
    with httpx.Client(trust_env=False, timeout=20) as client:
        url = f"{source.settings.connect}/connectors/{source.settings.connector}/config"
        client.put(url, json=wanted).raise_for_status()
        snapshot = read(source, client, count)
        insert(source, cases, count)
        streamed = read(source, client, 2 * count)[count:]
    return (snapshot[0][0], [row for _, row in snapshot]), (streamed[0][0], [row for _, row in streamed])


def insert(source: Source, cases: Cases, first: int) -> None:
    columns = names(cases)
    for index in range(max(map(len, cases.values()))):
        given = {type_: texts[index][0] for type_, texts in cases.items() if index < len(texts)}
        source.sql(
            f"INSERT INTO kinds (id, {', '.join(columns[type_] for type_ in given)}) "
            f"VALUES (%s, {', '.join(f'%s::text::{_castable(type_)}' for type_ in given)})",
            first + index,
            *given.values(),
        )


def _castable(type_: str) -> str:
    return type_.replace("serial", "int")


def read(source: Source, client: httpx.Client, count: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The first `count` rows of the topic, each with its schema."""
    consumer = Consumer(
        {"bootstrap.servers": source.settings.kafka, "group.id": f"{source.settings.app}.{count}"}
        | {"auto.offset.reset": "earliest", "allow.auto.create.topics": False, "enable.auto.commit": False}
    )
    consumer.subscribe([f"{source.settings.topic_prefix}.public.kinds"])
    found: list[tuple[dict[str, Any], dict[str, Any]]] = []
    deadline = time.monotonic() + WITHIN
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} rows within {WITHIN} s"
        message = consumer.poll(0.2)
        if message is not None and message.error() is None and message.value():
            found.append(decode(source, client, message.value()))
    consumer.close()
    return found


def decode(source: Source, client: httpx.Client, value: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    number = int.from_bytes(value[1:5], "big")
    schema = json.loads(client.get(f"{source.settings.registry}/schemas/ids/{number}").json()["schema"])
    known = avro.definitions(schema)
    row_schema = avro.standalone(known[next(name for name in known if name.endswith(".Value"))], known)
    envelope: Any = fastavro.schemaless_reader(BytesIO(value[5:]), fastavro.parse_schema(plain_schema(schema)), None)
    return row_schema, envelope["after"]
