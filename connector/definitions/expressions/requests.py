"""The leaves of expressions on a request: its token, its parameters, those of a subscription (powersync.md 1.8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from connector.definitions.expressions.documents import double_arrow, scalar_of, text_of_json
from connector.definitions.expressions.scalars import text_of
from connector.definitions.model import Request
from connector.values import SqliteValue

REQUEST = ("request",)

Environment = Mapping[Any, Any]
Value = Callable[[Environment], SqliteValue]
Object = Callable[[Request], Mapping[str, Any]]

_OBJECTS: dict[str, Object] = {
    "auth": lambda request: request.token,
    "connection": lambda request: request.parameters,
    "subscription": lambda request: request.subscription,
}


def leaf(expression: Sequence[Any], compile_value: Callable[[Sequence[Any]], Value]) -> Value:
    """The closure of a request leaf; `compile_value` is for the arguments that some have."""
    kind, name, *arguments = expression
    if kind in ("token", "client"):
        return _typed(_token_parameters if kind == "token" else _OBJECTS["connection"], name)
    if kind == "request" and name == "parameter":
        return _typed(_OBJECTS["connection"], *arguments)
    if name == "user_id":
        return lambda environment: _user_id(environment[REQUEST])
    found = _OBJECTS["auth" if name == "jwt" else "connection" if kind == "request" else kind]
    if name == "parameter":
        return _member(found, compile_value(arguments[0]))
    return lambda environment: json_of(found(environment[REQUEST]))


def json_of(value: Any) -> str:
    """What a client says as JSON text, in which every number is REAL."""
    return text_of_json(_doubles(value))


def _token_parameters(request: Request) -> Mapping[str, Any]:
    parameters = request.token.get("parameters")
    known = parameters if isinstance(parameters, Mapping) else {}
    return {**known, "user_id": request.token.get("sub")}


def _typed(found: Object, name: str) -> Value:
    """A parameter by its name: integral numbers are INTEGER; booleans are 1 and 0, inside arrays and objects too."""

    def value(environment: Environment) -> SqliteValue:
        content = found(environment[REQUEST]).get(name)
        if isinstance(content, Mapping | list):
            return json_of(_numbers(content))
        if isinstance(content, float) and content.is_integer():
            return int(content)
        return scalar_of(content, null=None)

    return value


def _user_id(request: Request) -> SqliteValue:
    return scalar_of(_doubles(request.token.get("sub")), null=None)


def _member(found: Object, path: Value) -> Value:
    """`parameter(path)`: as `parameters() ->> path`."""

    def value(environment: Environment) -> SqliteValue:
        written = text_of(path(environment))
        if written is None:
            return None
        return double_arrow(written, fixed=True)(json_of(found(environment[REQUEST])))

    return value


def _doubles(value: Any) -> Any:
    """A JSON value with every number as a double."""
    if isinstance(value, Mapping):
        return {name: _doubles(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_doubles(each) for each in value]
    return float(value) if type(value) is int else value


class _Integer(int):
    """A boolean inside JSON, which prints as an integer."""


def _numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _numbers(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_numbers(each) for each in value]
    return _Integer(value) if isinstance(value, bool) else value
