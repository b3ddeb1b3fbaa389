"""Avro decoders, each spelled out in Python for one schema, as the encoders are in `schemas/encoder.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

from schemas.encoder import beside_null

Decode = Callable[[bytes], dict[str, Any]]

BROKEN = (IndexError, OverflowError, UnicodeDecodeError)  # what bytes of something else lead to


def _rest(record: bytes, at: int, number: int) -> tuple[int, int]:
    """A number of which two groups of seven bits are read, and where it ends."""
    number, shift = number & 16383, 14
    while shift < 64:
        group = record[at]
        at += 1
        if group < 128:
            return number | group << shift, at
        number |= (group & 127) << shift
        shift += 7
    raise OverflowError("a number takes more than 64 bits")


class _Body:
    """The text of a function in the making: `record` is read from `at` on."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {}
        self._indent = " " * 8
        self._numbers = count()

    def variable(self) -> str:
        return f"v{next(self._numbers)}"

    def constant(self, value: object) -> str:
        name = f"C{next(self._numbers)}"
        self.names[name] = value
        return name

    def line(self, statement: str) -> None:
        self.lines.append(self._indent + statement)

    def number(self) -> None:
        """`n` is then the next number, zigzag still."""
        self.line("n = record[at]; at += 1")
        with self.block("if n > 127:"):
            self.line("n = n & 127 | record[at] << 7; at += 1")
            self.line("if n > 16383: n, at = rest(record, at, n)")

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.line(head)
        self._indent += " " * 4
        yield
        self._indent = self._indent[4:]


def _boolean(body: _Body, schema: Any, value: str) -> None:
    body.line(f"{value} = record[at] != 0; at += 1")


def _long(body: _Body, schema: Any, value: str) -> None:
    body.number()
    body.line(f"{value} = n >> 1 ^ -(n & 1)")


def _string(body: _Body, schema: Any, value: str) -> None:
    body.number()
    body.line(f"{value} = record[at:(at := at + (n >> 1))].decode()")


def _bytes(body: _Body, schema: Any, value: str) -> None:
    body.number()
    body.line(f"{value} = record[at:(at := at + (n >> 1))]")


def _fixed(body: _Body, schema: Any, value: str) -> None:
    body.line(f"{value} = record[at:(at := at + {schema['size']})]")


def _enum(body: _Body, schema: Any, value: str) -> None:
    body.number()
    body.line(f"{value} = {body.constant(tuple(schema['symbols']))}[n >> 1]")


def _array(body: _Body, schema: Any, value: str) -> None:
    """Blocks of items until an empty one; a negative count is followed by the block's size, which is of no use here."""
    item = body.variable()
    body.line(f"{value} = []")
    with body.block("while True:"):
        body.number()
        body.line("if not n: break")
        body.line("length = n + 1 >> 1")
        with body.block("if n & 1:"):
            body.number()
        with body.block("for _ in range(length):"):
            _any(body, schema["items"], item)
            body.line(f"{value}.append({item})")


def _nullable(body: _Body, schema: Any, value: str) -> None:
    other = beside_null(schema)
    body.number()
    with body.block(f"if n == {schema.index('null') << 1}:"):
        body.line(f"{value} = None")
    with body.block("else:"):
        _any(body, other, value)


def _record(body: _Body, schema: Any, value: str) -> None:
    fields = {field["name"]: body.variable() for field in schema["fields"]}
    for field in schema["fields"]:
        _any(body, field["type"], fields[field["name"]])
    body.line(f"{value} = {{{', '.join(f'{name!r}: {variable}' for name, variable in fields.items())}}}")


TYPES: dict[str, Callable[[_Body, Any, str], None]] = {
    "array": _array,
    "boolean": _boolean,
    "bytes": _bytes,
    "enum": _enum,
    "fixed": _fixed,
    "int": _long,
    "long": _long,
    "record": _record,
    "string": _string,
}


def _any(body: _Body, schema: Any, value: str) -> None:
    """Read what the schema says into the variable `value`."""
    if isinstance(schema, list):
        _nullable(body, schema, value)
    else:
        TYPES[schema if isinstance(schema, str) else schema["type"]](body, schema, value)


def decoder(schema: Mapping[str, Any], start: int = 0) -> Decode:
    """The function from a record's bytes, of which the first `start` are passed over, to the record.

    It raises ValueError where they are no such record. What it knows of Avro is what `encoder` knows; LookupError too.
    """
    body = _Body()
    _any(body, schema, "found")
    text = [
        "def decode(record):",
        f"    at = {start}",
        "    try:",
        *body.lines,
        "    except BROKEN as error:",
        "        raise broken(record, at, error) from error",
        "    if at > len(record):",
        "        raise broken(record, at, None)",
        "    return found",
    ]
    names = body.names | {"BROKEN": BROKEN, "rest": _rest, "broken": partial(_broken, schema["name"])}
    exec(compile("\n".join(text), f"<decoder of {schema['name']}>", "exec"), names)
    decode: Decode = names["decode"]
    return decode


def _broken(name: str, record: bytes, at: int, error: Exception | None) -> ValueError:
    return ValueError(f"{len(record)} bytes are no {name}: at {at}: {error!r}")
