"""Dates, times and intervals of Debezium's `structured` mode, where each part is a field of a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from connector.definitions.model import Options
from connector.source.calendar import clock_text, date_text, days_from_civil
from connector.source.fractions import POSTGRES, fraction_writer
from connector.source.intervals import interval_text
from connector.source.temporal import infinite_date, moments

Fields = Mapping[str, Any]


def date(value: Fields) -> str:
    infinite = _infinity(value)
    return date_text(_days(value)) if infinite is None else infinite_date(infinite)


def timestamp(options: Options, zone: str) -> Callable[[Fields], str | None]:
    """Timestamps, those with a zone at UTC; `zone`: what is written behind them."""
    write = moments(options, zone)

    def text(value: Fields) -> str | None:
        infinite = _infinity(value)
        if infinite is not None:
            return write.infinite(infinite)
        seconds = _seconds(value) - (value.get("offsetSeconds") or 0)
        return write.at(_days(value) + seconds // 86_400, seconds % 86_400, _digits(value))

    return text


def time(options: Options) -> Callable[[Fields], str]:
    write = fraction_writer(options, POSTGRES)
    return lambda value: f"{clock_text(_seconds(value))}{write(_digits(value))}"


def zoned_time(value: Fields) -> str:
    """As Postgres prints a `timetz`: with its own offset, minutes and seconds of it only where there are any."""
    offset = abs(value["offsetSeconds"])
    sign = "-" if value["offsetSeconds"] < 0 else "+"
    digits = f".{_digits(value)}".rstrip("0").rstrip(".")
    return f"{clock_text(_seconds(value))}{digits}{sign}{_shortened(clock_text(offset))}"


def interval(value: Fields) -> str:
    seconds = 3600 * value["hours"] + 60 * value["minutes"] + value["seconds"]
    microseconds = 1_000_000 * seconds + int(value["nanos"] / 1000)
    return interval_text(12 * value["years"] + value["months"], value["days"], microseconds)


def _infinity(value: Fields) -> bool | None:
    special = value.get("specialValue")
    return None if special is None else special == "POSITIVE_INFINITY"


def _days(value: Fields) -> int:
    return days_from_civil(value["year"], value["month"], value["day"])


def _seconds(value: Fields) -> int:
    return int(3600 * value["hour"] + 60 * value["minute"] + value["second"])


def _digits(value: Fields) -> str:
    return f"{value['nanos']:09d}"[:6]


def _shortened(clock: str) -> str:
    return clock.removesuffix(":00").removesuffix(":00")
