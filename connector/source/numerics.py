"""Numbers, amounts and bit strings as texts with all their digits, from any of Debezium's forms of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from connector.source import printed
from connector.source.columns import Column

_SPECIAL = {"NAN": "NaN", "POSITIVE_INFINITY": "Infinity", "NEGATIVE_INFINITY": "-Infinity"}
_MAX_SCALE = 1000  # Postgres' own; Debezium gives a negative one as 2048 more
_MAX_BITS = 83_886_080  # of Postgres; `bit varying` without a length has more
_UNBOUNDED = (0, 131_089)  # the length of `numeric`, from a snapshot and from the stream


def decimal(column: Column) -> Callable[[bytes], str]:
    """Connect's Decimal: an integer, the scale in the schema."""
    scale = column.parameter("scale")
    written = _written(column)
    return lambda value: written(scaled(int.from_bytes(value, "big", signed=True), scale))


def variable_decimal(value: Mapping[str, Any]) -> str:
    """Debezium's VariableScaleDecimal, which has lost zeros at the end."""
    return scaled(int.from_bytes(value["value"], "big", signed=True), int(value["scale"]))


def scaled(unscaled: int, scale: int) -> str:
    if scale <= 0:
        return str(unscaled * 10**-scale)
    digits = f"{abs(unscaled):0{scale + 1}d}"
    return f"{'-' if unscaled < 0 else ''}{digits[:-scale]}.{digits[-scale:]}"


def text(column: Column) -> Callable[[str], str]:
    """A number in Debezium's `string` mode."""
    written = _written(column)
    return lambda value: _SPECIAL.get(value) or written(value)


def double(column: Column) -> Callable[[float], str]:
    """A number in Debezium's `double` mode: with the scale of its column, or as few digits as it needs."""
    bounded = column.source_parameter("length") not in _UNBOUNDED
    scale = column.source_parameter("scale") if bounded else 0
    places = f".{scale}f" if 0 < scale <= _MAX_SCALE else "f"
    if column.scalar == "money":
        return lambda value: printed.money(repr(value))

    def digits(value: float) -> str:
        return f"{Decimal(repr(value)).normalize():{places}}" if math.isfinite(value) else printed.float8(value)

    return digits


def _written(column: Column) -> Callable[[str], str]:
    if column.scalar == "money":
        return printed.money
    if column.source_parameter("scale") > _MAX_SCALE:
        return lambda digits: digits.partition(".")[0]
    return str


def bits(column: Column) -> Callable[[bytes], str]:
    """Debezium's bit strings: little-endian bytes, the length of `bit(n)` a parameter of the schema.

    Zeros at the front are not sent. Of `bit varying` the length is not either, so that they are lost.
    """
    length = column.parameter("length")
    width = 0 if column.scalar == "varbit" or length > _MAX_BITS else length
    return lambda value: f"{int.from_bytes(value, 'little'):0{width}b}"


def bit(value: bool) -> str:
    return "1" if value else "0"
