"""The encoders that are spelled out write what fastavro writes, and refuse what is no record of their schema."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from schemas.encoder import encoder
from schemas.registry import NAMES, text_of

SCHEMAS = {name: json.loads(text_of(name)) for name in NAMES}
HEAD = b"\x00\x00\x00\x00\x07"
ENCODERS = {name: encoder(schema, HEAD) for name, schema in SCHEMAS.items()}
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
    "array": lambda s: st.lists(values(s["items"]), max_size=3),
    "record": lambda s: st.fixed_dictionaries(
        {f["name"]: values(f["type"]) for f in s["fields"] if "default" not in f},
        optional={f["name"]: values(f["type"]) for f in s["fields"] if "default" in f},
    ),
}
WRONG: dict[str, tuple[Any, ...]] = {
    "boolean": (None, "true", 2),
    "int": (None, "1", 1.5, 2**63),
    "long": (None, "1", 1.0, 2**63, -(2**63) - 1, 2**70),
    "string": (None, b"text", 1, "\ud800"),
    "bytes": (None, "text", 1, [b"x"]),
    "enum": (None, "ELSE", 0),
    "fixed": (None, b"short", "x" * 16, b"x" * 17),
    "array": (None, 1),
    "record": ("record", [], 1),
}


def values(schema: Any) -> st.SearchStrategy[Any]:
    """What fits a schema; fields with a default may be left out."""
    if isinstance(schema, list):
        return st.one_of([values(branch) for branch in schema])
    kind = schema if isinstance(schema, str) else schema["type"]
    return PLAIN[kind] if kind in PLAIN else MADE[kind](schema)


def written(schema: Any, record: Record) -> bytes:
    out = io.BytesIO()
    schemaless_writer(out, parse_schema(schema), record)
    return HEAD + out.getvalue()


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_equals_fastavro(name: str, data: st.DataObject) -> None:
    record = data.draw(values(SCHEMAS[name]))
    assert ENCODERS[name](record) == written(SCHEMAS[name], record)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_refuses_a_value_of_another_type(name: str, data: st.DataObject) -> None:
    root = [data.draw(values(SCHEMAS[name]))]
    place = data.draw(st.sampled_from(list(places(SCHEMAS[name], root, 0))))
    place.inside[place.key] = data.draw(
        st.sampled_from([w for w in WRONG[place.kind] if not (w is None and place.nullable)])
    )
    with pytest.raises(ValueError, match=f"a record does not fit {name}: "):
        ENCODERS[name](root[0])


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_refuses_a_record_without_a_field(name: str, data: st.DataObject) -> None:
    root = [data.draw(values(SCHEMAS[name]))]
    records = [p for p in places(SCHEMAS[name], root, 0) if p.kind == "record"]
    place = data.draw(st.sampled_from(records))
    required = [f["name"] for f in place.schema["fields"] if "default" not in f]
    del place.inside[place.key][data.draw(st.sampled_from(required))]
    with pytest.raises(ValueError, match=f"a record does not fit {name}: "):
        ENCODERS[name](root[0])


def test_names_the_field() -> None:
    with pytest.raises(ValueError, match=r"Answer: syncline\.Answer\.generation is '7'"):
        ENCODERS["Answer"]({"id": "a", "outcome": "accepted", "reason": "", "generation": "7"})


class Place(NamedTuple):
    """A value in a record: what holds it and where, its schema and type, and whether null would do as well."""

    inside: Any
    key: Any
    schema: Any
    kind: str
    nullable: bool


def places(schema: Any, inside: Any, key: Any, nullable: bool = False) -> Iterator[Place]:
    """All values of a record that are not null, itself first."""
    value = inside[key]
    if isinstance(schema, list):
        if value is not None:
            yield from places(next(branch for branch in schema if branch != "null"), inside, key, nullable=True)
        return
    kind = schema if isinstance(schema, str) else schema["type"]
    yield Place(inside, key, schema, kind, nullable)
    if kind == "record":
        for field in schema["fields"]:
            if field["name"] in value:
                yield from places(field["type"], value, field["name"])
    if kind == "array":
        for index in range(len(value)):
            yield from places(schema["items"], value, index)
