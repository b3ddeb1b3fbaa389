"""A request of a case, answered by the definitions."""

from __future__ import annotations

from typing import Any

from connector.definitions.queriers import Lookup
from connector.definitions.request import Answer, Bucket, Connection, Queriers, Subscription
from tests.conformance.world import World


def answer(world: World, request: dict[str, Any], lookup: Lookup) -> Answer:
    return Queriers(world.config.definitions, world.options).answer(_connection(request), lookup)


def reasons(bucket: Bucket) -> list[Any]:
    """As the cases write them."""
    return [reason if reason == "default" else {"subscription": reason} for reason in bucket.reasons]


def _connection(request: dict[str, Any]) -> Connection:
    subscriptions = [
        Subscription(one["stream"], one.get("parameters"), one.get("override_priority"))
        for one in request.get("subscriptions", ())
    ]
    return Connection(
        request["token"], request.get("parameters") or {}, subscriptions, request.get("include_defaults", True)
    )
