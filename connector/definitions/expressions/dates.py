"""unixepoch() and datetime(), for both engines (powersync.md 1.7)."""

from __future__ import annotations

import math
import re

from connector.definitions.expressions.scalars import text_of
from connector.values import SqliteValue

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[ T](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?\s*(Z|z|[+-]\d\d:\d\d)?)?\s*"
)  # fmt: skip
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*")
_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000
_UNIX_EPOCH = 2440587.5  # as a Julian day
_LATEST = 253402300800000  # the year 10000
_MONTHS, _DAYS, _HOURS, _SIXTY = 12, 31, 24, 60
_FRACTIONS = ("subsec", "subsecond")


def unixepoch(*arguments: SqliteValue) -> int | float | None:
    """Seconds since 1970; whole ones without the modifier `subsec`."""
    instant, fraction = _instant(arguments)
    if instant is None:
        return None
    return instant / _SECOND if fraction else instant // _SECOND


def datetime(*arguments: SqliteValue) -> str | None:
    """`YYYY-MM-DD hh:mm:ss` in UTC, with the modifier `subsec` to the millisecond."""
    instant, fraction = _instant(arguments)
    if instant is None:
        return None
    days, rest = divmod(instant, _DAY)
    year, month, day = _civil(days)
    hours, minutes = rest // _HOUR, rest // _MINUTE % _SIXTY
    seconds, thousandths = divmod(rest % _MINUTE, _SECOND)
    sign = "-" if year < 0 else ""
    text = f"{sign}{abs(year):04d}-{month:02d}-{day:02d} {hours:02d}:{minutes:02d}:{seconds:02d}"
    return f"{text}.{thousandths:03d}" if fraction else text


def _instant(arguments: tuple[SqliteValue, ...]) -> tuple[int | None, bool]:
    """Milliseconds since 1970, None where anything is not understood; and whether fractions of seconds are wanted."""
    if not arguments:
        return None, False
    value, *modifiers = arguments
    names = [(text_of(modifier) or "").lower() for modifier in modifiers]
    fraction = any(name in _FRACTIONS for name in names)
    others = [name for name in names if name not in _FRACTIONS]
    if others not in ([], ["unixepoch"]):
        return None, fraction
    instant = _of_number(value, unix=bool(others)) if others or _is_number(value) else _of_text(value)
    return instant, fraction


def _is_number(value: SqliteValue) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value) is not None)


def _of_number(value: SqliteValue, *, unix: bool) -> int | None:
    if not _is_number(value):
        return None
    number = float(value)  # type: ignore[arg-type]  # it is a number, or the text of one
    found = number * _SECOND if unix else (number - _UNIX_EPOCH) * _DAY
    return round(found) if math.isfinite(found) and abs(found) < _LATEST else None


def _of_text(value: SqliteValue) -> int | None:
    found = _ISO.fullmatch(text_of(value) or "")
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    if not 1 <= month <= _MONTHS or not 1 <= day <= _DAYS:
        return None
    if hour > _HOURS or minute >= _SIXTY or second >= _SIXTY or (hour == _HOURS and (minute or second)):
        return None
    thousandths = int((found[7] or "")[:3].ljust(3, "0"))
    offset = _offset(found[8])
    days = _days(year, month, day)
    return days * _DAY + hour * _HOUR + minute * _MINUTE + second * _SECOND + thousandths - offset


def _offset(zone: str | None) -> int:
    """Milliseconds that a zone's clock is ahead of UTC."""
    if zone is None or zone in "Zz":
        return 0
    ahead = int(zone[1:3]) * _HOUR + int(zone[4:6]) * _MINUTE
    return -ahead if zone[0] == "-" else ahead


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01, for any year of the Gregorian calendar.

    https://howardhinnant.github.io/date_algorithms.html
    """
    year -= month <= 2  # the year begins in March here
    era, of_era = divmod(year, 400)
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


def _civil(days: int) -> tuple[int, int, int]:
    """The inverse of `_days`."""
    era, of_era = divmod(days + 719468, 146097)
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return era * 400 + year + (month <= 2), month, of_year - (153 * shifted + 2) // 5 + 1
