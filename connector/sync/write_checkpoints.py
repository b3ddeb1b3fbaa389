"""Write checkpoints: which of a client's requests a checkpoint answers (rule V4).

A request becomes a marker in the source's log, and the marker a record with the position of its batch. A checkpoint at
that position or beyond holds every row committed before the marker, the client's own writes among them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any, NamedTuple

from connector.source.markers import LARGEST

MOST_CLIENTS = 200_000  # about 130 MB
MOST_OPEN = 8  # requests of one client that wait for a checkpoint at once


class Client(NamedTuple):
    """Whose write checkpoint it is: `client` is None where the request names none."""

    user: str
    client: str | None


class _Found(NamedTuple):
    position: int
    id: int


class WriteCheckpoints:
    """A fold of marker records, in the order of their positions.

    One thread adds; any thread may ask at the same time, as what is asked for is replaced, never changed.
    """

    def __init__(self, most_clients: int = MOST_CLIENTS) -> None:
        self._most = most_clients
        self._found: OrderedDict[Client, tuple[_Found, ...]] = OrderedDict()  # positions and ids rise; newest last
        self._awaited: deque[tuple[int, Client]] = deque()
        self._looked_at = 0

    def add(self, record: dict[str, Any]) -> None:
        """A Marker record. One with an id that is known, or lower, says nothing new."""
        client, found = Client(record["user"], record["client"]), _Found(record["position"], record["id"])
        before = self._found.get(client, ())
        if before and found.id <= before[-1].id:
            return
        self._found[client] = (*self._needed(before), found)
        self._found.move_to_end(client)
        self._awaited.append((found.position, client))
        if len(self._found) > self._most:
            self._found.popitem(last=False)  # who has asked for nothing for the longest time

    def acknowledged(self, client: Client, position: int) -> int | None:
        """The highest id that a checkpoint at `position` answers; None: none, or none that is still known."""
        for found in reversed(self._found.get(client, ())):
            if found.position <= position:
                return found.id
        return None

    def known(self, client: Client) -> int | None:
        """The highest id that has come through the log, answered by a checkpoint or not."""
        found = self._found.get(client)
        return found[-1].id if found else None

    def answered(self, position: int) -> set[Client]:
        """Whose acknowledged id has risen since the last call, now that the newest checkpoint is at `position`.

        A marker that came later than its checkpoint is among them.
        """
        self._looked_at = position
        clients = set()
        while self._awaited and self._awaited[0][0] <= position:
            clients.add(self._awaited.popleft()[1])
        return clients

    def _needed(self, found: tuple[_Found, ...]) -> tuple[_Found, ...]:
        """Without what a newer one has answered too, and without some where there are too many.

        The oldest stays, so that somebody who asks all the time gets an answer at all.
        """
        while len(found) > 1 and found[1].position < self._looked_at:
            found = found[1:]
        return found if len(found) < MOST_OPEN else (*found[: MOST_OPEN - 2], found[-1])


class Told:
    """Ids that clients were told and whose markers have not come through the log yet, the newest of each."""

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._ids: OrderedDict[Client, int] = OrderedDict()

    def add(self, client: Client, number: int) -> None:
        self._ids[client] = max(number, self._ids.pop(client, number))
        if len(self._ids) > self._most:
            self._ids.popitem(last=False)

    def highest(self, client: Client, known: int | None) -> int | None:
        """The highest id of a client: told, or `known` from the log."""
        told = self._ids.get(client)
        if told is None or (known is not None and known >= told):
            self._ids.pop(client, None)
            return known
        return told


def following(highest: int | None) -> int:
    """The least id that a new write checkpoint may have."""
    return 1 if highest is None else min(max(highest, 0) + 1, LARGEST - 1)


def needs_marker(wanted: int, known: int | None, highest: int | None) -> bool:
    """Whether a checkpoint request takes a marker: not where one of at least its id came through the log, or where
    the client is told a higher id than it asks for. What was told and has not come is emitted again.
    """
    return (known is None or known < wanted) and (highest is None or highest <= wanted)
