"""Which buckets a client gets: reasons and priorities, lookups, keys that must agree, limits (powersync.md 1.6)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.definitions.model import Definition, Options
from connector.definitions.queriers import MAX_COMBINATIONS
from connector.definitions.request import MAX_BUCKETS, MAX_LOOKUPS, MAX_ROWS, Answer, Connection, Queriers, Subscription
from connector.definitions.stored import loaded, stored
from connector.errors import BadConfig, RequestRefused
from tests.definitions.plans import querier

USER = ["auth", "user_id"]
Rows = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]


def parameter(name: str) -> list[Any]:
    return ["subscription", "parameter", ["literal", name]]


def output(lookup: int, name: str = "0") -> list[Any]:
    return ["output", lookup, name]


def stream(name: str, *queriers: dict[str, Any], default: bool = False, priority: int = 3) -> Definition:
    return Definition(name, "stream", priority, default, (), queriers)


def ask(
    *definitions: Definition, rows: Rows | None = None, token: Mapping[str, Any] | None = None, **connection: Any
) -> Answer:
    found = rows or {}
    client = Connection(token or {"sub": "u1"}, **connection)
    return Queriers(definitions, Options()).answer(client, lambda index, key: found.get((index, key), ()))


def told(answer: Answer) -> dict[str, tuple[int, list[Any]]]:
    return {bucket.name: (bucket.priority, list(bucket.reasons)) for bucket in answer.buckets}


# -- reasons and priorities -------------------------------------------------------------------------------------------


def test_bucket_definitions_are_for_everybody() -> None:
    definition = Definition("b", "buckets", 2, True, (), (querier([USER], priority=2),))
    for defaults in (True, False):
        assert told(ask(definition, include_defaults=defaults)) == {'b["u1"]': (2, ["default"])}


def test_a_stream_is_for_who_subscribes() -> None:
    issues = stream("issues", querier([parameter("id")]))
    wanted = [Subscription("issues", {"id": "a"}), Subscription("nobody"), Subscription("issues", {"id": "b"})]
    assert told(ask(issues, subscriptions=wanted)) == {'b["a"]': (3, [0]), 'b["b"]': (3, [2])}
    assert told(ask(issues)) == {}


def test_a_default_stream_has_null_for_every_parameter() -> None:
    issues = stream("issues", querier([parameter("id")]), default=True)
    assert told(ask(issues)) == {}
    nulls = replace(issues, queriers=(querier([parameter("id")], nulls=True),))
    assert told(ask(nulls)) == {"b[null]": (3, ["default"])}
    assert told(ask(nulls, include_defaults=False)) == {}
    assert told(ask(nulls, include_defaults=False, subscriptions=[Subscription("issues")])) == {"b[null]": (3, [0])}


def test_a_subscription_comes_before_the_default() -> None:
    both = stream("s", querier([USER]), default=True)
    assert told(ask(both, subscriptions=[Subscription("s")])) == {'b["u1"]': (3, [0, "default"])}


def test_the_least_priority_counts_and_a_subscription_overrides() -> None:
    one = stream("s", querier([parameter("id")], priority=2))
    wanted = [Subscription("s", {"id": "a"}, priority=3), Subscription("s", {"id": "a"}, priority=1)]
    assert told(ask(one, subscriptions=wanted)) == {'b["a"]': (1, [0, 1])}
    assert told(ask(one, subscriptions=wanted[:1])) == {'b["a"]': (3, [0])}


def test_a_bucket_that_streams_share_is_one() -> None:
    first = stream("first", querier([USER], bucket="first|0"), default=True)
    other = stream("other", querier([USER], bucket="first|0", priority=1), default=True)
    (bucket,) = ask(first, other).buckets
    assert (bucket.name, bucket.definition, bucket.priority) == ('first|0["u1"]', "first", 1)
    assert bucket.reasons == ("default", "default")
    (bucket,) = ask(first, other, include_defaults=False, subscriptions=[Subscription("other")]).buckets
    assert (bucket.definition, bucket.priority) == ("other", 1)


def test_static_queriers_come_first() -> None:
    looked_up = querier([output(0)], lookups=[{"index": "i", "inputs": [USER]}], priority=1)
    both = stream("s", looked_up, querier([USER], priority=2), default=True)
    assert list(told(ask(both, rows={("i", '["u1"]'): [{"0": "x"}]}))) == ['b["u1"]', 'b["x"]']


# -- keys, filters, functions -----------------------------------------------------------------------------------------


def test_filters_on_the_request() -> None:
    admin = ["auth", "parameter", ["literal", "admin"]]
    only = stream("s", querier(filters=[["=", admin, ["literal", 1]]]), default=True)
    assert told(ask(only, token={"sub": "u", "admin": True})) == {"b[]": (3, ["default"])}
    assert told(ask(only, token={"sub": "u", "admin": False})) == {}


def test_functions_give_several_buckets_and_repeat_reasons() -> None:
    each = stream("s", querier([["value", 0]], functions=[["json_each", parameter("ids")]]))
    wanted = [Subscription("s", {"ids": ["a", "b", "a", None]})]
    assert told(ask(each, subscriptions=wanted)) == {'b["a"]': (3, [0, 0]), 'b["b"]': (3, [0]), 'b["null"]': (3, [0])}


@pytest.mark.parametrize("kind", ["elements", "any elements"])
def test_elements_of_a_request_need_no_array(kind: str) -> None:
    each = stream("s", querier([["value", 0]], functions=[[kind, parameter("ids")]], nulls=True))
    assert told(ask(each, subscriptions=[Subscription("s", {"ids": {"k": "v"}})])) == {}
    answer = ask(each, subscriptions=[Subscription("s", {"ids": "no json"})])
    assert told(answer) == {}
    assert [(one.definition, one.reason) for one in answer.failures] == ([("s", 0)] if kind == "elements" else [])


def test_a_failure_is_of_one_definition_and_reason() -> None:
    each = stream("s", querier([["value", 0]], functions=[["json_each", parameter("ids")]]), querier([USER]))
    wanted = [Subscription("s", {"ids": 1}), Subscription("s", {"ids": ["a"]})]
    answer = ask(each, subscriptions=wanted)
    assert told(answer) == {'b["u1"]': (3, [0, 1]), 'b["a"]': (3, [1])}
    (failure,) = answer.failures
    assert (failure.definition, failure.reason) == ("s", 0)
    assert failure.message.startswith("Error evaluating bucket ids: ")


def test_a_key_that_must_agree() -> None:
    same = stream("s", querier([USER, parameter("id")]))
    wanted = [Subscription("s", {"id": "u1"}), Subscription("s", {"id": "u2"})]
    assert told(ask(same, subscriptions=wanted)) == {'b["u1"]': (3, [0])}


# -- lookups ----------------------------------------------------------------------------------------------------------


def test_lookups_in_order() -> None:
    lookups = [{"index": "orgs", "inputs": [USER]}, {"index": "projects", "inputs": [output(0)]}]
    chained = stream("s", querier([output(1)], lookups=lookups), default=True)
    rows = {
        ("orgs", '["u1"]'): [{"0": "o1"}, {"0": "o2"}],
        ("projects", '["o1"]'): [{"0": "p1"}],
        ("projects", '["o2"]'): [{"0": "p1"}, {"0": "p2"}],
    }
    answer = ask(chained, rows=rows)
    assert told(answer) == {'b["p1"]': (3, ["default", "default"]), 'b["p2"]': (3, ["default"])}
    assert answer.lookups == set(rows)


def test_values_of_one_row_stay_together() -> None:
    pair = stream(
        "s", querier([output(0, "0")], [output(0, "1")], lookups=[{"index": "i", "inputs": []}]), default=True
    )
    rows = {("i", "[]"): [{"0": "a", "1": 1}, {"0": "b", "1": 2}, {"0": "a", "1": 1}]}
    assert told(ask(pair, rows=rows)) == {'b["a",1]': (3, ["default", "default"]), 'b["b",2]': (3, ["default"])}


def test_rows_that_agree_with_the_request_on_the_same_row_only() -> None:
    """A key fixed twice must not let the columns of two rows meet."""
    lookups = [{"index": "i", "inputs": [USER]}]
    both = querier([parameter("list"), output(0, "0")], [output(0, "1")], lookups=lookups)
    rows = {("i", '["u1"]'): [{"0": "l1", "1": "x"}, {"0": "l2", "1": "y"}]}
    answer = ask(stream("s", both), rows=rows, subscriptions=[Subscription("s", {"list": "l1"})])
    assert list(told(answer)) == ['b["l1","x"]']


def test_a_row_must_agree_with_itself() -> None:
    same = stream("s", querier([output(0, "0"), output(0, "1")], lookups=[{"index": "i", "inputs": []}]), default=True)
    assert told(ask(same, rows={("i", "[]"): [{"0": "a", "1": "b"}, {"0": "b", "1": "a"}]})) == {}
    rows = {("i", "[]"): [{"0": "a", "1": "a"}, {"0": "a", "1": "b"}]}
    assert told(ask(same, rows=rows)) == {'b["a"]': (3, ["default"])}


def test_reasons_are_counted_before_sources_are_intersected() -> None:
    """As the reference does it: the second row gives no bucket of its own, but the first one's once more."""
    lookups = [{"index": "i", "inputs": []}]
    both = stream("s", querier([output(0), parameter("list")], lookups=lookups))
    rows = {("i", "[]"): [{"0": "l1"}, {"0": "l2"}]}
    answer = ask(both, rows=rows, subscriptions=[Subscription("s", {"list": "l1"})])
    assert told(answer) == {'b["l1"]': (3, [0, 0])}


