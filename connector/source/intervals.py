"""Intervals as Postgres prints them (`1 year 2 mons 3 days 04:05:06.7`)."""

from __future__ import annotations

import re
from decimal import Decimal

from connector.source.calendar import clock_text

_INTERVAL = re.compile(
    r"P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)D)?(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?\d+(?:\.\d+)?)S)?)?"
)


def interval_of_text(value: str) -> str:
    """An ISO interval (`P1Y2M3DT4H5M6.7S`)."""
    found = _INTERVAL.fullmatch(value)
    if found is None:
        return value
    years, months, days, hours, minutes = (int(found[group] or 0) for group in range(1, 6))
    microseconds = int(Decimal(found[6] or 0) * 1_000_000) + 60_000_000 * (minutes + 60 * hours)
    return interval_text(12 * years + months, days, microseconds)


def interval_text(months: int, days: int, microseconds: int) -> str:
    """An interval, of the three parts that Postgres keeps apart."""
    years = int(months / 12)  # towards zero
    parts: list[str] = []
    after_negative = False
    for count, name in ((years, "year"), (months - 12 * years, "mon"), (days, "day")):
        if count:
            plus = "+" if after_negative and count > 0 else ""
            parts.append(f"{plus}{count} {name}{'' if count == 1 else 's'}")
            after_negative = count < 0
    if microseconds or not parts:
        sign = "-" if microseconds < 0 else "+" if after_negative else ""
        seconds, fraction = divmod(abs(microseconds), 1_000_000)
        digits = f".{fraction:06d}".rstrip("0").rstrip(".")
        parts.append(f"{sign}{clock_text(seconds)}{digits}")
    return " ".join(parts)
