"""What holds for all definitions: equal text is equal evaluation, and no input makes `check` raise."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.definitions.check import check
from connector.definitions.evaluate import compile_part
from connector.definitions.model import Checked, Part, canonical_text
from connector.values import Row
from tests.definitions.generators import conditions, configs, rows


def checked(config: dict[str, Any]) -> Checked:
    result = check(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    assert result.config is not None, result.diagnostics
    return result


def parts(config: dict[str, Any]) -> list[Part]:
    found = checked(config).config
    assert found is not None
    return [part for definition in found.definitions for part in definition.parts]


def outcome(part: Part, row: Row) -> list[Any]:
    evaluator = compile_part(json.loads(json.dumps(part.plan)))
    return [evaluator(table, row) for table in ("public.t", "public.u")]


@settings(deadline=None)
@given(configs(), configs(), st.lists(rows, min_size=1, max_size=5))
def test_equal_canonical_text_is_equal_evaluation(one: dict[str, Any], other: dict[str, Any], some: list[Row]) -> None:
    """Law 1's premise: a kept version gives exactly what the wanted one would."""
    by_text: dict[str, Part] = {}
    for part in parts(one) + parts(other):
        twin = by_text.setdefault(part.canonical, part)
        for row in some:
            assert outcome(part, row) == outcome(twin, row)


@settings(deadline=None)
@given(st.permutations(["a = 1", "b < 2", "c IS NULL", "NOT (owner = 'x')"]), st.lists(rows, max_size=5))
def test_reordered_conditions_are_one_text(order: list[str], some: list[Row]) -> None:
    reference, shuffled = (
        parts({"bucket_definitions": {name: {"data": [f"SELECT id FROM t WHERE {' AND '.join(each)}"]}}})[0]
        for name, each in (("one", sorted(order)), ("other", order))
    )
    assert reference.canonical == shuffled.canonical
    assert [outcome(reference, row) for row in some] == [outcome(shuffled, row) for row in some]


@settings(deadline=None)
@given(conditions(), rows)
def test_a_condition_and_its_negation_share_the_rows(condition: str, row: Row) -> None:
    """AND / OR / NOT are two-valued: every row that raises no error passes exactly one of both."""
    config = {"bucket_definitions": {"b": {"data": [f"SELECT id FROM t WHERE {condition}"]}}}
    negated = {"bucket_definitions": {"b": {"data": [f"SELECT id FROM t WHERE NOT ({condition})"]}}}
    (given_rows, errors), (negated_rows, _) = (outcome(parts(each)[0], row)[0] for each in (config, negated))
    if not errors:
        assert len(given_rows) + len(negated_rows) == 1


@settings(deadline=None)
@given(configs())
def test_a_plan_survives_json(config: dict[str, Any]) -> None:
    for part in parts(config):
        assert canonical_text(json.loads(json.dumps(part.plan))) == part.canonical


@settings(deadline=None, max_examples=300)
@given(st.text(st.characters(codec=None), max_size=200))
@example("bucket_definitions: {a: {data: [SELECT")
@example("a: &a [*a, *a]")
@example("? [a]\n: b")
@example("bucket_definitions: !!python/object:os.system {}")
def test_no_text_makes_check_raise(text: str) -> None:
    result = check(text)
    assert (result.config is None) == any(found.severity == "fatal" for found in result.diagnostics)


WORDS = """
SELECT FROM WHERE AND OR NOT NULL IS IN LIKE BETWEEN CASE WHEN THEN END AS JOIN ON LEFT UNION WITH VALUES INSERT UPDATE
DISTINCT ALL EXISTS INTERVAL date ORDER BY GROUP LIMIT OVER WINDOW LATERAL TABLE ( ) [ ] , . ; :: -> ->> =
!= < * + - || % @> && #> ~ ? -- /* */ \\ $$ $1 1 1.5 1e5 'x' 'it''s' "q" E'\\n' U&'x'
id t bucket bucket.p token_parameters.x request.user_id() request.jwt() upper( json_each( CAST( ARRAY[ ANY( ROW(
"""
FRAGMENTS = st.lists(st.sampled_from(WORDS.split()), max_size=25).map(" ".join)


@settings(deadline=None, max_examples=400)
@given(FRAGMENTS, FRAGMENTS)
def test_no_sql_makes_check_raise(data: str, parameters: str) -> None:
    config = {"bucket_definitions": {"b": {"parameters": f"SELECT {parameters}", "data": [f"SELECT {data}", data]}}}
    text = yaml.safe_dump(config)
    for found in check(text).diagnostics:
        assert 1 <= found.span.line <= found.span.end_line <= text.count("\n") + 1
        assert "sqlglot" not in found.message
        assert found.report()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "[" * 100_000, "nested more than"),
        ("x" * 10_000_000, "at most 4,000,000 are read"),
        ("a: [" + "0," * 500_000 + "]", "more than 400,000 values"),
        ("bucket_definitions:\n  b:\n    data: [" + "SELECT id FROM t," * 1_001 + "]", "more than 1,000 queries"),
        ("bucket_definitions:\n  b:\n    data: [SELECT " + "(" * 1_000 + "1" + ")" * 1_000 + " FROM t]", "nested more"),
        ("bucket_definitions:\n  b:\n    data: [SELECT " + "NOT " * 4_000 + "a FROM t]", "nested too deeply"),
        ("bucket_definitions:\n  b:\n    data: [SELECT id FROM t WHERE " + "a = 1 AND " * 9_000 + "b]", "words"),
    ],
    ids=["nesting", "size", "values", "queries", "parentheses", "operators", "words"],
)
def test_what_is_too_much_has_a_clear_limit(text: str, message: str) -> None:
    result = check(text)
    assert result.config is None
    assert any(message in found.message for found in result.diagnostics), result.diagnostics


def test_a_yaml_bomb_costs_no_more_than_its_text() -> None:
    """Aliases are the same node again, and the queries behind them count wherever they are used."""
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    assert check(f"a0: &a0 [x]\n{levels}bucket_definitions: {{}}\n").config is None
    query = "SELECT id FROM t WHERE " + " AND ".join(["x" * 300_000 + " = 1"] * 3)
    definitions = "".join(f"  b{n}: *shared\n" for n in range(10_000))
    text = f"bucket_definitions:\n  first: &shared\n    data: [{query}]\n{definitions}"
    found = check(text).diagnostics
    assert any("characters in all" in one.message for one in found)
