"""The files' tagged values: `{"$int": "5"}`, `{"$real": 1.5}`, `{"$blob": "00ff"}`, dates, nested source values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from connector.definitions.model import Options
from connector.source.fractions import Resolution, fraction_writer
from connector.source.values.nested import flat
from connector.values import Row, SqliteValue, real_text

_PLAIN: dict[str, Callable[[Any], SqliteValue]] = {"$int": int, "$real": float, "$blob": bytes.fromhex}
_DIGITS = {"seconds": 0, "milliseconds": 3, "microseconds": 6, "nanoseconds": 9}


def row(encoded: dict[str, Any], options: Options) -> Row:
    """A source's row as evaluation gets it: dates are texts by then, as the options want them."""
    return {name: value(content, options) for name, content in encoded.items()}


def value(encoded: Any, options: Options | None = None) -> SqliteValue:
    match encoded:
        case {"$int": text} | {"$real": text} | {"$blob": text}:
            return _PLAIN[next(iter(encoded))](text)
        case {"$datetime": text, **rest}:
            return _date_and_time(text, rest, options or Options())
        case {"$time": text, **rest}:
            return f"{text.partition('.')[0]}{_fraction(text, rest, options or Options())}"
        case {"$value": nested}:
            return flat(nested)
        case None | str():
            return encoded
    raise ValueError(f"not a value of the case files: {encoded!r}")


def encoded(plain: SqliteValue) -> Any:
    """The other way round."""
    if isinstance(plain, int):
        return {"$int": str(plain)}
    if isinstance(plain, float):
        number: float | str = int(plain) if plain.is_integer() else plain
        return {"$real": number if math.isfinite(plain) else real_text(plain)}
    return {"$blob": plain.hex()} if isinstance(plain, bytes) else plain


def _date_and_time(text: str, about: dict[str, str], options: Options) -> str:
    if not options.timestamps_iso8601:
        return about.get("legacy", text.replace("T", " "))
    zone = "Z" if text.endswith("Z") else ""
    return f"{text[:19]}{_fraction(text.rstrip('Z'), about, options)}{zone}"


def _fraction(text: str, about: dict[str, str], options: Options) -> str:
    """The product's own digits, for a source of that precision."""
    most, usual = (_DIGITS[about.get(name, about["precision"])] for name in ("precision", "default_precision"))
    return fraction_writer(options, Resolution(most, usual, None))(text.partition(".")[2])
