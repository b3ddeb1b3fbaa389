"""Requests as they come: what is wrong is told in the reference's words (its recordings `req.*` and `cr.*`)."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.definitions.request import Subscription
from connector.sync.refusals import Refused
from connector.sync.requests import CheckpointRequest, StreamRequest, checkpoint_request, from_json, stream_request


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({"buckets": [{"name": 1}]}, "/buckets/0 must have required property 'after'"),
        ({"raw_data": "yes"}, "/raw_data: type must be boolean"),
        ({"streams": 5}, "/streams: type must be object"),
        (
            {"streams": {"include_defaults": True, "subscriptions": [{"parameters": {}}]}},
            "/streams/subscriptions/0 must have required property 'override_priority'",
        ),
        (
            {"streams": {"subscriptions": [{"stream": "s", "parameters": {}, "override_priority": 2**31}]}},
            "/streams/subscriptions/0/override_priority: type must be integer",
        ),
        ([], ": type must be object"),
        ({"client_id": "c" * 1_001}, "/client_id must NOT have more than 1000 characters"),
        ({"buckets": [{"name": "b", "after": "1"}] * 10_001}, "/buckets must NOT have more than 10000 items"),
        ({"buckets": [{"name": "b", "after": "x"}]}, "/buckets/0/after: must be the decimal number of an op"),
        ({"buckets": [{"name": "b", "after": "-1"}]}, "/buckets/0/after: must be the decimal number of an op"),
    ],
)
def test_what_is_wrong_with_a_stream_request(body: Any, details: str) -> None:
    with pytest.raises(Refused) as refused:
        stream_request(body)
    assert (refused.value.status, refused.value.code) == (400, "PSYNC_S2001")
    assert orjson.loads(refused.value.details or "") == [details]


def test_a_body_that_is_no_json() -> None:
    with pytest.raises(Refused) as refused:
        from_json(b"{bad")
    assert (refused.value.status, refused.value.code) == (400, "FST_ERR_CTP_INVALID_JSON_BODY")


def test_a_stream_request() -> None:
    body = {
        "buckets": [{"name": "b", "after": "22"}],
        "only": ["x"],
        "include_checksum": True,
        "raw_data": True,
        "parameters": {"a": 1},
        "client_id": "c",
        "app_metadata": {},
        "something_newer": 1,
        "streams": {
            "include_defaults": False,
            "subscriptions": [{"stream": "s", "parameters": None, "override_priority": 9}],
        },
    }
    assert stream_request(body) == StreamRequest({"b": 22}, True, {"a": 1}, "c", False, (Subscription("s", None, 9),))
    assert stream_request(from_json(b"")) == StreamRequest()


@pytest.mark.parametrize(("number", "read"), [("5", 5), (7, 7)])
def test_a_checkpoint_request(number: object, read: int) -> None:
    asked = checkpoint_request({"client_id": "c", "checkpoint_request_id": number})
    assert asked == CheckpointRequest("c", read)


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({"client_id": "c"}, [" must have required property 'checkpoint_request_id'"]),
        (
            {"client_id": "c", "checkpoint_request_id": "abc"},
            [
                '/checkpoint_request_id: pattern must match pattern "^-?[0-9]+$"',
                "/checkpoint_request_id: type must be integer",
                "/checkpoint_request_id: oneOf must match exactly one schema in oneOf",
            ],
        ),
    ],
)
def test_what_is_wrong_with_a_checkpoint_request(body: Any, details: list[str]) -> None:
    with pytest.raises(Refused) as refused:
        checkpoint_request(body)
    assert orjson.loads(refused.value.details or "") == details


_KEYS = st.sampled_from(
    (
        *("buckets", "name", "after", "raw_data", "client_id", "only", "parameters", "checkpoint_request_id"),
        *("streams", "subscriptions", "stream", "override_priority", "include_defaults"),
    )
)
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text() | st.just("1"),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(_KEYS | st.text(max_size=3), each, max_size=6),
)


@given(st.binary() | _ANY.map(orjson.dumps))
def test_no_body_breaks_anything(body: bytes) -> None:
    for read in (stream_request, checkpoint_request):
        try:
            read(from_json(body))
        except Refused as refused:
            assert 400 <= refused.status < 500
            assert orjson.dumps(refused.body())
