"""JSON texts in the reference's own engine: numbers keep their kind, keys their order, a key stands there once."""

from __future__ import annotations

import json
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any, NoReturn

from connector.definitions.expressions.arithmetic import equal
from connector.definitions.expressions.scalars import text_of
from connector.errors import BadRecord
from connector.values import SqliteValue, real_text

_LARGEST_INDEX = (1 << 32) - 2


def parsed(text: str) -> Any:
    """The value of a JSON text. Raises BadRecord for what is none, and for a key with two values."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise BadRecord(f"JSON value expected but got {text[:20]!r}") from error


def text_of_json(value: Any) -> str:
    """A parsed value as compact JSON text; REAL always with a point or an exponent."""
    try:
        return _text(value)
    except RecursionError as error:
        raise BadRecord("JSON nested too deeply") from error


def scalar_of(value: Any, *, null: str | None) -> SqliteValue:
    """A parsed value as a column holds it: booleans as 1 and 0, arrays and objects as text, `null` for a null."""
    if value is None:
        return null
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, dict | list):
        return text_of_json(value)
    scalar: SqliteValue = value
    return scalar


def keys_of(path: str | int, *, fixed: bool) -> list[str | int]:
    """The keys that a path goes through: after `$` they are cut at points, otherwise only where not `fixed`."""
    if isinstance(path, int):
        return [path]
    if path.startswith("$"):
        return list(path.split(".")[1:])
    return [path] if fixed else list(path.split("."))


def follow(value: Any, keys: list[str | int]) -> tuple[bool, Any]:
    """Whether a path leads anywhere from a value, and where."""
    for key in keys:
        if isinstance(value, dict) and str(key) in value:
            value = value[str(key)]
        elif isinstance(value, list) and (index := _index(key, len(value))) is not None:
            value = value[index]
        else:
            return False, None
    return True, value


def arrow(path: str | int, *, fixed: bool) -> Callable[[SqliteValue], SqliteValue]:
    """`->`: what a path leads to, as JSON text."""
    keys = keys_of(path, fixed=fixed)

    def extract(source: SqliteValue) -> SqliteValue:
        found, value = _found(source, keys)
        return text_of_json(value) if found and (fixed or value is not None) else None

    return extract


def double_arrow(path: str | int, *, fixed: bool) -> Callable[[SqliteValue], SqliteValue]:
    """`->>`: what a path leads to, as a value."""
    keys = keys_of(path, fixed=fixed)
    null = None if fixed else "null"

    def extract(source: SqliteValue) -> SqliteValue:
        found, value = _found(source, keys)
        return scalar_of(value, null=null) if found else None

    return extract


def array_length(source: SqliteValue, path: SqliteValue, *, fixed: bool) -> int | None:
    """json_array_length: 0 for what is no array."""
    written = text_of(path)
    found, value = _found(source, [] if written is None else keys_of(written, fixed=fixed))
    if not found:
        return None
    return len(value) if isinstance(value, list) else 0


def object_keys(source: SqliteValue) -> str | None:
    """json_keys. Raises BadRecord for what is no object."""
    text = text_of(source)
    if text is None:
        return None
    value = parsed(text)
    if not isinstance(value, dict):
        raise BadRecord("Cannot call json_keys on a value that is not an object")
    return text_of_json(list(value))


def is_valid(source: SqliteValue) -> int:
    """json_valid."""
    text = text_of(source)
    try:
        return 0 if text is None else (parsed(text), 1)[1]
    except BadRecord:
        return 0


def contains(value: SqliteValue, array: SqliteValue) -> int | None:
    """`value IN array`. Raises BadRecord where the right side is no JSON array."""
    if value is None or array is None:
        return None
    return 1 if any(equal(value, scalar_of(each, null=None)) == 1 for each in array_of(array)) else 0


def overlaps(left: SqliteValue, right: SqliteValue) -> int | None:
    """`left && right` of two JSON arrays."""
    if left is None or right is None:
        return None
    known = [scalar_of(each, null=None) for each in array_of(right)]
    return 1 if any(equal(scalar_of(each, null=None), other) == 1 for each in array_of(left) for other in known) else 0


def array_of(source: SqliteValue) -> list[Any]:
    """The elements of a JSON array that is not NULL."""
    value = parsed(text_of(source) or "")
    if not isinstance(value, list):
        raise BadRecord("IN is only supported on JSON arrays")
    return value


def _found(source: SqliteValue, keys: list[str | int]) -> tuple[bool, Any]:
    text = text_of(source)
    value = None if text is None else parsed(text)
    return (False, None) if value is None else follow(value, keys)


def _index(key: str | int, length: int) -> int | None:
    if isinstance(key, str):
        if not _is_index(key):
            return None
        key = int(key)
    return key if 0 <= key < length else None


def _is_index(key: str) -> bool:
    """Whether a key is a number as arrays have them."""
    return key.isascii() and key.isdigit() and (key == "0" or key[0] != "0") and len(key) <= len(str(_LARGEST_INDEX))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Keys that look like an array's come first, by number: so are objects ordered where the reference runs."""
    found = dict(pairs)
    if len(found) < len(pairs):
        _refuse_second_values(pairs, found)
    if any(key[:1].isdigit() and _is_index(key) for key in found):
        indexes = sorted((key for key in found if _is_index(key) and int(key) <= _LARGEST_INDEX), key=int)
        found = {key: found[key] for key in [*indexes, *(key for key in found if key not in set(indexes))]}
    return found


def _refuse_second_values(pairs: list[tuple[str, Any]], found: dict[str, Any]) -> None:
    for key, value in pairs:
        if value != found[key]:
            raise ValueError(f"Duplicate key {key!r}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, float):
        text = real_text(value)
        return text if "." in text or "e" in text else f"{text}.0"
    if isinstance(value, dict):
        return "{" + ",".join([f"{encode_basestring(key)}:{_text(each)}" for key, each in value.items()]) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    return _CONSTANTS[value] if value is None or isinstance(value, bool) else str(value)


_CONSTANTS = {None: "null", True: "true", False: "false"}
