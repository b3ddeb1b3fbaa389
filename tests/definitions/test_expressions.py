"""What expressions give: the closures against SQLite where both mean the same, and the places where they do not."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from connector.definitions.expressions import ABSENT, compile_column, compile_condition, compile_value
from connector.definitions.model import Options, Request, _evaluation
from connector.errors import BadConfig, BadRecord
from connector.values import SqliteValue

CLOSURES, SQLITE = Options(fixed_json_extract=True), Options(fixed_json_extract=True, engine="sqlite")
EDITION_1 = Options()

_integers = st.integers(-(2**31), 2**31)
_reals = st.one_of(st.integers(-1000, 1000).map(lambda n: n / 8), st.sampled_from([0.0, 1e21, -1e-7, 2.0**53]))
_texts = st.text(st.characters(codec="utf-8", max_codepoint=0xD7FF, exclude_characters="\0"), max_size=6)
_numeric_texts = st.from_regex(r"\A ?[+-]?[0-9]{1,9}(\.[0-9]{1,3})?(x[a-z ]*)?\Z")
_values = st.one_of(st.none(), _integers, _reals, _texts, _numeric_texts)
_numbers = st.one_of(st.none(), _integers, _reals)
_names = st.text("abcé_ ", min_size=1, max_size=3)
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), _texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_names, inner, max_size=3)),
    max_leaves=8,
)


def both(expression: list[Any], row: dict[str, SqliteValue]) -> tuple[SqliteValue, SqliteValue]:
    """What either engine gives."""
    return compile_value(expression, CLOSURES)(row), compile_value(expression, SQLITE)(row)


def assert_same(expression: list[Any], **row: SqliteValue) -> None:
    ours, theirs = both(expression, row)
    assert (type(ours), ours) == (type(theirs), theirs)


A, B, C = ["column", "a"], ["column", "b"], ["column", "c"]


@given(st.sampled_from(["=", "!=", "<", "<=", "is"]), _values, _values)
def test_comparisons(operator: str, a: SqliteValue, b: SqliteValue) -> None:
    assert_same([operator, A, B], a=a, b=b)


@given(st.sampled_from(["+", "-", "*", "/"]), st.one_of(_numbers, _numeric_texts), st.one_of(_numbers, _numeric_texts))
def test_arithmetic(operator: str, a: SqliteValue, b: SqliteValue) -> None:
    assert_same([operator, A, B], a=a, b=b)


@given(st.one_of(_values, st.binary(max_size=3)))
def test_functions_of_one_value(value: SqliteValue) -> None:
    for function in ("typeof", "upper", "lower"):
        assert_same(["call", function, A], a=value)
    assume(not isinstance(value, float))  # they print REAL in their own way
    for function in ("length", "hex"):
        assert_same(["call", function, A], a=value)


@given(st.one_of(st.none(), _integers, _numeric_texts), st.sampled_from(["text", "integer", "real", "blob"]))
def test_casts(value: SqliteValue, kind: str) -> None:
    assert_same(["cast", kind, A], a=value)


@given(_texts, st.integers(0, 8), st.one_of(st.none(), st.integers(-8, 8)))
def test_substring(text: str, start: int, length: int | None) -> None:
    bounds = [B] if length is None else [B, C]
    assert_same(["call", "substring", A, *bounds], a=text, b=start, c=length)


@given(_texts, _texts)
def test_text_of_two(one: str, other: str) -> None:
    assert_same(["call", "instr", A, B], a=one + other, b=other)
    assert_same(["||", A, B], a=one, b=other)


@given(_numbers, _values, _values)
def test_choices(condition: SqliteValue, one: SqliteValue, other: SqliteValue) -> None:
    assert_same(["call", "iif", A, B, C], a=condition, b=one, c=other)
    assert_same(["call", "ifnull", B, C], b=one, c=other)
    assert_same(["case", C, A, B], a=condition, b=one, c=other)
    assert_same(["case of", A, C, B, ["literal", 1]], a=condition, b=one, c=other)
    assert_same(["between", A, B, C], a=condition, b=one, c=other)
    assert_same(["in list", A, B, C], a=condition, b=one, c=other)


@given(_json, _names)
def test_members_of_json(document: Any, name: str) -> None:
    text = json.dumps({name: document}, ensure_ascii=False, separators=(",", ":"))
    for arrow in ("->", "->>"):
        assert_same([arrow, A, name], a=text)
        assert_same([arrow, A, "missing"], a=text)
        assert_same([arrow, ["->", A, name], 1], a=text)


@given(st.lists(st.one_of(_integers, _texts, st.none(), st.booleans()), max_size=4), st.one_of(_integers, _texts))
def test_membership_and_length_of_arrays(array: list[Any], value: SqliteValue) -> None:
    text = json.dumps(array)
    assume(None not in array)  # where one is NULL, SQLite does not know
    assert_same(["in", A, B], a=value, b=text)
    assert_same(["call", "json_array_length", B], b=text)


@given(_values, _values)
def test_conditions_hold_where_their_values_are_true(a: SqliteValue, b: SqliteValue) -> None:
    for options in (CLOSURES, SQLITE):
        for expression in (["=", A, B], ["<", A, B], ["is null", A], ["not", ["=", A, B]]):
            row = {"a": a, "b": b}
            holds = compile_condition(expression, options)(row)
            assert holds is (compile_value(expression, options)(row) == 1)


@pytest.mark.parametrize(
    ("expression", "ours", "theirs"),
    [
        (["not", ["literal", None]], 1, None),
        (["and", ["literal", 1], ["literal", None]], 0, None),
        (["||", ["literal", 2.0], ["literal", "x"]], "2x", "2.0x"),
        (["||", ["literal", 1e21], ["literal", ""]], "1e+21", "1.0e+21"),
        (["cast", "integer", ["literal", -2.5]], -3, -2),
        (["cast", "numeric", ["literal", "1e2"]], 100.0, 100),
        (["+", ["literal", 2**63 - 1], ["literal", 1]], 2**63, float(2**63)),
        (["call", "length", ["literal", "a😀b"]], 4, 3),
        (["call", "substring", ["literal", "hello"], ["literal", -10], ["literal", 8]], "hello", "hel"),
        (["->>", ["literal", "[1,2]"], "$[1]"], "[1,2]", 2),
        (["->>", ["literal", "[1,2]"], -1], None, 2),
        (["->", ["literal", '{"a":2.50}'], "a"], "2.5", "2.50"),
        (["call", "json_extract", ["literal", '{"a":1}'], ["literal", "$.a"], ["literal", "$.b"]], 1, "[1,null]"),
    ],
)
def test_where_the_engines_differ(expression: list[Any], ours: SqliteValue, theirs: SqliteValue) -> None:
    assert both(expression, {}) == (ours, theirs)


@pytest.mark.parametrize("operator", ["%", "&", "|", "<<", ">>"])
def test_operators_that_only_sqlite_has(operator: str) -> None:
    expression = [operator, ["literal", 7], ["literal", 2]]
    assert compile_value(expression, SQLITE)({}) == {"%": 1, "&": 2, "|": 7, "<<": 28, ">>": 1}[operator]
    with pytest.raises(BadRecord, match="Operator not supported"):
        compile_value(expression, CLOSURES)({})


@pytest.mark.parametrize(
    ("expression", "row"),
    [
        (["=", A, A], {"a": b"x"}),
        (["->", A, "x"], {"a": "{bad"}),
        (["->", A, "x"], {"a": '{"x":1,"x":2}'}),
        (["->", A, "x"], {"a": "[" * 100_000}),
        (["in", ["literal", 1], A], {"a": "{}"}),
        (["call", "json_keys", A], {"a": "[]"}),
        (["call", "uuid_blob", A], {"a": "no"}),
        (["call", "st_x", A], {"a": "no"}),
        (["call", "st_astext", A], {"a": "0107000000ffffffff"}),
    ],
)
def test_rows_that_fail(expression: list[Any], row: dict[str, SqliteValue]) -> None:
    with pytest.raises(BadRecord):
        compile_value(expression, CLOSURES)(row)


def test_sqlite_needs_every_column() -> None:
    with pytest.raises(BadRecord, match='no column "a"'):
        compile_value(A, SQLITE)({})
    with pytest.raises(BadRecord, match='no column "a"'):
        compile_value(["is null", A], SQLITE)({})


@pytest.mark.parametrize("options", [CLOSURES, SQLITE])
@pytest.mark.parametrize("expression", [["new kind", A], ["and", ["new kind"]]])
def test_a_plan_of_a_newer_release_is_refused(expression: list[Any], options: Options) -> None:
    with pytest.raises(BadConfig, match="unknown kind"):
        compile_value(expression, options)


def test_sqlite_refuses_what_it_cannot_compute_before_the_first_row() -> None:
    with pytest.raises(BadConfig, match="no such function: json_keys"):
        compile_value(["call", "json_keys", A], SQLITE)


@pytest.mark.parametrize("options", [CLOSURES, SQLITE])
def test_a_condition_may_have_thousands_of_parts(options: Options) -> None:
    condition = compile_condition(["or", *(["=", A, ["literal", n]] for n in range(3_000))], options)
    assert [condition({"a": n}) for n in (0, 2_999, 3_000)] == [True, True, False]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (A, ABSENT),
        (["call", "ifnull", ["literal", None]], ABSENT),
        (["call", "ifnull", A, B], 1),
        (["call", "iif", ["literal", 0], ["literal", 1]], ABSENT),
        (["call", "iif"], ABSENT),
        (["case", A, ["literal", 0], B], ABSENT),
        (["case", ["literal", None], ["literal", 0], B], None),
        (["case of", B, ["literal", 5], ["literal", 1], A], ABSENT),
        (["call", "upper", A], None),
        (["||", A, B], None),
    ],
)
def test_what_is_absent_is_not_null(expression: list[Any], value: object) -> None:
    assert compile_column(expression, CLOSURES)({"b": 1}) == value


REQUEST = Request(
    {"sub": 5, "role": None, "app": {"org": 2}, "parameters": {"n": 3.0, "r": 1.5, "t": True, "l": [1, False]}},
    {"a.b": 7, "a": {"b": 8}, "n": 10**30},
    {"list": "l1"},
)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (["token", "user_id"], 5),
        (["token", "n"], 3),
        (["token", "r"], 1.5),
        (["token", "t"], 1),
        (["token", "l"], "[1.0,0]"),
        (["token", "missing"], None),
        (["client", "a.b"], 7),
        (["client", "a"], '{"b":8.0}'),
        (["request", "parameter", "a.b"], 7),
        (["request", "user_id"], 5.0),
        (["auth", "user_id"], 5.0),
        (["->>", ["request", "jwt"], "role"], "null"),
        (["->>", ["request", "parameters"], "n"], 1e30),
        (["auth", "parameter", ["literal", "app"]], '{"org":2.0}'),
        (["auth", "parameter", ["literal", "$.app.org"]], 2.0),
        (["connection", "parameter", ["literal", "a.b"]], 7.0),
        (["connection", "parameter", ["literal", None]], None),
        (["subscription", "parameters"], '{"list":"l1"}'),
        (["subscription", "parameter", ["literal", "missing"]], None),
    ],
)
def test_what_a_request_says(expression: list[Any], value: SqliteValue) -> None:
    found = compile_value(expression, EDITION_1)({("request",): REQUEST})
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("options", [CLOSURES, SQLITE])
def test_what_table_functions_and_lookups_give(options: Options) -> None:
    environment = {("value", 0): 7, ("key", 1): "k", ("output", 2, "id"): "x"}
    expression = ["||", ["||", ["value", 0], ["key", 1]], ["output", 2, "id"]]
    assert compile_value(expression, options)(environment) == "7kx"


def test_threads_have_an_sqlite_each() -> None:
    value = compile_value(["call", "upper", A], SQLITE)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda n: value({"a": f"a{n}"}), range(200))) == [f"A{n}" for n in range(200)]


def test_the_evaluation_names_the_sqlite_that_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule T3: another SQLite may give other results."""
    before = CLOSURES.evaluation(), SQLITE.evaluation()
    monkeypatch.setattr("apsw.sqlite_lib_version", lambda: "another")
    assert (before[0] == CLOSURES.evaluation(), before[1] == SQLITE.evaluation()) == (True, False)


def test_an_evaluations_name_says_the_level_as_far_as_this_release_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule T3: what is deployed is known by its name, so that names never change."""
    assert Options().evaluation() == "98cfc2633b7b"
    monkeypatch.setattr("connector.definitions.model.EVALUATOR_LEVELS", (2, 1))
    plan = {"options": Options().plan()}
    assert Options.of_plan(plan) == Options.named(plan, Options().evaluation()) == Options(level=2)
    assert Options.named(plan, "98cfc2633b7b") == Options(level=1)
    assert Options.named(plan, Options(level=3).evaluation()) is None
    fewer = {name: value for name, value in Options().plan().items() if name != "custom_postgres_types"}
    older = _evaluation(fewer, 1)
    assert Options.named({"options": fewer}, older) == Options(level=1), "from before this option"
    sqlite = {"options": SQLITE.plan()}, SQLITE.evaluation()
    assert Options.named(*sqlite) == SQLITE
    monkeypatch.setattr("apsw.sqlite_lib_version", lambda: "another")
    assert Options.named(*sqlite) is None
