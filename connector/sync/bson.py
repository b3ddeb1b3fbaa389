"""BSON of what lines and requests hold: text, numbers, booleans, null, lists, objects (bsonspec.org, version 1.1)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_INT32, _INT64, _DOUBLE = struct.Struct("<i"), struct.Struct("<q"), struct.Struct("<d")
_NAMES = [f"{number}\0".encode() for number in range(1_000)]  # the keys of a list's elements


def document(fields: Mapping[str, Any]) -> bytes:
    """One object as a document."""
    return framed(_element(name.encode() + b"\0", value) for name, value in fields.items())


def documents(each: Iterable[bytes]) -> bytes:
    """A list of documents that are encoded already, as a list's content."""
    return framed(b"\x03" + _index(number) + one for number, one in enumerate(each))


def field(name: str, kind: bytes, content: bytes) -> bytes:
    """A field whose content is encoded already: `kind` b"\\x03" an object, b"\\x04" a list."""
    return kind + name.encode() + b"\0" + content


def framed(elements: Iterable[bytes]) -> bytes:
    """A document of fields that are encoded already."""
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
    return b"\x04", framed(_element(_index(number), one) for number, one in enumerate(values))


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


MAX_DEPTH = 64


def read(document: bytes) -> dict[str, Any]:
    """What a document says. Raises ValueError where it is none, or has a field of a type that JSON lacks."""
    try:
        found, end = _read(document, 0, len(document), 0)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError("it is cut off or not UTF-8") from error
    if end != len(document):
        raise ValueError("something follows its end")
    return found


def _read(given: bytes, at: int, limit: int, depth: int) -> tuple[dict[str, Any], int]:
    """The document at `at`, and where it ends."""
    end = at + _INT32.unpack_from(given, at)[0]
    if depth > MAX_DEPTH or not at + 5 <= end <= limit or given[end - 1] != 0:
        raise ValueError("a document in it has no end, or lies too deep")
    found: dict[str, Any] = {}
    at += 4
    while at < end - 1:
        kind, close = given[at], given.find(0, at + 1, end)
        if close < 0 or kind not in _DECODERS:
            raise ValueError(f"a field has the type 0x{kind:02x}, which is not known here")
        found[given[at + 1 : close].decode()], at = _DECODERS[kind](given, close + 1, end - 1, depth)
    if at != end - 1:
        raise ValueError("a field goes beyond its document")
    return found, end


def _read_text(given: bytes, at: int, limit: int, depth: int) -> tuple[str, int]:
    end = at + 4 + _INT32.unpack_from(given, at)[0]
    if not at + 4 < end <= limit or given[end - 1] != 0:
        raise ValueError("a text has no end")
    return given[at + 4 : end - 1].decode(), end


def _read_list(given: bytes, at: int, limit: int, depth: int) -> tuple[list[Any], int]:
    found, end = _read(given, at, limit, depth + 1)
    return list(found.values()), end


def _fixed(packed: struct.Struct) -> Callable[[bytes, int, int, int], tuple[Any, int]]:
    return lambda given, at, limit, depth: (packed.unpack_from(given, at)[0], at + packed.size)


_DECODERS: Mapping[int, Callable[[bytes, int, int, int], tuple[Any, int]]] = {
    0x01: _fixed(_DOUBLE),
    0x02: _read_text,
    0x03: lambda given, at, limit, depth: _read(given, at, limit, depth + 1),
    0x04: _read_list,
    0x08: _fixed(struct.Struct("<?")),
    0x0A: lambda given, at, limit, depth: (None, at),
    0x10: _fixed(_INT32),
    0x12: _fixed(_INT64),
}
