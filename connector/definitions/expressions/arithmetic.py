"""Arithmetic and comparison of two values, in the reference's own engine (powersync.md 1.7)."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from connector.definitions.expressions.scalars import number_of, text_of
from connector.errors import BadRecord
from connector.values import SqliteValue

Binary = Callable[[SqliteValue, SqliteValue], SqliteValue]


def _arithmetic(compute: Callable[[Any, Any], int | float | None]) -> Binary:
    def operate(left: SqliteValue, right: SqliteValue) -> SqliteValue:
        a, b = number_of(left), number_of(right)
        return None if a is None or b is None else compute(a, b)

    return operate


def _divide(a: int | float, b: int | float) -> int | float | None:
    """Of two integers, rounded toward zero."""
    if b == 0:
        return None
    if isinstance(a, int) and isinstance(b, int):
        quotient = abs(a) // abs(b)
        return quotient if (a < 0) is (b < 0) else -quotient
    return a / b


def joined(left: SqliteValue, right: SqliteValue) -> str | None:
    """||"""
    a, b = text_of(left), text_of(right)
    return None if a is None or b is None else a + b


def _lacking(name: str) -> Binary:
    """An operator that edition 3 reads, but only its SQLite engine has."""

    def refuse(left: SqliteValue, right: SqliteValue) -> SqliteValue:
        raise BadRecord(f"Operator not supported: {name}")

    return refuse


def equal(left: SqliteValue, right: SqliteValue) -> int | None:
    """=, without any affinity."""
    if left is None or right is None:
        return None
    _refuse_blobs(left, right)
    return 1 if left == right else 0


def unequal(left: SqliteValue, right: SqliteValue) -> int | None:
    """!= of editions 1 and 2."""
    found = equal(left, right)
    return None if found is None else 1 - found


def same(left: SqliteValue, right: SqliteValue) -> int:
    """IS."""
    if left is None or right is None:
        return 1 if left is right else 0
    return equal(left, right) or 0


def _ordered(holds: Callable[[Any, Any], bool]) -> Callable[[SqliteValue, SqliteValue], int | None]:
    def compare(left: SqliteValue, right: SqliteValue) -> int | None:
        if left is None or right is None:
            return None
        _refuse_blobs(left, right)
        a, b = _rank(left), _rank(right)
        if a != b:
            return 1 if a < b else 0
        if isinstance(left, str) and isinstance(right, str):
            return 1 if holds(*_order(left, right)) else 0
        return 1 if holds(left, right) else 0

    return compare


def _order(left: str, right: str) -> tuple[str, str] | tuple[bytes, bytes]:
    """TEXT is ordered by UTF-16 units here."""
    if left.isascii() or right.isascii():
        return left, right
    return left.encode("utf-16-be", "surrogatepass"), right.encode("utf-16-be", "surrogatepass")


def _rank(value: SqliteValue) -> int:
    return 2 if isinstance(value, bytes) else 1 if isinstance(value, str) else 0


def _refuse_blobs(a: SqliteValue, b: SqliteValue) -> None:
    if isinstance(a, bytes) and isinstance(b, bytes):
        raise BadRecord("Comparing blobs is not supported currently")


less, less_or_equal = _ordered(operator.lt), _ordered(operator.le)


def between(value: SqliteValue, low: SqliteValue, high: SqliteValue) -> int | None:
    """BETWEEN: unknown only where no bound decides it."""
    above, below = less_or_equal(low, value), less_or_equal(value, high)
    if above == 0 or below == 0:
        return 0
    return None if above is None or below is None else 1


BINARY: dict[str, Binary] = {
    "+": _arithmetic(operator.add),
    "-": _arithmetic(operator.sub),
    "*": _arithmetic(operator.mul),
    "/": _arithmetic(_divide),
    "||": joined,
    "=": equal,
    "!=": unequal,
    "is": same,
    "<": less,
    "<=": less_or_equal,
    **{name: _lacking(name) for name in ("%", "&", "|", "<<", ">>")},
}
