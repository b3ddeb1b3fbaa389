"""The clients of a node, and what wakes them: an index from bucket, lookup and client to the seats they concern.

A checkpoint costs what it changed, not who is connected. Everything here runs on the endpoint's event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from connector.deploy.catalog import Catalog
from connector.store.buckets import Changed, View
from connector.sync.served import Place, Served, served
from connector.sync.sessions import Session
from connector.sync.write_checkpoints import Client

Concern = tuple[Literal["bucket", "lookup", "client"], object]
Versions = tuple[int, ...]  # rising


@dataclass(eq=False, slots=True)
class Seat:
    """One connected client: its session, and what has happened since it last looked."""

    session: Session
    client: Client
    since: float
    touched: set[Place] = field(default_factory=set)
    asked_anew: bool = False
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    concerns: frozenset[Concern] = frozenset()
    versions: Versions = ()  # that it has buckets of
    behind_since: float | None = None  # None: it has all that it was told of
    sent_bytes: int = 0
    sent_ops: int = 0
    gone: bool = False  # the client has left

    def wake(self) -> None:
        self.woken.set()

    def taken(self) -> tuple[set[Place], bool]:
        """What has happened since the last look; from now on nothing has."""
        self.woken.clear()
        touched, asked_anew = self.touched, self.asked_anew
        self.touched, self.asked_anew = set(), False
        return touched, asked_anew


class Hub:
    """The newest checkpoint, and the seats."""

    def __init__(self) -> None:
        self.view: View | None = None
        self.served: Served | None = None
        self.closing = False
        self.seats: dict[Seat, None] = {}  # as they came
        self.holdings: Counter[Versions] = Counter()  # seats by the versions that they have buckets of
        self.moves = 0  # rises with all that is worth telling of the seats: no keep-alive, and no checkpoint by itself
        self._index: dict[Concern, set[Seat]] = {}
        self._catalog = -1
        self._moved = asyncio.Event()

    def exposed(self, view: View, changed: Changed) -> None:
        """A checkpoint has come: wake whom it concerns."""
        self.view = view
        if view.exposed.catalog.get("number", -1) != self._catalog:
            self._read(view)
        for place in changed.buckets:
            for seat in self._index.get(("bucket", place), ()):
                seat.touched.add(place)
                seat.wake()
        for place in changed.lookups:
            for seat in self._index.get(("lookup", place), ()):
                seat.asked_anew = True
                seat.wake()
        self._moved.set()
        self._moved = asyncio.Event()

    def _read(self, view: View) -> None:
        catalog = Catalog.from_record(view.exposed.catalog)
        self._catalog, before = catalog.number, self.served
        self.served = served(catalog, before)
        if self.served is not before:
            for seat in self.seats:
                seat.wake()

    def acknowledged(self, clients: Iterable[Client]) -> None:
        """Write checkpoints of these are in the newest checkpoint: wake who waits for them."""
        for client in clients:
            for seat in self._index.get(("client", client), ()):
                seat.wake()

    async def moved(self, within: float) -> None:
        """Wait for the next checkpoint or the node's end, at most so many seconds."""
        try:
            await asyncio.wait_for(self._moved.wait(), within)
        except TimeoutError:
            return

    def sit(self, seat: Seat) -> None:
        self.seats[seat] = None
        self.holdings[seat.versions] += 1
        self.moves += 1

    def leave(self, seat: Seat) -> None:
        self._move(seat, frozenset())
        self._count(seat, None)
        del self.seats[seat]
        self.moves += 1

    def watch(self, seat: Seat) -> None:
        """Let the seat be woken by what its session rests on now."""
        session = seat.session
        concerns: set[Concern] = {("bucket", one.place) for one in session.buckets.values()}
        concerns |= {("lookup", place) for place in session.lookups}
        concerns.add(("client", seat.client))
        if self._move(seat, frozenset(concerns)):
            self._count(
                seat, tuple(sorted({version for version, _ in (one.place for one in session.buckets.values())}))
            )

    def _move(self, seat: Seat, concerns: frozenset[Concern]) -> bool:
        """Whether that is another place in the index."""
        gone, fresh = seat.concerns - concerns, concerns - seat.concerns
        for topic in gone:
            watchers = self._index[topic]
            watchers.discard(seat)
            if not watchers:
                del self._index[topic]
        for topic in fresh:
            self._index.setdefault(topic, set()).add(seat)
        seat.concerns = concerns
        return bool(gone or fresh)

    def _count(self, seat: Seat, versions: Versions | None) -> None:
        """Let the seat be counted by other versions than before; None: no more."""
        self.holdings[seat.versions] -= 1
        if not self.holdings[seat.versions]:
            del self.holdings[seat.versions]
        if versions is not None:
            seat.versions = versions
            self.holdings[versions] += 1

    def close(self) -> None:
        """End all streams; clients come again, here or at another node."""
        self.closing = True
        for seat in self.seats:
            seat.wake()
        self._moved.set()
