"""BSON of what sync lines hold: text, whole numbers, booleans, null, lists and objects (bsonspec.org, version 1.1)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_INT32, _INT64, _DOUBLE = struct.Struct("<i"), struct.Struct("<q"), struct.Struct("<d")
_NAMES = [f"{number}\0".encode() for number in range(1_000)]  # the keys of a list's elements


def document(fields: Mapping[str, Any]) -> bytes:
    """One object as a document."""
    return _framed(_element(name.encode() + b"\0", value) for name, value in fields.items())


def documents(each: Iterable[bytes]) -> bytes:
    """A list of documents that are encoded already, as a list's content."""
    return _framed(b"\x03" + _index(number) + one for number, one in enumerate(each))


def field(name: str, kind: bytes, content: bytes) -> bytes:
    """A field whose content is encoded already: `kind` b"\\x03" an object, b"\\x04" a list."""
    return kind + name.encode() + b"\0" + content


def framed(fields: Iterable[bytes]) -> bytes:
    """A document of fields that are encoded already."""
    return _framed(fields)


def _framed(elements: Iterable[bytes]) -> bytes:
    content = b"".join(elements)
    return _INT32.pack(len(content) + 5) + content + b"\0"


def _index(number: int) -> bytes:
    return _NAMES[number] if number < len(_NAMES) else f"{number}\0".encode()


def _element(name: bytes, value: Any) -> bytes:
    kind, content = _ENCODERS[type(value)](value)
    return kind + name + content


def text(value: str) -> bytes:
    """A text's content."""
    written = value.encode()
    return _INT32.pack(len(written) + 1) + written + b"\0"


def _text(value: str) -> tuple[bytes, bytes]:
    return b"\x02", text(value)


def whole(value: int) -> tuple[bytes, bytes]:
    """A number's kind and content."""
    return (b"\x10", _INT32.pack(value)) if -(2**31) <= value < 2**31 else (b"\x12", _INT64.pack(value))


def _list(values: Iterable[Any]) -> tuple[bytes, bytes]:
    return b"\x04", _framed(_element(_index(number), one) for number, one in enumerate(values))


_ENCODERS: Mapping[type, Callable[[Any], tuple[bytes, bytes]]] = {
    str: _text,
    int: whole,
    bool: lambda value: (b"\x08", b"\1" if value else b"\0"),
    type(None): lambda value: (b"\x0a", b""),
    float: lambda value: (b"\x01", _DOUBLE.pack(value)),
    dict: lambda value: (b"\x03", document(value)),
    list: _list,
    tuple: _list,
}
