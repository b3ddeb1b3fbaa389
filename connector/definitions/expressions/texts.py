"""Functions on text in the reference's own engine, which counts in UTF-16 units."""

from __future__ import annotations

import base64
import re

from connector.definitions.expressions.scalars import blob_of, integer_of, text_of
from connector.errors import BadRecord
from connector.values import SqliteValue

_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)


def upper(value: SqliteValue) -> str | None:
    text = text_of(value)
    return None if text is None else text.upper()


def lower(value: SqliteValue) -> str | None:
    text = text_of(value)
    return None if text is None else text.lower()


def length(value: SqliteValue) -> int | None:
    """In bytes of a BLOB, otherwise in UTF-16 units of the text."""
    if isinstance(value, bytes):
        return len(value)
    text = text_of(value)
    return None if text is None else len(text) if text.isascii() else len(_units(text)) // 2


def substring(value: SqliteValue, *bounds: SqliteValue) -> str | None:
    """As SQLite's substr, but that a start before the beginning is the beginning."""
    text, limits = text_of(value), [integer_of(bound) for bound in bounds]
    if text is None or not limits or None in limits:
        return None
    start, *rest = (limit or 0 for limit in limits)
    units = text if text.isascii() else _units(text)
    width = 1 if text.isascii() else 2
    begin, end = _section(start, rest[0] if rest else None, len(units) // width)
    cut = units[begin * width : end * width]
    return cut if isinstance(cut, str) else cut.decode("utf-16-be", "surrogatepass")


def _section(start: int, count: int | None, total: int) -> tuple[int, int]:
    """Where a substring begins and ends: `start` counts from 1, or from the end where it is negative."""
    if start < 0:
        begin = max(0, total + start)
    else:
        begin = max(0, start - 1)
        if start == 0 and count is not None and count > 0:
            count -= 1
    if count is None:
        return begin, total
    return (max(0, begin + count), begin) if count < 0 else (begin, begin + count)


def instr(value: SqliteValue, part: SqliteValue) -> int | None:
    """Where `part` begins, from 1; 0 where it is not there."""
    if isinstance(value, bytes) and isinstance(part, bytes):
        return value.find(part) + 1
    text, wanted = text_of(value), text_of(part)
    if text is None or wanted is None:
        return None
    found = text.find(wanted)
    return found + 1 if found < 0 or text.isascii() else len(_units(text[:found])) // 2 + 1


def hexadecimal(value: SqliteValue) -> str:
    """The bytes of a value's text; empty for NULL."""
    return (blob_of(value) or b"").hex().upper()


def base64_text(value: SqliteValue) -> str:
    """The bytes of a value's text; empty for NULL."""
    return base64.b64encode(blob_of(value) or b"").decode()


def uuid_blob(value: SqliteValue) -> bytes | None:
    """A UUID's 16 bytes. Raises BadRecord for what is none."""
    text = text_of(value)
    if text is None:
        return None
    if not _UUID.fullmatch(text):
        raise BadRecord("Cannot call uuid_blob on a non UUID value")
    return bytes.fromhex(text.replace("-", ""))


def type_name(value: SqliteValue) -> str:
    return _TYPES[type(value)]


_TYPES: dict[type, str] = {type(None): "null", int: "integer", float: "real", str: "text", bytes: "blob"}


def _units(text: str) -> bytes:
    return text.encode("utf-16-be", "surrogatepass")