def test_a_null_input_finds_nothing() -> None:
    one = stream("s", querier(lookups=[{"index": "i", "inputs": [parameter("x")]}]))
    answer = ask(one, rows={("i", "[null]"): [{}]}, subscriptions=[Subscription("s")])
    assert (answer.buckets, answer.lookups) == ((), frozenset())


def test_a_lookup_is_asked_once_and_numbers_are_one() -> None:
    asked: Counter[tuple[str, str]] = Counter()

    def lookup(index: str, key: str) -> list[dict[str, Any]]:
        asked[index, key] += 1
        return [{"0": 1.0}]

    one = stream("s", querier([output(0)], lookups=[{"index": "i", "inputs": [parameter("n")]}]))
    wanted = [Subscription("s", {"n": 2}), Subscription("s", {"n": 2.0})]
    answer = Queriers([one], Options()).answer(Connection({}, subscriptions=wanted), lookup)
    assert (told(answer), asked) == ({"b[1]": (3, [0, 1])}, {("i", "[2]"): 1})


# -- limits -----------------------------------------------------------------------------------------------------------


def test_independent_lookups_do_not_multiply() -> None:
    """Four lookups of 200 rows each, none of which the bucket names: 1.6 thousand million combinations, one bucket."""
    lookups = [{"index": name, "inputs": [USER]} for name in "abcd"]
    rows = {(name, '["u1"]'): [{"0": n} for n in range(200)] for name in "abcd"}
    (bucket,) = ask(stream("s", querier([USER], lookups=lookups), default=True), rows=rows).buckets
    assert (bucket.name, set(bucket.reasons), len(bucket.reasons)) == ('b["u1"]', {"default"}, MAX_ROWS)


