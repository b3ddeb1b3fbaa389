"""Dates, times and timestamps of a source as the texts that PowerSync gives (powersync.md 1.9)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from connector.definitions.model import Options
from connector.source.calendar import clock_text, date_text, days_from_civil, iso_date_text
from connector.source.fractions import POSTGRES, fraction_writer

DAY = 86_400_000_000  # microseconds
_LATEST, _EARLIEST = ("9999-12-31", "23:59:59"), ("0000-01-01", "00:00:00")

# What Debezium sends for infinite timestamps: in microseconds and nanoseconds, in milliseconds, and as documented.
_INFINITE = frozenset(
    ((1 << 63) - 1, 9223372036825200000, 9223372036825200, -(1 << 63), -9223372036832400000, -9223372036832400)
)
# What Debezium makes of infinite dates, seen from a snapshot and from the stream, as days and as years. All of it is
# beyond what Postgres can hold (4713 BC to 5874897).
_POSITIVE_DAYS = frozenset((-622_191_234, days_from_civil(5_877_611, 6, 21), days_from_civil(292_278_994, 8, 16)))
_NEGATIVE_DAYS = frozenset((-625_821_272, days_from_civil(-5_877_611, 6, 22), days_from_civil(292_269_055, 12, 2)))
_INFINITE_DAYS = _POSITIVE_DAYS | _NEGATIVE_DAYS
_FIRST_DAY, _DAY_AFTER_9999 = days_from_civil(1, 1, 1), days_from_civil(10_000, 1, 1)

_TIMESTAMP = re.compile(
    r"([+-]?\d+)-(\d\d)-(\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d+))?\s*(Z|[+-]\d\d(?::\d\d){0,2})?( BC)?"
)
_TIME = re.compile(r"(\d\d:\d\d(?::\d\d)?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)?")


def infinite_date(positive: bool) -> str:
    """What the reference gives for an infinite date."""
    return _LATEST[0] if positive else _EARLIEST[0]


def infinity(days: int) -> bool | None:
    """Whether a number of days is Debezium's positive infinity (True), its negative one (False) or a day (None)."""
    return days in _POSITIVE_DAYS if days in _INFINITE_DAYS else None


def infinity_of_timestamp(value: int) -> bool | None:
    """As `infinity`, for a timestamp in any unit."""
    return value > 0 if value in _INFINITE else None


def date_of_days(days: int) -> str:
    """A date, given as days since 1970, as Postgres prints it; infinity as PowerSync gives it."""
    return infinite_date(days in _POSITIVE_DAYS) if days in _INFINITE_DAYS else date_text(days)


def days_of_text(text: str) -> int:
    """Days of a date in ISO form, with a zone that means nothing (`2023-03-06Z`) or a signed year; or ValueError."""
    found = re.match(r"([+-]?\d+)-(\d\d)-(\d\d)", text)
    if found is None:
        raise ValueError(f"{text:.40} is no date")
    return days_from_civil(int(found[1]), int(found[2]), int(found[3]))


def date_of_text(text: str) -> str:
    """A date in Debezium's ISO form."""
    return infinite_date(text == "infinity") if text in ("infinity", "-infinity") else date_of_days(days_of_text(text))


def date_of_postgres(text: str) -> str:
    """A date as Postgres prints it."""
    return infinite_date(text == "infinity") if text in ("infinity", "-infinity") else text


@dataclass(frozen=True, slots=True)
class Moments:
    """Writes the timestamps of Postgres. `zone`: what stands behind them, "Z" or nothing."""

    between: str
    fraction: Callable[[str], str]
    zone: str

    def text(self, day: str, clock: str, digits: str) -> str:
        """`digits`: any number of those behind the seconds."""
        return f"{day}{self.between}{clock}{self.fraction(digits)}{self.zone}"

    def at(self, days: int, seconds: int, digits: str) -> str | None:
        """A moment of a day. The reference gives NULL before Christ, and with a zone from the year 10000 on."""
        if days < _FIRST_DAY or (self.zone and days >= _DAY_AFTER_9999):
            return None
        return self.text(date_text(days), clock_text(seconds), digits)

    def infinite(self, positive: bool) -> str:
        return self.text(*(_LATEST if positive else _EARLIEST), "")


def moments(options: Options, zone: str) -> Moments:
    """The writer of timestamps under these options."""
    return Moments("T" if options.timestamps_iso8601 else " ", fraction_writer(options, POSTGRES), zone)


