"""Records of Syncline's own schemas, drawn at random, and what fastavro makes of them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

from fastavro import parse_schema, schemaless_writer
from hypothesis import strategies as st

from schemas.registry import NAMES, text_of

SCHEMAS = {name: json.loads(text_of(name)) for name in NAMES}
PARSED = {name: parse_schema(schema) for name, schema in SCHEMAS.items()}
HEAD = b"\x00\x00\x00\x00\x07"
Record = dict[str, Any]

LONGS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from(
    [s * 2**n + d for n in (6, 13, 27, 62) for s in (1, -1) for d in (-1, 0, 1)]
)
PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": LONGS,
    "string": st.text() | st.sampled_from(["x" * 63, "x" * 64, "é" * 5_000, "\U0001f600" * 20_000]),
    "bytes": st.binary() | st.just(b"\x00" * 9_000),
}
MADE: dict[str, Callable[[Any], st.SearchStrategy[Any]]] = {
    "enum": lambda s: st.sampled_from(s["symbols"]),
    "fixed": lambda s: st.binary(min_size=s["size"], max_size=s["size"]),
    "array": lambda s: st.lists(values(s["items"]), max_size=2),
    "record": lambda s: st.fixed_dictionaries(
        {f["name"]: values(f["type"]) for f in s["fields"] if "default" not in f},
        optional={f["name"]: values(f["type"]) for f in s["fields"] if "default" in f},
    ),
}


def values(schema: Any) -> st.SearchStrategy[Any]:
    """What fits a schema; fields with a default may be left out."""
    if isinstance(schema, list):
        return st.one_of([values(branch) for branch in schema])
    kind = schema if isinstance(schema, str) else schema["type"]
    return PLAIN[kind] if kind in PLAIN else MADE[kind](schema)


def written(parsed: Any, record: Record) -> bytes:
    """HEAD, and the record as fastavro writes it under a schema that it has parsed."""
    out = io.BytesIO()
    schemaless_writer(out, parsed, record)
    return HEAD + out.getvalue()
