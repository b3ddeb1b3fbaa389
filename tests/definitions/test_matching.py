"""A client sees a row exactly when the WHERE holds for both (powersync.md 1.3 to 1.5): editions 1 and 2."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from connector.definitions.check import check
from connector.definitions.evaluate import compile_part
from connector.definitions.model import Checked, SyncConfig
from connector.definitions.request import Connection, Subscription, buckets
from connector.values import Row

VALUES = st.sampled_from(["u1", "u2", 1, 0])
ARRAYS = st.lists(VALUES, max_size=3).map(json.dumps)
ROWS = st.fixed_dictionaries(
    {"a": VALUES | st.none(), "b": VALUES | st.none(), "n": st.integers(0, 3), "arr": ARRAYS | st.none()}
)
Test = Callable[[Mapping[str, Any], Mapping[str, Any]], bool]  # row, token


@dataclass(frozen=True)
class Condition:
    """A WHERE as text, and what it means for a row and a client."""

    text: str
    holds: Test


def _equal(one: Any, other: Any) -> bool:
    """As SQLite compares, without affinity."""
    return one is not None and other is not None and isinstance(one, str) is isinstance(other, str) and one == other


def _among(value: Any, array: str | None) -> bool:
    return array is not None and any(_equal(value, each) for each in json.loads(array))


def _row(column: str) -> Condition:
    return Condition(f"n = {column}", lambda row, token: row["n"] == int(column))


ROW_CONDITIONS = st.sampled_from(["0", "1", "2"]).map(_row)


def matches(parameter: str, claim: str) -> st.SearchStrategy[Condition]:
    return st.sampled_from(
        [
            Condition(f"a = {parameter}", lambda row, token: _equal(row["a"], token.get(claim))),
            Condition(f"{parameter} = b", lambda row, token: _equal(row["b"], token.get(claim))),
            Condition(f"{parameter} IN arr", lambda row, token: _among(token.get(claim), row["arr"])),
        ]
    )


def both(one: Condition, other: Condition) -> Condition:
    return Condition(
        f"({one.text} AND {other.text})", lambda row, token: one.holds(row, token) and other.holds(row, token)
    )


def either(one: Condition, other: Condition) -> Condition:
    return Condition(
        f"({one.text} OR {other.text})", lambda row, token: one.holds(row, token) or other.holds(row, token)
    )


def negation(one: Condition) -> Condition:
    return Condition(f"(NOT {one.text})", lambda row, token: not one.holds(row, token))


def trees(leaves: st.SearchStrategy[Condition], *, negated: bool) -> st.SearchStrategy[Condition]:
    def grow(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
        grown = st.builds(both, inner, inner) | st.builds(either, inner, inner)
        return grown | st.builds(negation, inner) if negated else grown

    return st.recursive(leaves, grow, max_leaves=6)


def visible(config: SyncConfig, row: Row, token: Mapping[str, Any], stream: str | None = None) -> bool:
    """Whether the client gets a bucket that the row is in."""
    parts = [part for definition in config.definitions for part in definition.parts]
    found: dict[tuple[str, str], list[Any]] = {}
    inside = set()
    for part in parts:
        outputs, errors = compile_part(json.loads(json.dumps(part.plan)))("public.t", row)
        assert not errors
        for output in outputs:
            if part.kind == "bucket":
                inside.add(part.label + output.bucket)
            else:
                found.setdefault((part.label, output.bucket), []).extend(json.loads(output.data))
    subscriptions = [] if stream is None else [Subscription(stream)]
    connection = Connection(token=token, subscriptions=subscriptions)
    answer = buckets(config, connection, lambda label, key: found.get((label, key), []))
    assert not answer.failures
    return not inside.isdisjoint(bucket.name for bucket in answer.buckets)


REFUSALS = (
    "Left and right sides of OR must use the same parameters",
    "Cannot have multiple IN expressions on bucket parameters",
    "Cannot have multiple array input parameters",
    "Query must cover all bucket parameters",
    "Negations are not allowed here",
    "Stream subqueries can't use OR filters",
    "Unsupported subquery without parameter",
)


def agrees(checked: Checked, where: Condition, row: Row, token: Mapping[str, Any], stream: str | None = None) -> bool:
    """What is deployable means what it says; what is not is one of the conditions that the language lacks."""
    if checked.config is None:
        fatal = [one.message for one in checked.diagnostics if one.severity == "fatal"]
        return bool(fatal) and all(message.startswith(REFUSALS) for message in fatal)
    return visible(checked.config, {"id": "x", **row}, token, stream) == where.holds(row, token)


@settings(deadline=None, max_examples=60)
@given(trees(matches("bucket.p", "sub") | ROW_CONDITIONS, negated=False), ROWS, VALUES)
def test_data_queries(where: Condition, row: Row, user: Any) -> None:
    text = f"""
bucket_definitions:
  b:
    parameters: SELECT request.user_id() AS p
    data: ["SELECT id FROM t WHERE {where.text}"]
"""
    assert agrees(check(text), where, row, {"sub": user})


@settings(deadline=None, max_examples=60)
@given(trees(matches("request.user_id()", "sub") | ROW_CONDITIONS, negated=False), ROWS, VALUES)
def test_table_parameter_queries(where: Condition, row: Row, user: Any) -> None:
    text = f"""
bucket_definitions:
  b:
    parameters: SELECT id AS p FROM t WHERE {where.text}
    data: [SELECT id FROM t WHERE id = bucket.p]
"""
    assert agrees(check(text), where, row, {"sub": user})


CLAIMED = Condition("auth.parameter('admin')", lambda row, token: bool(token.get("admin")))
LISTED = Condition("a IN auth.parameter('list')", lambda row, token: _among(row["a"], json.dumps(token.get("list"))))
SHARED = Condition(
    "arr && auth.parameter('list')",
    lambda row, token: any(_among(each, row["arr"]) for each in token.get("list") or ()),
)
STREAM_CONDITIONS = (
    matches("auth.user_id()", "sub")
    | matches("auth.parameter('org')", "org")
    | ROW_CONDITIONS
    | st.sampled_from([CLAIMED, LISTED, SHARED])
)
TOKENS = st.fixed_dictionaries({"sub": VALUES, "admin": st.booleans(), "org": VALUES, "list": st.lists(VALUES)})


@settings(deadline=None, max_examples=60)
@given(trees(STREAM_CONDITIONS, negated=True), ROWS, TOKENS)
def test_streams(where: Condition, row: Row, token: Mapping[str, Any]) -> None:
    text = f"""
config: {{edition: 2}}
streams:
  s:
    query: SELECT id FROM t WHERE {where.text}
"""
    assert agrees(check(text), where, row, token, "s")


@settings(deadline=None, max_examples=60)
@given(trees(matches("auth.user_id()", "sub") | ROW_CONDITIONS, negated=False), ROWS, VALUES)
def test_subqueries(where: Condition, row: Row, user: Any) -> None:
    """The row is found through a lookup of its own table."""
    text = f"""
config: {{edition: 2}}
streams:
  s:
    query: SELECT id FROM t WHERE id IN (SELECT id FROM t WHERE {where.text})
"""
    assert agrees(check(text), where, row, {"sub": user}, "s")
