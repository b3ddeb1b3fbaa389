"""MongoDB values, from extended JSON (canonical or relaxed, version 2, and the older regular expressions and binaries).

Debezium's MongoDB connector writes documents so, and so does every driver.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from connector.definitions.model import Options
from connector.source import temporal
from connector.source.fractions import MONGO, fraction_writer
from connector.source.values.nested import flat
from connector.values import SqliteValue

MAX_DEPTH = 20  # of documents and lists inside a field's own
_UNDEFINED = object()
_UUID = 4  # subtype of a binary
_INTEGERS = range(-(1 << 63), 1 << 63)


def of_extended_json(value: Any, options: Options) -> SqliteValue:
    """The value of a top-level field. Raises ValueError where it is nested too deeply or is no extended JSON."""
    return flat(_without_undefined(_nested(value, options, 0)))


def _without_undefined(value: Any) -> Any:
    return None if value is _UNDEFINED else value


def _nested(value: Any, options: Options, depth: int) -> Any:
    match value:
        case dict():
            typed = _typed(value)
            return _document(value, options, depth) if typed is None else typed(value, options, depth)
        case list():
            _check(depth)
            return [_without_undefined(_nested(each, options, depth + 1)) for each in value]
        case bool():
            return int(value)
        case float():
            return _double(value)
    return value


def _document(value: Mapping[str, Any], options: Options, depth: int) -> dict[str, Any]:
    _check(depth)
    fields = ((name, _nested(each, options, depth + 1)) for name, each in value.items())
    return {name: each for name, each in fields if each is not _UNDEFINED}


def _check(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")


def _double(value: float) -> int | float:
    """Integral doubles are INTEGER where that can hold them."""
    return int(value) if value.is_integer() and int(value) in _INTEGERS else value


def _date(value: Any, options: Options) -> str:
    milliseconds = int(value["$numberLong"]) if isinstance(value, dict) else value
    day, clock, digits = (
        temporal.at_utc(milliseconds) if isinstance(milliseconds, str) else temporal.of_milliseconds(milliseconds)
    )
    between = "T" if options.timestamps_iso8601 else " "
    return f"{day}{between}{clock}{fraction_writer(options, MONGO)(digits)}Z"


def _binary(value: Any, subtype: str) -> str | bytes:
    content = b64decode(value["base64"] if isinstance(value, dict) else value)
    kind = int(value["subType"] if isinstance(value, dict) else subtype, 16)
    return str(UUID(bytes=content)) if kind == _UUID and len(content) == 16 else content


def _timestamp(value: Mapping[str, int]) -> int:
    """Seconds and a running number as one integer, as BSON keeps them."""
    return value["t"] << 32 | value["i"]


def _pointer(value: Mapping[str, Any], options: Options, depth: int) -> dict[str, Any]:
    database, point, collection = value["$ref"].partition(".")
    named = {"collection": collection if point else database, "oid": _nested(value["$id"], options, depth + 1)}
    return named | ({"db": database} if point else {}) | {"fields": {}}


def _code(value: Mapping[str, Any], options: Options, depth: int) -> dict[str, Any]:
    scope = value.get("$scope")
    return {"code": value["$code"], "scope": None if scope is None else _document(scope, options, depth + 1)}


def _regular_expression(value: Mapping[str, str]) -> dict[str, str]:
    return {"pattern": value["pattern"], "options": value["options"]}


Typed = Callable[[Mapping[str, Any], Options, int], Any]

# By the keys of the wrapping object.
_TYPED: dict[frozenset[str], Typed] = {
    frozenset({"$oid"}): lambda value, options, depth: value["$oid"],
    frozenset({"$uuid"}): lambda value, options, depth: value["$uuid"],
    frozenset({"$numberInt"}): lambda value, options, depth: int(value["$numberInt"]),
    frozenset({"$numberLong"}): lambda value, options, depth: int(value["$numberLong"]),
    frozenset({"$numberDouble"}): lambda value, options, depth: _double(float(value["$numberDouble"])),
    frozenset({"$numberDecimal"}): lambda value, options, depth: str(value["$numberDecimal"]),
    frozenset({"$date"}): lambda value, options, depth: _date(value["$date"], options),
    frozenset({"$binary"}): lambda value, options, depth: _binary(value["$binary"], ""),
    frozenset({"$binary", "$type"}): lambda value, options, depth: _binary(value["$binary"], value["$type"]),
    frozenset({"$timestamp"}): lambda value, options, depth: _timestamp(value["$timestamp"]),
    frozenset({"$symbol"}): lambda value, options, depth: value["$symbol"],
    frozenset({"$code"}): _code,
    frozenset({"$code", "$scope"}): _code,
    frozenset({"$dbPointer"}): lambda value, options, depth: _pointer(value["$dbPointer"], options, depth),
    frozenset({"$regularExpression"}): lambda value, options, depth: _regular_expression(value["$regularExpression"]),
    frozenset({"$regex", "$options"}): lambda value, options, depth: {
        "pattern": value["$regex"],
        "options": value["$options"],
    },
    frozenset({"$minKey"}): lambda value, options, depth: None,
    frozenset({"$maxKey"}): lambda value, options, depth: None,
    frozenset({"$undefined"}): lambda value, options, depth: _UNDEFINED,
}


def _typed(value: Mapping[str, Any]) -> Typed | None:
    """How a wrapping object is read; None for a document."""
    return _TYPED.get(frozenset(value)) if len(value) <= 2 else None
