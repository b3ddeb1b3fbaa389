"""Truth, text and number of a value, and casts, as the reference's own engine has them (powersync.md 1.7)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from connector.values import SqliteValue, real_text

_LEADING_INTEGER = re.compile(r"\s*([+-]?\d+)")
_LEADING_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_ZEROS = re.compile(r"\s*[+-]?0*([1-9]?)")
_LONGEST = 400  # digits of a number in a text; more are no number


def truth(value: SqliteValue) -> bool:
    """Whether a value passes a filter: numbers other than 0, TEXT whose leading integer is not 0."""
    if isinstance(value, int | float):
        return value != 0
    return isinstance(value, str) and bool(_ZEROS.match(value)[1])  # type: ignore[index]


def text_of(value: SqliteValue) -> str | None:
    """A value as TEXT; a BLOB's bytes are read as UTF-8."""
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return real_text(value) if isinstance(value, float) else str(value)


def integer_of(value: SqliteValue) -> int | None:
    """CAST AS INTEGER: the leading digits of TEXT, REAL rounded down."""
    if isinstance(value, int) or value is None:
        return value
    if isinstance(value, float):
        return math.floor(value)
    found = _LEADING_INTEGER.match(text_of(value) or "")
    return int(found[1]) if found and len(found[1]) < _LONGEST else 0


def number_of(value: SqliteValue) -> int | float | None:
    """CAST AS NUMERIC, and every operand of arithmetic: the leading number of TEXT, INTEGER where it is written so."""
    if isinstance(value, int | float) or value is None:
        return value
    found = _LEADING_NUMBER.match(text_of(value) or "")
    if found is None:
        return 0
    written = found[1]
    if written.lstrip("+-").isdigit() and len(written) < _LONGEST:
        return int(written)
    return float(written)


def real_of(value: SqliteValue) -> float | None:
    """CAST AS REAL."""
    number = number_of(value)
    return None if number is None else float(number)


def blob_of(value: SqliteValue) -> bytes | None:
    """CAST AS BLOB: the bytes of the text."""
    if isinstance(value, bytes):
        return value
    text = text_of(value)
    return None if text is None else text.encode()


CASTS: dict[str, Callable[[SqliteValue], SqliteValue]] = {
    "text": text_of,
    "integer": integer_of,
    "real": real_of,
    "numeric": number_of,
    "blob": blob_of,
}