@pytest.mark.parametrize(
    ("count", "refused"), [(MAX_BUCKETS, False), (MAX_BUCKETS + 1, True), (50 * MAX_BUCKETS, True)]
)
def test_too_many_buckets_are_refused_by_name(count: int, refused: bool) -> None:
    many = stream("many", querier([["value", 0]], functions=[["json_each", parameter("ids")]]))
    wanted = [Subscription("many", {"ids": list(range(count))})]
    if not refused:
        assert len(ask(many, subscriptions=wanted).buckets) == count
        return
    with pytest.raises(RequestRefused, match=r'more than 1,000 buckets .* "many"'):
        ask(many, subscriptions=wanted)


def test_too_many_rows_are_refused_by_name() -> None:
    one = stream("s", querier(lookups=[{"index": "members#1", "inputs": []}]), default=True)
    assert ask(one, rows={("members#1", "[]"): [{}] * MAX_ROWS}).buckets
    with pytest.raises(RequestRefused, match=r"more than 1,000 parameter rows .* members#1"):
        ask(one, rows={("members#1", "[]"): [{}] * (MAX_ROWS + 1)})


def test_too_many_lookups_are_refused_before_they_are_asked() -> None:
    """A client may name any values, none of which finds a row."""
    asked: Counter[str] = Counter()

    def lookup(index: str, key: str) -> list[dict[str, Any]]:
        asked[index] += 1
        return []

    named = querier(
        [output(0)], lookups=[{"index": "i", "inputs": [["value", 0]]}], functions=[["json_each", parameter("ids")]]
    )
    queriers = Queriers([stream("s", named)], Options())
    for count in (MAX_LOOKUPS, MAX_LOOKUPS + 1):
        wanted = [Subscription("s", {"ids": list(range(count))})]
        if count <= MAX_LOOKUPS:
            assert len(queriers.answer(Connection({}, subscriptions=wanted), lookup).lookups) == count
            continue
        with pytest.raises(RequestRefused, match="more than 5,000 lookups"):
            queriers.answer(Connection({}, subscriptions=wanted), lookup)
    assert asked["i"] == 2 * MAX_LOOKUPS


