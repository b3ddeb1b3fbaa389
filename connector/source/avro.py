"""Avro schemas taken apart: named types written out, so that a piece of a schema can stand alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any, cast

from fastavro import parse_schema, schemaless_reader

Schema = Any  # JSON: a name, a union (list) or a map

_NAMED = ("record", "enum", "fixed", "error")


def full_name(schema: Mapping[str, Any], namespace: str) -> str:
    """The full name of a named type that stands inside `namespace`."""
    name = str(schema["name"])
    if "." in name:
        return name
    space = str(schema.get("namespace", namespace))
    return f"{space}.{name}" if space else name


def definitions(schema: Schema, namespace: str = "") -> dict[str, Schema]:
    """All named types in a schema, by full name, each as written with its full name."""
    found: dict[str, Schema] = {}
    _collect(schema, namespace, found)
    return found


def _collect(schema: Schema, namespace: str, found: dict[str, Schema]) -> None:
    if isinstance(schema, list):
        for branch in schema:
            _collect(branch, namespace, found)
    elif isinstance(schema, dict):
        if schema["type"] in _NAMED:
            name = full_name(schema, namespace)
            found[name] = schema
            namespace = name.rpartition(".")[0]
        for field in schema.get("fields", ()):
            _collect(field["type"], namespace, found)
        for inner in (schema.get("items"), schema.get("values")):
            if inner is not None:
                _collect(inner, namespace, found)
        if isinstance(schema["type"], (dict, list)):
            _collect(schema["type"], namespace, found)


def standalone(schema: Schema, known: Mapping[str, Schema], namespace: str = "") -> Schema:
    """The schema with each named type written out where it is first used, so that it needs no other."""
    return _write_out(schema, known, namespace, set())


def _write_out(schema: Schema, known: Mapping[str, Schema], namespace: str, written: set[str]) -> Schema:
    if isinstance(schema, list):
        return [_write_out(branch, known, namespace, written) for branch in schema]
    if isinstance(schema, str):
        name = schema if schema in known or "." in schema else f"{namespace}.{schema}"
        if name not in known:
            return schema
        return name if name in written else _write_out(known[name], known, name.rpartition(".")[0], written)
    out = dict(schema)
    if schema["type"] in _NAMED:
        name = full_name(schema, namespace)
        if name in written:
            return name
        written.add(name)
        namespace, _, out["name"] = name.rpartition(".")
        if namespace:
            out["namespace"] = namespace
    if "fields" in out:
        out["fields"] = [
            {**field, "type": _write_out(field["type"], known, namespace, written)} for field in out["fields"]
        ]
    for inner in ("items", "values"):
        if inner in out:
            out[inner] = _write_out(out[inner], known, namespace, written)
    if isinstance(out["type"], (dict, list)):
        out["type"] = _write_out(out["type"], known, namespace, written)
    return out


def raw(schema: Schema) -> Schema:
    """The schema without logical types, so that fastavro gives values as they are encoded."""
    if isinstance(schema, list):
        return [raw(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    out = {name: value for name, value in schema.items() if name != "logicalType"}
    if "fields" in out:
        out["fields"] = [{**field, "type": raw(field["type"])} for field in out["fields"]]
    for inner in ("items", "values"):
        if inner in out:
            out[inner] = raw(out[inner])
    if isinstance(out["type"], (dict, list)):
        out["type"] = raw(out["type"])
    return out


def record(name: str, fields: list[dict[str, Any]], known: Mapping[str, Schema], namespace: str = "") -> Schema:
    """A parsed record schema of some fields of a record in `namespace`; values come raw."""
    written: set[str] = set()
    plain = [
        {"name": field["name"], "type": raw(_write_out(field["type"], known, namespace, written))} for field in fields
    ]
    schema = {"type": "record", "name": name, "fields": plain}
    return parse_schema(cast(dict[str, Any], json.loads(json.dumps(schema))))


def inside(schema: Mapping[str, Any]) -> str:
    """The namespace that names within a top-level named type are relative to."""
    return full_name(schema, "").rpartition(".")[0]


def branches(schema: Schema) -> list[Schema]:
    """The branches of a union, or the one type."""
    return schema if isinstance(schema, list) else [schema]


NOTHING = parse_schema({"type": "record", "name": "Cut", "fields": []})


def read(body: BytesIO, schema: Schema) -> dict[str, Any]:
    """The next record of `body`."""
    return cast(dict[str, Any], schemaless_reader(body, schema, None))


def skip(body: BytesIO, schema: Schema) -> None:
    """Go past the next record of `body`, which must be named `Cut`, without making its values."""
    schemaless_reader(body, schema, NOTHING)
