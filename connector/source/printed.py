"""Values as Postgres prints them, from what Debezium makes of them: the reference keeps the text of some types."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from decimal import Decimal

from connector.source import temporal
from connector.source.calendar import clock_text, date_text

_EXACT = 1 << 53  # no decimal that is shorter lies half-way between doubles below it
_EXACT_4 = 1 << 24  # the same of 4-byte floats
_FLOAT4 = struct.Struct("f")
_LEAST_NORMAL = 2.0**-126  # of 4-byte floats; below it there are fewer digits
_ISO = re.compile(r"([+-]?\d+-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d+))?Z")


def float8(value: float) -> str:
    """A double: the shortest digits, with an exponent below 0.0001 and from 1e15 on."""
    return _printed(value, 15)


def float4(value: float) -> str:
    """A 4-byte float that has come as a double: with an exponent below 0.0001 and from 1e6 on."""
    return _printed(short_float(value), 6)


def _printed(value: float, large: int) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    shortest = Decimal(_no_tie(value)).normalize()
    exponent = shortest.adjusted()
    if -5 < exponent < large:
        return f"{shortest:f}"
    return f"{shortest.scaleb(-exponent):f}e{exponent:+03d}"


def _no_tie(value: float) -> str:
    """The shortest digits that no rule of rounding is needed for: one more than Python's where those lie half-way."""
    text = repr(value)
    if abs(value) < _EXACT:
        return text
    neighbours = (math.nextafter(value, math.inf), math.nextafter(value, -math.inf))
    tie = any(2 * Decimal(text) == Decimal(value) + Decimal(each) for each in neighbours if math.isfinite(each))
    return f"{value:.{len(Decimal(text).normalize().as_tuple().digits) + 1}g}" if tie else text


def short_float(value: float) -> float:
    """A 4-byte float as the shortest decimal that means it: 0.1, not 0.10000000149011612."""
    for digits in range(6 if abs(value) >= _LEAST_NORMAL else 1, 9):
        short = float(f"{value:.{digits}g}")
        if short == value or (_as_float4(short) == value and (abs(value) < _EXACT_4 or not _is_tie(short, value))):
            return short
    return float(f"{value:.9g}")  # NaN too, which equals nothing


def _as_float4(value: float) -> float:
    rounded: float = _FLOAT4.unpack(_FLOAT4.pack(value))[0]
    return rounded


def _is_tie(short: float, value: float) -> bool:
    """Whether it lies half-way between the 4-byte float and the next one."""
    (bits,) = struct.unpack("i", _FLOAT4.pack(value))
    beyond = struct.pack("i", bits + (1 if abs(short) > abs(value) else -1))
    return bool(2 * short == value + _FLOAT4.unpack(beyond)[0])


def money(amount: str) -> str:
    """An amount in the currency of the C locale and of en_US, which a database has unless it was told otherwise."""
    sign, whole = ("-", amount[1:]) if amount.startswith("-") else ("", amount)
    return f"{sign}${Decimal(whole):,.2f}"


def boolean(value: bool) -> str:
    return "t" if value else "f"


def date(days: int) -> str:
    """A date, given as days since 1970."""
    infinite = temporal.infinity(days)
    return date_text(days) if infinite is None else _infinity(infinite)


def timestamp(unit: int) -> Callable[[int], str]:
    """Timestamps without zone as integers, `unit` as in `temporal.timestamp_of`."""
    to_microseconds = temporal.scaled(unit)

    def text(value: int) -> str:
        infinite = temporal.infinity_of_timestamp(value)
        if infinite is not None:
            return _infinity(infinite)
        days, rest = divmod(to_microseconds(value), temporal.DAY)
        seconds, fraction = divmod(rest, 1_000_000)
        return _moment(days, clock_text(seconds), f"{fraction:06d}", "")

    return text


def timestamp_of_text(value: str) -> str:
    """Timestamps with a zone in Debezium's ISO form, as a session at UTC prints them."""
    found = _ISO.fullmatch(value)
    return value if found is None else _moment(temporal.days_of_text(found[1]), found[2], found[3] or "", "+00")


def _moment(days: int, clock: str, digits: str, zone: str) -> str:
    day, space, era = date_text(days).partition(" ")
    return f"{day} {clock}.{digits}".rstrip("0").rstrip(".") + f"{zone}{space}{era}"


def _infinity(positive: bool) -> str:
    return "infinity" if positive else "-infinity"
