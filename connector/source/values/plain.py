"""Values that one driver gives as another does, to SQLite values."""

from __future__ import annotations

from typing import Any

from connector.definitions.model import Options
from connector.values import SqliteValue


def integer(value: Any, options: Options) -> SqliteValue:
    return int(value)


def real(value: Any, options: Options) -> SqliteValue:
    return float(value)


def text(value: Any, options: Options) -> SqliteValue:
    """Also of a type that nobody knows."""
    return bytes(value) if isinstance(value, (bytes, bytearray)) else str(value)