def test_too_many_combinations_are_refused() -> None:
    lookups = [{"index": name, "inputs": [USER]} for name in "abc"]
    rows = {(name, '["u1"]'): [{"0": n} for n in range(300)] for name in "abc"}
    keys = [[output(0), output(1), output(2)]]
    with pytest.raises(RequestRefused, match=f"more than {MAX_COMBINATIONS:,} combinations"):
        ask(stream("s", querier(*keys, lookups=lookups), default=True), rows=rows)


# -- an oracle --------------------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", None])
rows_of = st.lists(st.fixed_dictionaries({"0": names, "1": names}), max_size=3)


@settings(deadline=None)
@given(
    st.fixed_dictionaries({(index, f'["{key}"]'): rows_of for index in "ij" for key in "ab"}),
    st.lists(st.sampled_from([parameter("p"), output(0, "0"), output(0, "1")]), min_size=1, max_size=1),
    st.lists(
        st.lists(
            st.sampled_from([parameter("p"), output(0, "0"), output(0, "1"), output(1, "0"), output(1, "1")]),
            min_size=1,
            max_size=2,
        ),
        max_size=2,
    ),
)
def test_a_client_gets_what_nested_loops_give(rows: Rows, inputs: list[Any], keys: list[list[Any]]) -> None:
    lookups = [{"index": "i", "inputs": [parameter("p")]}, {"index": "j", "inputs": inputs}]
    answer = ask(stream("s", querier(*keys, lookups=lookups)), rows=rows, subscriptions=[Subscription("s", {"p": "a"})])
    expected = set()
    for one, other in product(
        rows["i", '["a"]'], [row | {"of": key} for key in "ab" for row in rows["j", f'["{key}"]']]
    ):
        values = {"subscription": "a", **{f"0{n}": one[n] for n in "01"}, **{f"1{n}": other[n] for n in "01"}}

        def value(leaf: list[Any], values: Mapping[str, Any] = values) -> Any:
            return values["subscription" if leaf[0] == "subscription" else f"{leaf[1]}{leaf[2]}"]

        found = [{value(leaf) for leaf in key} for key in keys]
        if value(inputs[0]) == other["of"] and all(len(key) == 1 and None not in key for key in found):
            expected.add("b" + json.dumps([key.pop() for key in found], separators=(",", ":")))
    assert {bucket.name for bucket in answer.buckets} == expected


# -- as the catalog keeps it ------------------------------------------------------------------------------------------


def test_queriers_survive_the_catalog() -> None:
    definition = stream("s", querier([USER]), default=True, priority=1)
    options = Options(fixed_json_extract=True)
    assert loaded("s", 1, stored(definition, options)) == (definition, options)


@pytest.mark.parametrize("text", ["[]", "{}", '{"plan_version":1}', '{"plan_version":3}'])
def test_queriers_of_another_version_are_refused_by_name(text: str) -> None:
    with pytest.raises(BadConfig, match=r'plan version .* of the queriers of "s"'):
        loaded("s", 3, text)


def test_a_damaged_querier_is_refused_by_name() -> None:
    with pytest.raises(BadConfig, match='a querier of "s" is damaged'):
        ask(stream("s", {"bucket": "b"}))
