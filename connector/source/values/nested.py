"""Nested source values as JSON text: what arrays, documents and composite types become."""

from __future__ import annotations

import math
from typing import Any, cast

import orjson

from connector.values import SqliteValue, real_text

_SIMPLE = frozenset((int, str, type(None)))


class Json(str):
    """The text of a JSON value, which stands in other JSON as it is."""

    __slots__ = ()


def flat(value: Any) -> SqliteValue:
    """A value with lists, maps and Json in it as one SQLite value."""
    if isinstance(value, (list, dict)):
        return json_text(value)
    if isinstance(value, (bool, Json)):
        return str(value) if isinstance(value, Json) else int(value)
    return cast(SqliteValue, value)


def json_text(value: Any) -> str:
    """Compact JSON: booleans 1 and 0, REAL always with a point or exponent, BLOBs null in lists, left out of maps."""
    match value:
        case list():
            if _SIMPLE.issuperset(map(type, value)):
                return orjson.dumps(value).decode()
            return f"[{','.join(map(json_text, value))}]"
        case dict():
            kept = ((name, each) for name, each in value.items() if not isinstance(each, bytes))
            return f"{{{','.join(f'{orjson.dumps(name).decode()}:{json_text(each)}' for name, each in kept)}}}"
        case Json() | bytes():
            return str(value) if isinstance(value, Json) else "null"
        case float():
            return real_json(value)
    return orjson.dumps(int(value) if isinstance(value, bool) else value).decode()


def real_json(value: float) -> str:
    """A REAL inside JSON."""
    if not math.isfinite(value):
        return "null"
    text = real_text(value)
    return text if "." in text or "e" in text else f"{text}.0"