def timestamp_of(unit: int, options: Options) -> Callable[[int], str | None]:
    """Timestamps without zone, as integers with `unit` of them a microsecond (0.001: milliseconds are -1000)."""
    to_microseconds = scaled(unit)
    write = moments(options, "")

    def text(value: int) -> str | None:
        if value in _INFINITE:
            return write.infinite(value > 0)
        days, rest = divmod(to_microseconds(value), DAY)
        seconds, fraction = divmod(rest, 1_000_000)
        return write.at(days, seconds, f"{fraction:06d}" if fraction else "")

    return text


def timestamp_of_text(options: Options, zone: str) -> Callable[[str], str | None]:
    """Timestamps in Debezium's ISO form."""
    write = moments(options, zone)

    def text(value: str) -> str | None:
        if value[10:11] == "T" and value[-1] == "Z" and len(value) >= 20 and value[:4] >= "0001":
            return write.text(value[:10], value[11:19], value[20:-1])  # nearly all: four digits of year, at UTC
        if value in ("infinity", "-infinity"):
            return write.infinite(value == "infinity")
        if value[:17] in ("+292278994-08-16T", "-292275055-05-16T"):
            return write.infinite(value[0] == "+")
        found = _taken_apart(value)
        return value if found is None else write.at(*found)

    return text


def timestamp_of_postgres(options: Options, zone: str) -> Callable[[str], str | None]:
    """Timestamps as Postgres prints them, of a type with a zone or without; NULL for what is none."""
    write = moments(options, zone)

    def text(value: str) -> str | None:
        if value in ("infinity", "-infinity"):
            return write.infinite(value == "infinity")
        found = _taken_apart(value)
        return None if found is None else write.at(*found)

    return text


def _taken_apart(text: str) -> tuple[int, int, str] | None:
    """Days, seconds of the day and digits behind them, at UTC, of a timestamp in ISO or Postgres' form."""
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        return None
    year, month, day, clock, digits, offset, era = found.groups()
    seconds = _seconds(clock) - _offset_seconds(offset)
    days = days_from_civil(1 - int(year) if era else int(year), int(month), int(day))
    return days + seconds // 86_400, seconds % 86_400, digits or ""


def at_utc(text: str) -> tuple[str, str, str]:
    """Date, time and digits behind the seconds of a timestamp in ISO form. Raises ValueError."""
    found = _taken_apart(text)
    if found is None:
        raise ValueError(f"{text:.40} is no timestamp")
    return iso_date_text(found[0]), clock_text(found[1]), found[2]


def of_milliseconds(milliseconds: int) -> tuple[str, str, str]:
    """As `at_utc`, from milliseconds since 1970."""
    days, rest = divmod(milliseconds, DAY // 1000)
    return iso_date_text(days), clock_text(rest // 1000), f"{rest % 1000:03d}"


def _seconds(clock: str) -> int:
    hours, minutes, seconds = (int(each) for each in f"{clock}:00".split(":")[:3])
    return 3600 * hours + 60 * minutes + seconds


def _offset_seconds(offset: str | None) -> int:
    """Of `+02:00`, of `-05`; of nothing and of `Z`, none."""
    if offset in (None, "Z"):
        return 0
    seconds = _seconds(f"{offset[1:]}:00")
    return -seconds if offset[0] == "-" else seconds


def time_of(unit: int, options: Options) -> Callable[[int], str]:
    """Times of day as integers since midnight, `unit` as in `timestamp_of`; 24:00:00 is one."""
    to_microseconds = scaled(unit)
    write = fraction_writer(options, POSTGRES)

    def text(value: int) -> str:
        seconds, fraction = divmod(to_microseconds(value), 1_000_000)
        return f"{clock_text(seconds)}{write(f'{fraction:06d}')}"

    return text


def time_of_text(options: Options, zone: str) -> Callable[[str], str]:
    """Times of day in ISO form; the zone is kept where `zone` says so, dropped where it is empty."""
    write = fraction_writer(options, POSTGRES)

    def text(value: str) -> str:
        found = _TIME.fullmatch(value)
        if found is None:
            return value
        clock, fraction, offset = found.groups()
        clock = clock if len(clock) == 8 else f"{clock}:00"
        kept = (offset or "").replace("Z", "+00").removesuffix(":00") if zone else ""
        return f"{clock}{write(fraction or '')}{kept}"

    return text


def scaled(unit: int) -> Callable[[int], int]:
    """`unit` > 0: so many of the source's unit are a microsecond; < 0: one of them is so many microseconds."""
    if unit == 1:
        return lambda value: value
    return (lambda value: value // unit) if unit > 0 else (lambda value: value * -unit)
