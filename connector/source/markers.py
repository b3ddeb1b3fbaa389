"""Markers: logical messages in the source's log that say how far it had come at a client's request (rule V4).

A node emits one in a transaction of its own, under a prefix that is the app's. Such a message reaches every connector
of the database, and anybody may emit one: what cannot be read is nobody's marker.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import orjson

from connector.errors import BadRecord

LARGEST = 2**63 - 1
LONGEST = 16 * 1024  # bytes of a message's content


class Marker(NamedTuple):
    """A request of one client of one user; without a client it is the user's own."""

    user: str
    client: str | None
    id: int
    at: int  # commit time, ms


def prefix(app: str) -> str:
    """The prefix of an app's messages."""
    return f"syncline.{app}"


def opening(user: str, client: str | None) -> str:
    """A message's content up to the id, which with a closing brace makes it JSON; for a database of any encoding."""
    return json.dumps({"user": user, "client": client})[:-1] + ', "id": '


def key(user: str, client: str | None) -> str:
    """Canonical JSON of whose marker it is."""
    return orjson.dumps([user, client]).decode()


def read(content: bytes, at: int) -> Marker:
    """The marker in a message. Raises BadRecord."""
    if len(content) > LONGEST:
        raise BadRecord(f"{len(content)} bytes of content, {LONGEST} at most")
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise BadRecord(f"its content is no JSON: {error}") from error
    match found:
        case {"user": str(user), "client": str() | None as client, "id": number} if _is_id(number):
            return Marker(user, client, number, at)
    raise BadRecord("its content lacks a user, a client or an id")


def _is_id(number: Any) -> bool:
    return type(number) is int and abs(number) <= LARGEST
