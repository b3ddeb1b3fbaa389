"""The encoders that are spelled out write what fastavro writes, and refuse what is no record of their schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.encoder import encoder
from schemas.registry import NAMES
from tests.schemas.records import HEAD, PARSED, SCHEMAS, values, written

ENCODERS = {name: encoder(schema, HEAD) for name, schema in SCHEMAS.items()}

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


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(data=st.data())
def test_equals_fastavro(name: str, data: st.DataObject) -> None:
    record = data.draw(values(SCHEMAS[name]))
    assert ENCODERS[name](record) == written(PARSED[name], record)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
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
@settings(max_examples=40)
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


@pytest.mark.parametrize("kind", ["float", ["null", "int", "string"], ["int", "string"], "Another"])
def test_knows_no_other_types(kind: Any) -> None:
    with pytest.raises(LookupError):
        encoder({"type": "record", "name": "R", "fields": [{"name": "a", "type": kind}]})
