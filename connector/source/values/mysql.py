"""MySQL values, as its driver gives them (dates and large integers as text), to SQLite values."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from typing import Any

from connector.definitions.model import Options
from connector.source.fractions import MYSQL, fraction_writer
from connector.source.values import plain
from connector.source.values.nested import json_text
from connector.values import SqliteValue

_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_DATETIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d+))?Z?")
_NAME = re.compile(r"[A-Z_]+")


def of_value(type_name: str, value: Any, options: Options) -> SqliteValue:
    """The value of a column of that type (`INT UNSIGNED`, `DATETIME(6)`). ValueError for a value that is none."""
    name = _NAME.match(type_name.strip().upper())
    convert = _TYPES.get(name[0] if name else "", plain.text)
    return convert(value, options)


def _date(value: str, options: Options) -> SqliteValue:
    """NULL for a date that no calendar has, which MySQL can keep (`2024-00-00`)."""
    return value if _is_date(value) else None


def _datetime(value: str, options: Options) -> SqliteValue:
    """At UTC, as the connection's zone is; NULL as for dates."""
    found = _DATETIME.fullmatch(value)
    if found is None or not _is_date(found[1]):
        return None
    fraction = fraction_writer(options, MYSQL)(found[3] or "")
    return f"{found[1]}T{found[2]}{fraction}Z"


def _is_date(text: str) -> bool:
    found = _DATE.fullmatch(text)
    if found is None:
        return False
    year, month, day = map(int, found.groups())
    return 1 <= month <= 12 and 1 <= day <= monthrange(year or 4, month)[1]


def _blob(value: bytes | str, options: Options) -> SqliteValue:
    return value.encode() if isinstance(value, str) else bytes(value)


def _set(value: str, options: Options) -> SqliteValue:
    return json_text(value.split(","))


def _json(value: Any, options: Options) -> SqliteValue:
    """Text as it is; what the driver has taken apart is written as all nested values are."""
    return value if isinstance(value, str) else json_text(value)


_INTEGERS = ("TINYINT", "SMALLINT", "MEDIUMINT", "INT", "INTEGER", "BIGINT", "BOOL", "BOOLEAN", "SERIAL")
_REALS = ("FLOAT", "DOUBLE", "REAL", "DECIMAL", "NUMERIC", "DEC", "FIXED", "YEAR")
_BLOBS = ("BIT", "BINARY", "VARBINARY", "TINYBLOB", "BLOB", "MEDIUMBLOB", "LONGBLOB")
_TYPES: dict[str, Callable[[Any, Options], SqliteValue]] = {
    **dict.fromkeys(_INTEGERS, plain.integer),
    **dict.fromkeys(_REALS, plain.real),
    **dict.fromkeys(_BLOBS, _blob),
    "DATE": _date,
    "DATETIME": _datetime,
    "TIMESTAMP": _datetime,
    "SET": _set,
    "JSON": _json,
}
