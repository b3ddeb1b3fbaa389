"""What a compiled plan makes of a row: alternatives, functions of JSON, wildcards, indexes, plan versions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connector.definitions.evaluate import compile_part
from connector.definitions.model import PLAN_VERSION
from connector.definitions.patterns import Place, expanded, place, reads
from connector.errors import BadConfig
from connector.values import Row
from tests.definitions.plans import alternative, bucket_plan, column, index_plan, query

TAGS = ["value", 0]


def buckets(plan: dict[str, Any], row: Row, table: str = "public.t") -> list[str]:
    outputs, errors = compile_part(json.loads(json.dumps(plan)))(table, row)
    assert not errors
    return [output.bucket for output in outputs]


def error(plan: dict[str, Any], row: Row) -> str:
    outputs, errors = compile_part(plan)("public.t", row)
    assert not outputs
    (text,) = errors
    return text


def lookups(plan: dict[str, Any], row: Row) -> dict[str, str]:
    outputs, errors = compile_part(plan)("public.t", row)
    assert not errors
    return {output.bucket: output.data for output in outputs}


# -- alternatives and functions ---------------------------------------------------------------------------------------


def test_each_alternative_puts_the_row_into_its_bucket_once() -> None:
    plan = bucket_plan(query(alternative(column("a")), alternative(column("b"))))
    assert buckets(plan, {"id": "1", "a": "x", "b": "y"}) == ['["x"]', '["y"]']
    assert buckets(plan, {"id": "1", "a": "x", "b": "x"}) == ['["x"]']
    assert buckets(plan, {"id": "1", "a": "x", "b": None}) == ['["x"]']


def test_what_is_given_twice_is_still_counted_twice() -> None:
    plan = bucket_plan(query(alternative(column("a")), alternative(column("a"))))
    evaluator = compile_part(plan)
    assert len(evaluator.every("public.t", {"a": "x"})[0]) == 2
    assert len(evaluator("public.t", {"a": "x"})[0]) == 1


def test_alternatives_fail_together() -> None:
    plan = bucket_plan(query(alternative(), alternative(TAGS, functions=[["json_each", column("tags")]])))
    assert error(plan, {"id": "1", "tags": "no json"}) == "Expected JSON string"


def test_two_queries_fail_apart() -> None:
    bad = alternative(TAGS, functions=[["json_each", column("tags")]])
    outputs, errors = compile_part(bucket_plan(query(), query(bad)))("public.t", {"id": "1", "tags": "no json"})
    assert ([output.bucket for output in outputs], len(errors)) == (["[]"], 1)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ('["a",1,2.5,2.0]', ['["a"]', "[1]", "[2.5]", "[2]"]),
        ('[true,false,[1],{"a":1.0}]', ["[1]", "[0]", '["[1]"]', '["{\\"a\\":1.0}"]']),
        ('{"x":"a","y":null}', ['["a"]', '["null"]']),
        ('"a"', ['["a"]']),
        ("7", ["[7]"]),
        ("[]", []),
        (None, []),
    ],
)
def test_json_each_gives_a_bucket_per_value(tags: str | None, expected: list[str]) -> None:
    plan = bucket_plan(query(alternative(TAGS, functions=[["json_each", column("tags")]])))
    assert buckets(plan, {"id": "1", "tags": tags}) == expected


def test_json_null_is_null_with_fixed_json_extract() -> None:
    plan = bucket_plan(query(alternative(TAGS, functions=[["json_each", column("tags")]])), fixed_json_extract=True)
    assert buckets(plan, {"id": "1", "tags": "[null,1]"}) == ["[1]"]


def test_keys_of_json_each_are_numbers_or_names() -> None:
    plan = bucket_plan(query(alternative(["key", 0], TAGS, functions=[["json_each", column("tags")]])))
    assert buckets(plan, {"tags": '["a","b"]'}) == ['[0,"a"]', '[1,"b"]']
    assert buckets(plan, {"tags": '{"x":"a"}'}) == ['["x","a"]']


@pytest.mark.parametrize("number", [5, 2.5, b"[]"])
def test_json_each_wants_text(number: Any) -> None:
    plan = bucket_plan(query(alternative(TAGS, functions=[["json_each", column("tags")]])))
    assert error(plan, {"tags": number}).startswith("Expected json_each to be called with a string, got ")


def test_the_sqlite_engine_takes_a_number_for_json() -> None:
    plan = bucket_plan(
        query(alternative(TAGS, functions=[["json_each", column("tags")]])), engine="sqlite", fixed_json_extract=True
    )
    assert buckets(plan, {"id": "1", "tags": 5}) == ["[5]"]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ('["a",1,2.0,2.5,null]', ['["a"]', "[1]", "[2]", "[2.5]", "[null]"]),
        ('[true,[1.0,2],{"a":null}]', ["[true]", "[[1,2]]", '[{"a":null}]']),
        ("[9007199254740993]", ["[9007199254740992]"]),
        (None, []),
    ],
)
def test_elements_keep_their_json_type(tags: str | None, expected: list[str]) -> None:
    plan = bucket_plan(query(alternative(TAGS, functions=[["elements", column("tags")]])))
    assert buckets(plan, {"id": "1", "tags": tags}) == expected


@pytest.mark.parametrize("tags", ["no json", "5", '{"a":1}', 5])
def test_elements_of_anything_but_an_array_fail(tags: Any) -> None:
    plan = bucket_plan(query(alternative(TAGS, functions=[["elements", column("tags")]])))
    assert error(plan, {"id": "1", "tags": tags})


def test_several_functions_are_combined() -> None:
    both = [["json_each", column("a")], ["json_each", column("b")]]
    plan = bucket_plan(query(alternative(["value", 0], ["value", 1], functions=both)))
    assert buckets(plan, {"a": '["x","y"]', "b": "[1,2]"}) == ['["x",1]', '["x",2]', '["y",1]', '["y",2]']


def test_a_function_may_use_an_earlier_one() -> None:
    nested = [["json_each", column("a")], ["json_each", ["value", 0]]]
    plan = bucket_plan(query(alternative(["value", 1], functions=nested)))
    assert buckets(plan, {"a": "[[1,2],[3]]"}) == ["[1]", "[2]", "[3]"]


def test_too_many_combinations_are_a_row_error() -> None:
    both = [["json_each", column("a")], ["json_each", column("b")]]
    plan = bucket_plan(
        query(alternative(["value", 0], functions=both, filters=[["=", ["value", 1], ["literal", "x"]]]))
    )
    array = json.dumps(list(range(400)))
    assert error(plan, {"a": array, "b": array}) == "its arrays give more than 100,000 combinations"


def test_filters_see_what_functions_give() -> None:
    only_x = [["=", TAGS, ["literal", "x"]], ["=", column("done"), ["literal", 0]]]
    plan = bucket_plan(query(alternative(functions=[["json_each", column("tags")]], filters=only_x)))
    assert buckets(plan, {"tags": '["x","y"]', "done": 0}) == ["[]"]
    assert buckets(plan, {"tags": '["y"]', "done": 0}) == []
    assert buckets(plan, {"tags": "no json", "done": 1}) == []  # no function is asked


# -- columns ----------------------------------------------------------------------------------------------------------


def test_the_two_stars() -> None:
    row = {"id": "1", "_x": 2, "a": 3}
    for columns, expected in (
        ([["*"]], {"id": "1", "a": 3}),
        ([["**"]], {"id": "1", "_x": 2, "a": 3}),
        ([["a", ["literal", 0]], ["*"]], {"a": 0, "id": "1"}),
        ([["a", ["literal", 0]], ["**"]], {"a": 3, "id": "1", "_x": 2}),
    ):
        (output,), _ = compile_part(bucket_plan(query(columns=columns)))("public.t", row)
        assert json.loads(output.data) == expected
        assert output.id == "1"


# -- wildcards --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "table", "expected"),
    [
        ("public.t", "public.t", Place("public", "t")),
        ("public.t", "public.t2", None),
        ("public.log_%", "public.log_", Place("public", "log_", "")),
        ("public.log_%", "public.log_2", Place("public", "log_2", "2")),
        ("public.log_%", "public.lox", None),
        ("public.log_%", "other.log_2", None),
        ("public.%", "public.log", Place("public", "log", "log")),
        ("%.t", "tenant.t", Place("tenant", "t")),
        ("tenant_%.t", "tenant_1.t", Place("tenant_1", "t")),
        ("%.%", "a.b", Place("a", "b", "b")),
    ],
)
def test_a_pattern_ends_in_its_wildcard(pattern: str, table: str, expected: Place | None) -> None:
    assert place(pattern, table) == expected
    assert reads([pattern], table) is (expected is not None)


def test_known_tables_are_what_a_wildcard_means() -> None:
    assert expanded({"public.a", "public.log_%"}, ["public.log_1", "public.b", "x.log_1"]) == [
        "public.a",
        "public.log_1",
    ]


def test_metadata_is_that_of_the_rows_table() -> None:
    columns = [["s", ["schema"]], ["t", ["table"]], ["x", ["suffix"]]]
    evaluator = compile_part(bucket_plan(query(table="%.log_%", type_=None, columns=columns)))
    for table, expected in (
        ("a.log_1", {"s": "a", "t": "log_1", "x": "1"}),
        ("b.log_2", {"s": "b", "t": "log_2", "x": "2"}),
    ):
        (output,), _ = evaluator(table, {})
        assert (output.type, json.loads(output.data)) == (expected["t"], expected)
    assert evaluator.reads("a.log_")
    assert not evaluator.reads("a.t")
    assert evaluator.tables == {"%.log_%"}


def test_a_table_without_wildcard_has_no_suffix() -> None:
    (output,), _ = compile_part(bucket_plan(query(columns=[["x", ["suffix"]], ["t", ["table"]]])))("public.t", {})
    assert output.data == '{"x":null,"t":"t"}'


def test_metadata_may_be_a_key_and_a_filter() -> None:
    mine = alternative(["schema"], filters=[["=", ["suffix"], ["literal", "x"]]])
    plan = bucket_plan(query(mine, table="%.t_%"))
    assert buckets(plan, {}, "tenant.t_x") == ['["tenant"]']
    assert buckets(plan, {}, "tenant.t_y") == []


# -- indexes ----------------------------------------------------------------------------------------------------------


def test_an_index_lists_the_outputs_of_a_key() -> None:
    plan = index_plan([column("owner")], [["0", column("id")], ["1", column("n")]])
    assert lookups(plan, {"id": "a", "owner": "u", "n": 2.0}) == {'["u"]': '[{"0":"a","1":2}]'}


def test_functions_give_several_keys_or_several_outputs() -> None:
    each = [["json_each", column("members")]]
    row = {"id": "c", "members": '["a","b"]'}
    by_member = index_plan([TAGS], [["0", column("id")]], functions=each)
    assert lookups(by_member, row) == {'["a"]': '[{"0":"c"}]', '["b"]': '[{"0":"c"}]'}
    by_id = index_plan([column("id")], [["0", TAGS]], functions=each)
    assert lookups(by_id, row) == {'["c"]': '[{"0":"a"},{"0":"b"}]'}


@pytest.mark.parametrize(
    ("null_outputs", "expected"), [(False, {}), (True, {'["u"]': '[{"0":null}]'})], ids=["dropped", "kept"]
)
def test_a_null_output(null_outputs: bool, expected: dict[str, str]) -> None:
    plan = index_plan([column("owner")], [["0", column("id")]], null_outputs=null_outputs)
    assert lookups(plan, {"id": None, "owner": "u"}) == expected
    assert lookups(plan, {"id": b"x", "owner": "u"}) == {}


@pytest.mark.parametrize("owner", [None, b"x"])
def test_an_input_that_is_null_gives_no_lookup(owner: Any) -> None:
    assert lookups(index_plan([column("owner")], [["0", column("id")]]), {"id": "a", "owner": owner}) == {}


def test_an_index_may_have_no_input() -> None:
    assert lookups(index_plan([], [["0", column("id")]]), {"id": "a"}) == {"[]": '[{"0":"a"}]'}


def test_a_json_null_is_an_input() -> None:
    plan = index_plan([TAGS], [["0", column("id")]], functions=[["elements", column("m")]])
    assert lookups(plan, {"id": "a", "m": "[null,1]"}) == {"[null]": '[{"0":"a"}]', "[1]": '[{"0":"a"}]'}


# -- plans ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [None, 1, PLAN_VERSION + 1])
def test_another_plan_version_is_refused_by_name(version: int | None) -> None:
    with pytest.raises(BadConfig, match=f"plan version {version} .*knows {PLAN_VERSION}"):
        compile_part(bucket_plan(query()) | {"plan_version": version})


@pytest.mark.parametrize(
    "damage",
    [
        {"queries": [{"table": "public.t"}]},
        {"queries": [query(table="public.%", columns=[["a", ["no such kind"]]])]},
        {"queries": [query(alternative(functions=[["no such function", column("a")]]))]},
        {"kind": "other"},
        {"options": {"no_such_option": True}},
    ],
)
def test_a_damaged_plan_is_seen_when_it_is_compiled(damage: dict[str, Any]) -> None:
    with pytest.raises(BadConfig):
        compile_part(bucket_plan(query()) | damage)
