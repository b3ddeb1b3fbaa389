"""Table-valued functions: a JSON text as rows of (key, value).

["json_each", e]      powersync.md 1.7: arrays give keys 0, 1, …, objects their keys, a scalar one row without key
["elements", e]       the elements of an array as JSON has them, NULL and booleans included (legacy, alpha)
["any elements", e]   the same; what is no JSON array has none (the request's side of a legacy lookup)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from connector.definitions.expressions import compile_value, documents
from connector.definitions.model import Options
from connector.errors import BadConfig, BadRecord
from connector.values import SqliteValue

JsonRow = tuple[SqliteValue, Any]  # key, value
TableFunction = Callable[[Mapping[Any, Any]], Iterable[JsonRow]]
_EXACT = 1 << 53


def compile_function(function: Sequence[Any], options: Options) -> TableFunction:
    """The closure that gives the function's rows for an environment. Text that is no JSON raises BadRecord."""
    kind, expression = function
    value = compile_value(expression, options)
    if kind == "json_each":
        return lambda environment: json_each(value(environment), options)
    rows_of = _ELEMENTS.get(kind)
    if rows_of is None:
        raise BadConfig(f"the plan has a function of unknown kind {kind!r}", hint="it was written by a newer release")
    return lambda environment: rows_of(value(environment))


def json_each(value: SqliteValue, options: Options) -> Iterator[JsonRow]:
    """The rows of `json_each(value)`."""
    if value is None:
        return
    if not isinstance(value, str):
        if options.engine == "sqlite" and not isinstance(value, bytes):
            yield None, value
            return
        raise BadRecord(f"Expected json_each to be called with a string, got {value!r}")
    found = _document(value, options)
    pairs: Iterable[tuple[SqliteValue, Any]]
    if isinstance(found, list):
        pairs = enumerate(found)
    else:
        pairs = found.items() if isinstance(found, dict) else [(None, found)]
    for key, content in pairs:
        yield key, _sql_value(content, options)


def elements(value: SqliteValue) -> Iterator[JsonRow]:
    """The elements of a JSON array, keys 0, 1, …; none for NULL. Anything else raises BadRecord."""
    if value is None:
        return iter(())
    found = _parsed(value, f"{value!r} is not valid JSON")
    if not isinstance(found, list):
        raise BadRecord("Not an array")
    return enumerate(map(_json_value, found))


def array_elements(value: SqliteValue) -> Iterator[JsonRow]:
    """The elements of a JSON array; of other JSON none. Text that is no JSON raises BadRecord."""
    found = None if value is None else _parsed(value, f"{value!r} is not valid JSON")
    return enumerate(map(_json_value, found)) if isinstance(found, list) else iter(())


def any_elements(value: SqliteValue) -> Iterator[JsonRow]:
    """The elements of a JSON array; of anything else none."""
    try:
        return array_elements(value)
    except BadRecord:
        return iter(())


_ELEMENTS: dict[str, Callable[[SqliteValue], Iterator[JsonRow]]] = {
    "elements": elements,
    "array elements": array_elements,
    "any elements": any_elements,
}


def _document(text: str, options: Options) -> Any:
    """Parsed as the engine's own operators do, so that keys stand in their order."""
    if options.engine == "sqlite":
        return _parsed(text, "malformed JSON")
    try:
        return documents.parsed(text)
    except BadRecord as error:
        raise BadRecord("Expected JSON string") from error


def _parsed(value: SqliteValue, otherwise: str) -> Any:
    try:
        return orjson.loads(value)  # type: ignore[arg-type]  # a number or a BLOB is no JSON text either
    except orjson.JSONDecodeError as error:
        raise BadRecord(otherwise) from error


def _sql_value(content: Any, options: Options) -> SqliteValue:
    if options.engine == "sqlite" and isinstance(content, dict | list):
        return orjson.dumps(content).decode()
    if options.engine == "js" and isinstance(content, int) and not isinstance(content, bool):
        return float(content)
    return documents.scalar_of(content, null=None if options.fixed_json_extract else "null")


def _json_value(content: Any) -> Any:
    """A parsed value as it prints in a bucket's name: numbers are doubles, integral ones without a point."""
    if isinstance(content, list):
        return [_json_value(each) for each in content]
    if isinstance(content, dict):
        return {name: _json_value(each) for name, each in content.items()}
    if isinstance(content, int) and abs(content) > _EXACT:
        return float(content)
    return int(content) if isinstance(content, float) and content.is_integer() and abs(content) < _EXACT else content
