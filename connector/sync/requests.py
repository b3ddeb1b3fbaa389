"""The bodies of clients' requests, checked; what is wrong is told in the reference's words (powersync.md 4.1, 4.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from connector.definitions.request import Subscription
from connector.sync import bson
from connector.sync.refusals import Refused, invalid

MAX_BODY = 4 * 1024 * 1024  # bytes
MAX_SUBSCRIPTIONS = 1_000
MAX_HELD = 10_000  # buckets that a client has: ten times as many as it can get
MAX_CLIENT_ID = 1_000  # characters
MAX_OP_ID = 2**63 - 1
MAX_PRIORITY = 2**31 - 1

Path = str


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """`POST /sync/stream`: what the client has (bucket → the op id after which it wants more), and what it asks for."""

    buckets: Mapping[str, int] = field(default_factory=dict)
    raw_data: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    client_id: str | None = None
    include_defaults: bool = True
    subscriptions: tuple[Subscription, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckpointRequest:
    """`POST /sync/checkpoint-request`: the client's own, rising number."""

    client_id: str | None
    number: int


def from_json(body: bytes) -> Any:
    """What a body of JSON says; an empty body is an empty object. Raises Refused."""
    try:
        return orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError as error:
        raise Refused(
            400,
            "FST_ERR_CTP_INVALID_JSON_BODY",
            "Body is not valid JSON but content-type is set to 'application/json'",
            "FastifyError",
        ) from error


def from_bson(body: bytes) -> Any:
    """What a BSON document says, as older SDKs send it over WebSocket. Raises Refused."""
    try:
        return bson.read(body)
    except ValueError as error:
        raise Refused(400, "PSYNC_S2001", f"Request is not valid BSON: {error}", "ValidationError") from error


def stream_request(body: Any) -> StreamRequest:
    """Raises Refused, with the first thing that is wrong."""
    given = _object(body, "", ())
    for name, check in _STREAM_FIELDS.items():
        if name in given:
            check(given[name], f"/{name}")
    streams = given.get("streams", {})
    asked = streams.get("subscriptions", [])
    if len(asked) > MAX_SUBSCRIPTIONS:
        raise _wrong("/streams/subscriptions", f"must NOT have more than {MAX_SUBSCRIPTIONS} items")
    held = given.get("buckets", [])
    if len(held) > MAX_HELD:
        raise _wrong("/buckets", f"must NOT have more than {MAX_HELD} items")
    return StreamRequest(
        {each["name"]: int(each["after"]) for each in held},
        given.get("raw_data", False),
        given.get("parameters", {}),
        given.get("client_id"),
        streams.get("include_defaults", True),
        tuple(Subscription(one["stream"], one["parameters"], one["override_priority"]) for one in asked),
    )


def checkpoint_request(body: Any) -> CheckpointRequest:
    """Raises Refused, with the first thing that is wrong."""
    given = _object(body, "", ("checkpoint_request_id",))
    if "client_id" in given:
        _client_id(given["client_id"], "/client_id")
    number = given["checkpoint_request_id"]
    if not _whole(number) or not 0 <= int(number) <= MAX_OP_ID:
        path = "/checkpoint_request_id"
        raise invalid(
            _listed(
                f'{path}: pattern must match pattern "^-?[0-9]+$"',
                f"{path}: type must be integer",
                f"{path}: oneOf must match exactly one schema in oneOf",
            )
        )
    return CheckpointRequest(given.get("client_id"), int(number))


def _whole(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) < 21 and value.isascii() and value.removeprefix("-").isdigit()
    return isinstance(value, int) and not isinstance(value, bool)


def _listed(*wrong: str) -> str:
    return orjson.dumps(wrong).decode()


def _wrong(path: Path, what: str) -> Refused:
    return invalid(_listed(f"{path} {what}"))


def _typed(kind: type, name: str) -> Callable[[Any, Path], None]:
    def check(value: Any, path: Path) -> None:
        if not isinstance(value, kind):
            raise invalid(_listed(f"{path}: type must be {name}"))

    return check


_string, _boolean, _map = _typed(str, "string"), _typed(bool, "boolean"), _typed(dict, "object")


def _object(value: Any, path: Path, required: tuple[str, ...]) -> dict[str, Any]:
    _map(value, path)
    for name in required:
        if name not in value:
            raise _wrong(path, f"must have required property '{name}'")
    found: dict[str, Any] = value
    return found


def _each(check: Callable[[Any, Path], None]) -> Callable[[Any, Path], None]:
    def check_all(value: Any, path: Path) -> None:
        _typed(list, "array")(value, path)
        for number, one in enumerate(value):
            check(one, f"{path}/{number}")

    return check_all


def _bucket(value: Any, path: Path) -> None:
    bucket = _object(value, path, ("after", "name"))
    _string(bucket["after"], f"{path}/after")
    _string(bucket["name"], f"{path}/name")
    if not _whole(bucket["after"]) or not 0 <= int(bucket["after"]) <= MAX_OP_ID:
        raise invalid(_listed(f"{path}/after: must be the decimal number of an op"))


def _client_id(value: Any, path: Path) -> None:
    _string(value, path)
    if len(value) > MAX_CLIENT_ID:
        raise _wrong(path, f"must NOT have more than {MAX_CLIENT_ID} characters")


def client_id(value: str | None) -> str | None:
    """As a query has it. Raises Refused."""
    if value is not None:
        _client_id(value, "/client_id")
    return value


def _streams(value: Any, path: Path) -> None:
    streams = _object(value, path, ())
    if "include_defaults" in streams:
        _boolean(streams["include_defaults"], f"{path}/include_defaults")
    if "subscriptions" in streams:
        _each(_subscription)(streams["subscriptions"], f"{path}/subscriptions")


def _subscription(value: Any, path: Path) -> None:
    one = _object(value, path, ("override_priority", "parameters", "stream"))
    _string(one["stream"], f"{path}/stream")
    if one["parameters"] is not None:
        _map(one["parameters"], f"{path}/parameters")
    priority = one["override_priority"]
    if priority is not None and not (type(priority) is int and 0 <= priority <= MAX_PRIORITY):
        raise invalid(_listed(f"{path}/override_priority: type must be integer"))


_STREAM_FIELDS: Mapping[str, Callable[[Any, Path], None]] = {
    "buckets": _each(_bucket),
    "only": _each(_string),
    "include_checksum": _boolean,
    "raw_data": _boolean,
    "parameters": _map,
    "app_metadata": _map,
    "client_id": _client_id,
    "streams": _streams,
}
