"""What a column can hold once it is in the core, and the text forms that clients compare by.

PowerSync's value model: NULL, INTEGER (64 bit), REAL, TEXT, BLOB. A Python `bool` is never one of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping

import orjson

SqliteValue = None | int | float | str | bytes
Row = Mapping[str, SqliteValue]

_EXACT = 1 << 53  # integral doubles below it print as they are
_ODD_TYPES = frozenset((float, bytes))


def real_text(value: float) -> str:
    """A REAL as bucket names print it: the shortest form, integral without a point (`2`, `1e+21`, `1e-7`)."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    mantissa, _, exponent_text = repr(value).partition("e")
    if not exponent_text:
        return mantissa.removesuffix(".0")
    exponent = int(exponent_text)
    if exponent >= 21 or exponent < -6:
        return f"{mantissa.removesuffix('.0')}e{exponent:+d}"
    sign, digits = ("-" if value < 0 else ""), mantissa.lstrip("-").replace(".", "")
    return f"{sign}{digits:0<{exponent + 1}}" if exponent > 0 else f"{sign}0.{'0' * (-exponent - 1)}{digits}"


def text_form(value: SqliteValue) -> str | None:
    """A value as TEXT; None for NULL and for a BLOB, which has no text here."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    return real_text(value) if isinstance(value, float) else None


def parameters_text(values: Iterable[SqliteValue]) -> str:
    """Values as the compact JSON array of a bucket name or a lookup key: integral REALs print as integers."""
    listed = list(values)
    if _ODD_TYPES.isdisjoint(map(type, listed)):
        return _json(listed).decode()
    return f"[{','.join(map(_parameter_json, listed))}]"


def object_text(row: Row) -> bytes:
    """A row as the JSON object that a PUT carries: order kept, REAL always with a point or exponent, BLOBs left out."""
    if _ODD_TYPES.isdisjoint(map(type, row.values())):
        return _json(row)
    items = (
        orjson.dumps(name) + b":" + _column_json(value) for name, value in row.items() if not isinstance(value, bytes)
    )
    return b"{" + b",".join(items) + b"}"


def _parameter_json(value: SqliteValue) -> str:
    if isinstance(value, float):
        return real_text(value) if math.isfinite(value) else "null"
    return _json(value).decode()


def _json(value: object) -> bytes:
    """Compact JSON; orjson has no integers beyond 64 bits, which arithmetic can give."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _column_json(value: SqliteValue) -> bytes:
    if not isinstance(value, float):
        return _json(value)
    if 1e-4 <= abs(value) < 1e15:
        return orjson.dumps(value)
    text = real_text(value)
    return (text if not math.isfinite(value) or "." in text or "e" in text else f"{text}.0").encode()
