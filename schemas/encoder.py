"""Avro encoders, each spelled out in Python for one schema.

A writer that walks the schema with every record spends most of its time on the walk. `encoder` walks it once and gives
one function, which lines up the parts of a record's encoding and joins them.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

from fastavro import parse_schema
from fastavro.validation import ValidationError, validate

Encode = Callable[[Mapping[str, Any]], bytes]

UNFIT = (AttributeError, KeyError, OverflowError, TypeError, ValueError)  # what a value of another type leads to


class _Varints(dict[int, bytes]):
    """Integers, zigzag already, in groups of seven bits; the short ones are kept."""

    def __missing__(self, number: int) -> bytes:
        if number < 1 << 7:
            return self.setdefault(number, bytes((number,)))
        if number < 1 << 14:
            return self.setdefault(number, bytes((number & 127 | 128, number >> 7)))
        if number < 1 << 28:
            return FOLLOWED[number & 16383] + self[number >> 14]
        if number < 1 << 64:
            return FOLLOWED[number & 16383] + FOLLOWED[number >> 14 & 16383] + self[number >> 28]
        raise OverflowError("a number takes more than 64 bits")


class _Followed(dict[int, bytes]):
    """Two groups of seven bits that others follow."""

    def __missing__(self, number: int) -> bytes:
        return self.setdefault(number, bytes((number & 127 | 128, number >> 7 | 128)))


FOLLOWED = _Followed()
VARINT = _Varints()
BOOLEAN = {False: b"\x00", True: b"\x01"}
END = repr(b"\x00")  # of an array


class _Body:
    """The text of a function in the making. Parts that need no statement of their own go out together."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {"VARINT": VARINT, "BOOLEAN": BOOLEAN}
        self._parts = ["HEAD"]
        self._opening, self._closing = "parts = [", "]"
        self._indent = " " * 8
        self._numbers = count()

    def variable(self) -> str:
        return f"v{next(self._numbers)}"

    def constant(self, value: object) -> str:
        name = f"C{next(self._numbers)}"
        self.names[name] = value
        return name

    def add(self, *parts: str) -> None:
        """Expressions, each of which gives bytes; `v` is theirs to use."""
        self._parts += parts

    def line(self, statement: str) -> None:
        """It runs before the parts that were added last."""
        self.lines.append(self._indent + statement)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.flush()
        self.line(head)
        self._indent += " " * 4
        yield
        self.flush()
        self._indent = self._indent[4:]

    def flush(self) -> None:
        if self._parts:
            self.line(f"{self._opening}{', '.join(self._parts)},{self._closing}")
            self._parts = []
            self._opening, self._closing = "parts += (", ")"


def _boolean(body: _Body, schema: Any, value: str) -> None:
    body.add(f"BOOLEAN[{value}]")


def _long(body: _Body, schema: Any, value: str) -> None:
    body.add(f"VARINT[(v := {value}) << 1 ^ v >> 63]")


def _string(body: _Body, schema: Any, value: str) -> None:
    body.add(f"VARINT[len(v := {value}.encode()) << 1]", "v")


def _bytes(body: _Body, schema: Any, value: str) -> None:
    body.add(f"VARINT[len(v := {value}) << 1]", "v")


def _fixed(body: _Body, schema: Any, value: str) -> None:
    sizes = body.constant({schema["size"]: b""})  # any other size is an error
    body.add(f"{sizes}[len(v := {value})]", "v")


def _enum(body: _Body, schema: Any, value: str) -> None:
    symbols = body.constant({symbol: VARINT[index << 1] for index, symbol in enumerate(schema["symbols"])})
    body.add(f"{symbols}[{value}]")


def _array(body: _Body, schema: Any, value: str) -> None:
    items, item = body.variable(), body.variable()
    with body.block(f"if length := len({items} := {value}):"):
        body.add("VARINT[length << 1]")
        with body.block(f"for {item} in {items}:"):
            _any(body, schema["items"], item)
    body.add(END)


def beside_null(union: Any) -> Any:
    """What a value is that may be null. Raises LookupError for a union of anything else."""
    if len(union) != 2 or "null" not in union:
        raise LookupError(f"only null and one other type make a union here, not {union}")
    return next(branch for branch in union if branch != "null")


def _nullable(body: _Body, schema: Any, value: str) -> None:
    other = beside_null(schema)
    chosen = body.variable()
    with body.block(f"if ({chosen} := {value}) is None:"):
        body.add(repr(VARINT[schema.index("null") << 1]))
    with body.block("else:"):
        body.add(repr(VARINT[schema.index(other) << 1]))
        _any(body, other, chosen)


def _record(body: _Body, schema: Any, value: str) -> None:
    record = body.variable()
    body.line(f"{record} = {value}")
    for field in schema["fields"]:
        name = repr(field["name"])
        found = f".get({name}, {body.constant(field['default'])})" if "default" in field else f"[{name}]"
        _any(body, field["type"], record + found)


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
    """Add what encodes the expression `value` under the schema."""
    if isinstance(schema, list):
        _nullable(body, schema, value)
    else:
        TYPES[schema if isinstance(schema, str) else schema["type"]](body, schema, value)


def encoder(schema: Mapping[str, Any], head: bytes = b"") -> Encode:
    """The function from a record to `head` and its encoding. It raises ValueError for one that does not fit.

    Of all that Avro has, it knows what Syncline's own records are made of: `TYPES`, and null beside one of them.
    Raises LookupError for a schema with anything else.
    """
    body = _Body()
    _any(body, schema, "record")
    body.flush()
    text = [
        "def encode(record):",
        "    try:",
        *body.lines,
        "        return join(parts)",
        "    except UNFIT as error:",
        "        raise unfit(record, error) from error",
    ]
    names = body.names | {"HEAD": head, "UNFIT": UNFIT, "join": b"".join, "unfit": partial(_unfit, schema)}
    exec(compile("\n".join(text), f"<encoder of {schema['name']}>", "exec"), names)
    encode: Encode = names["encode"]
    return encode


def _unfit(schema: Mapping[str, Any], record: Any, error: Exception) -> ValueError:
    """Says which field it is."""
    wrong = repr(error)
    try:
        validate(record, parse_schema(dict(schema)))
    except ValidationError as found:
        wrong = "; ".join(f"{e.field} is {reprlib.repr(e.datum)}" for e in found.errors)
    return ValueError(f"a record does not fit {schema['name']}: {wrong}")
