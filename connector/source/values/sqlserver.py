"""SQL Server values, as its driver gives them (dates as ISO text), to SQLite values."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from connector.definitions.model import Options
from connector.source import temporal
from connector.source.fractions import SQL_SERVER, fraction_writer
from connector.source.values import plain
from connector.values import SqliteValue

_NAME = re.compile(r"[a-z_0-9]+")
_TIME = re.compile(r"(\d\d:\d\d:\d\d)(?:\.(\d+))?")


def of_value(type_name: str, value: Any, options: Options) -> SqliteValue:
    """The value of a column of that type (`int`, `datetime2(7)`). Raises ValueError for a value that is none."""
    name = _NAME.match(type_name.strip().lower())
    convert = _TYPES.get(name[0] if name else "", plain.text)
    return convert(value, options)


def _blob(value: Any, options: Options) -> SqliteValue:
    return bytes(value)


def _date(value: str, options: Options) -> SqliteValue:
    return value[:10]


def _time(value: str, options: Options) -> SqliteValue:
    found = _TIME.fullmatch(value)
    if found is None:
        raise ValueError("not a time")
    return found[1] + fraction_writer(options, SQL_SERVER)(found[2] or "")


def _timestamp(value: str, options: Options) -> SqliteValue:
    """At UTC; `datetime` and the like have no zone and are taken to be at UTC."""
    day, clock, digits = temporal.at_utc(value)
    return f"{day}T{clock}{fraction_writer(options, SQL_SERVER)(digits)}Z"


_TYPES: dict[str, Callable[[Any, Options], SqliteValue]] = {
    **dict.fromkeys(("bit", "tinyint", "smallint", "int", "bigint"), plain.integer),
    **dict.fromkeys(("float", "real", "decimal", "numeric", "money", "smallmoney"), plain.real),
    **dict.fromkeys(("binary", "varbinary", "image", "timestamp", "rowversion"), _blob),
    **dict.fromkeys(("datetime", "datetime2", "smalldatetime", "datetimeoffset"), _timestamp),
    "date": _date,
    "time": _time,
}
