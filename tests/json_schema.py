"""As much of JSON Schema (draft 2020-12) as the sync config's schema uses; any other keyword is refused loudly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
_SILENT = {"$schema", "$defs", "title", "description", "default"}


class Schema:
    """A schema; `faults` are the places where a value breaks it, as `path: keyword`."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def faults(self, value: Any) -> list[str]:
        return list(self._faults(self._root, value, ""))

    def _faults(self, schema: Any, value: Any, path: str) -> Iterator[str]:
        if isinstance(schema, bool):
            yield from () if schema else (f"{path}: not allowed",)
            return
        for keyword, argument in schema.items():
            if keyword in ("then", "else"):
                assert "if" in schema
            elif keyword in ("if", "additionalProperties"):
                yield from _BESIDE[keyword](self, schema, value, path)
            elif keyword not in _SILENT:
                yield from _KEYWORDS[keyword](self, argument, value, path)

    def _conditional(self, schema: Mapping[str, Any], value: Any, path: str) -> Iterator[str]:
        branch = "else" if list(self._faults(schema["if"], value, path)) else "then"
        yield from self._faults(schema.get(branch, True), value, path)

    def _additional(self, schema: Mapping[str, Any], value: Any, path: str) -> Iterator[str]:
        for name in value if isinstance(value, dict) else ():
            if name not in schema.get("properties", {}):
                yield from self._faults(schema["additionalProperties"], value[name], f"{path}.{name}")

    def _reference(self, target: str, value: Any, path: str) -> Iterator[str]:
        schema: Any = self._root
        for step in target.removeprefix("#/").split("/"):
            schema = schema[step]
        yield from self._faults(schema, value, path)

    def _type(self, name: str, value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, _TYPES[name]) or (isinstance(value, bool) and name == "integer"):
            yield f"{path}: not of type {name}"

    def _properties(self, properties: Mapping[str, Any], value: Any, path: str) -> Iterator[str]:
        for name, schema in properties.items():
            if isinstance(value, dict) and name in value:
                yield from self._faults(schema, value[name], f"{path}.{name}")

    def _required(self, names: list[str], value: Any, path: str) -> Iterator[str]:
        yield from (f"{path}: {name} is missing" for name in names if isinstance(value, dict) and name not in value)

    def _items(self, schema: Any, value: Any, path: str) -> Iterator[str]:
        for number, item in enumerate(value if isinstance(value, list) else ()):
            yield from self._faults(schema, item, f"{path}[{number}]")

    def _one_of(self, schemas: list[Any], value: Any, path: str) -> Iterator[str]:
        if sum(not list(self._faults(schema, value, path)) for schema in schemas) != 1:
            yield f"{path}: oneOf"

    def _any_of(self, schemas: list[Any], value: Any, path: str) -> Iterator[str]:
        if all(list(self._faults(schema, value, path)) for schema in schemas):
            yield f"{path}: anyOf"

    def _all_of(self, schemas: list[Any], value: Any, path: str) -> Iterator[str]:
        for schema in schemas:
            yield from self._faults(schema, value, path)

    def _enum(self, values: list[Any], value: Any, path: str) -> Iterator[str]:
        if not any(type(value) is type(each) and value == each for each in values):
            yield f"{path}: none of {values}"

    def _const(self, wanted: Any, value: Any, path: str) -> Iterator[str]:
        yield from self._enum([wanted], value, path)

    def _minimum(self, limit: int, value: Any, path: str) -> Iterator[str]:
        if isinstance(value, int) and value < limit:
            yield f"{path}: below {limit}"

    def _maximum(self, limit: int, value: Any, path: str) -> Iterator[str]:
        if isinstance(value, int) and value > limit:
            yield f"{path}: above {limit}"


Check = Callable[[Schema, Any, Any, str], Iterator[str]]
_BESIDE: dict[str, Check] = {"if": Schema._conditional, "additionalProperties": Schema._additional}
_KEYWORDS: dict[str, Check] = {
    "$ref": Schema._reference,
    "type": Schema._type,
    "properties": Schema._properties,
    "required": Schema._required,
    "items": Schema._items,
    "oneOf": Schema._one_of,
    "anyOf": Schema._any_of,
    "allOf": Schema._all_of,
    "enum": Schema._enum,
    "const": Schema._const,
    "minimum": Schema._minimum,
    "maximum": Schema._maximum,
}
