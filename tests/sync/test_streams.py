"""Streams as they really run, several at once over nodes that lag: whole checkpoints only (rules V1 to V4, law 9)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.definitions.request import Subscription
from connector.oplog.ops import Op
from connector.position import OPS_PER_COMMIT
from connector.store.buckets import BucketStore, Changed, Exposed, View
from connector.sync import sessions
from connector.sync.lines import NDJSON
from connector.sync.requests import StreamRequest
from connector.sync.sessions import Session
from connector.sync.write_checkpoints import Client as Writer
from connector.sync.write_checkpoints import WriteCheckpoints
from tests.sync.client import Client
from tests.sync.desk import Desk
from tests.sync.test_sessions import CONFIG, change
from topologies import downstream
from topologies.downstream import Downstream, beats
from topologies.hub import Hub, Seat

Batch = tuple[list[Op], Mapping[int, str], Exposed]
Rows = set[tuple[str, str, str]]


class Left(Exception):
    """The client closes its connection."""


class Journal:
    """Stands in for a desk's store: what is exposed there, for any number of stores to take later."""

    def __init__(self, store: BucketStore) -> None:
        self._store = store
        self._added: list[tuple[list[Op], Mapping[int, str]]] = []
        self.batches: list[Batch] = []

    @property
    def exposed(self) -> Exposed:
        return self._store.exposed

    def add(self, ops: Iterable[Op], kinds: Mapping[int, str]) -> None:
        self._added.append((list(ops), kinds))
        self._store.add(*self._added[-1])

    def expose(self, exposed: Exposed) -> Changed:
        (added,) = self._added
        self._added.clear()
        self.batches.append((*added, exposed))
        return self._store.expose(exposed)

    def view(self) -> View:
        return self._store.view()

    def close(self) -> None:
        self._store.close()


@dataclass
class Node:
    """A store that takes the journal's batches when it is told to, and its hub."""

    journal: Journal
    store: BucketStore
    markers: list[dict[str, Any]]
    hub: Hub = field(default_factory=Hub)
    checkpoints: WriteCheckpoints = field(default_factory=WriteCheckpoints)
    taken: int = 0
    marked: int = 0

    def take(self) -> None:
        if self.taken < len(self.journal.batches):
            ops, kinds, exposed = self.journal.batches[self.taken]
            self.taken += 1
            self.store.add(ops, kinds)
            changed = self.store.expose(exposed)
            self.hub.exposed(self.store.view(), changed)
            self._answer()

    def mark(self) -> None:
        """A marker comes, before or after its checkpoint."""
        if self.marked < len(self.markers):
            self.checkpoints.add(self.markers[self.marked])
            self.marked += 1
            self._answer()

    def _answer(self) -> None:
        self.hub.acknowledged(self.checkpoints.answered(self.store.exposed.position))


@dataclass
class Person:
    """A client that connects, leaves at any line, and comes back to any node; it checks each whole checkpoint."""

    world: World
    user: str
    subscriptions: tuple[Subscription, ...]
    client: Client = field(default_factory=Client)
    written: dict[int, int] = field(default_factory=dict)  # write checkpoint → the commit that holds it
    newest: int | None = None  # acknowledged

    async def live(self) -> None:
        while not self.world.over:
            await self._connect(self.world.chance.choice(self.world.nodes))
            await asyncio.sleep(0)

    async def _connect(self, node: Node) -> None:
        positions = {each["name"]: int(each["after"]) for each in self.client.positions}
        session = Session(StreamRequest(positions, subscriptions=self.subscriptions), {"sub": self.user})
        view = node.hub.view
        if view is None or view.exposed.op_id < session.newest_position:
            return  # rule V3
        self.client.op_id, self.newest = 0, None
        seat = Seat(session, Writer(self.user, None), 0.0)
        stream = Downstream(
            node.hub,
            seat,
            form=NDJSON,
            write=self._receive,
            acknowledged=lambda position: node.checkpoints.acknowledged(seat.client, position),
            expires_at=self.world.now + self.world.chance.choice((5.0, 1e9)),
            clock=self.world.clock,
            beats=beats,
        )
        node.hub.sit(seat)
        try:
            await stream.run(stream.first_line())
        except Left:
            pass
        finally:
            node.hub.leave(seat)

    async def _receive(self, text: bytes) -> None:
        line = orjson.loads(text)
        self.client.take(line)
        if "checkpoint_complete" in line:
            self._check()
        for _ in range(self.world.chance.choice((0, 1, 3, 30) if "data" in line else (0, 20, 60))):
            await asyncio.sleep(0)
        if self.world.chance.random() < self.world.leaving:
            raise Left

    def _check(self) -> None:
        commit = self.client.op_id // OPS_PER_COMMIT
        assert self.client.applied == self.world.visible[commit][self.user], f"at commit {commit}"
        if self.client.write_checkpoint is not None:
            number = int(self.client.write_checkpoint)
            assert self.written[number] <= commit, "the write is not there yet"
            assert self.newest is None or number >= self.newest
            self.newest = number

    @property
    def is_current(self) -> bool:
        newest = self.world.visible[len(self.world.journal.batches)][self.user]
        return self.client.applied == newest and self.newest == max(self.written, default=None)


class World:
    """A desk, two nodes, some people, and what happens to them by chance."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        downstream.INTERRUPTIBLE_AFTER = self.chance.choice((1, 4, 1_000))
        self.desk = Desk(folder / "desk")
        self.journal = self.desk.store = Journal(self.desk.store)  # type: ignore[assignment]
        self.markers: list[dict[str, Any]] = []
        self.nodes = [Node(self.journal, BucketStore(folder / name), self.markers) for name in ("one", "two")]
        self.visible: dict[int, dict[str, Rows]] = {}
        self.now, self.over, self.leaving = 0.0, False, 0.05
        subscriptions = (Subscription("todos", {"list": "l1"}),)
        self.people = [Person(self, user, subscriptions) for user in ("u1", "u2", "u1")[: self.chance.randrange(1, 4)]]
        for number, user in ((7, "u1"), (8, "u2")):
            for todo in range(self.chance.randrange(12)):
                self.desk.write("public.todos", {"id": f"n{number}{todo}", "list_id": f"l{number}", "title": "x"})
            self.desk.write("public.lists", {"id": f"l{number}", "owner_id": user})
        self.desk.deploy(CONFIG)
        self.checkpoint()

    def clock(self) -> float:
        return self.now

    def checkpoint(self) -> None:
        self.desk.checkpoint()
        self.visible[len(self.journal.batches)] = {
            one.user: self.desk.visible({"sub": one.user}, one.subscriptions) for one in self.people
        }

    def write_checkpoint(self, user: str) -> None:
        """The coming checkpoint is the first that holds what the user has written."""
        position, number = len(self.journal.batches) + 1, len(self.markers) + 1
        self.markers.append({"user": user, "client": None, "id": number, "position": position})
        for one in self.people:
            if one.user == user:
                one.written[number] = position

    def happen(self) -> None:
        what, node = self.chance.random(), self.chance.choice(self.nodes)
        if what < 0.35:
            change(self.desk, self.chance)
        elif what < 0.55:
            self.checkpoint()
        elif what < 0.8:
            node.take()
        elif what < 0.87:
            node.mark()
        elif what < 0.93:
            self.write_checkpoint(self.chance.choice(self.people).user)
        else:
            self.now += self.chance.choice((1.0, 25.0, 40.0))

    def settle(self) -> None:
        """Nothing more happens: everybody gets everything."""
        self.leaving = 0.0
        self.checkpoint()
        for node in self.nodes:
            for _ in self.journal.batches:
                node.take()
            for _ in self.markers:
                node.mark()

    async def run(self) -> None:
        living = [asyncio.create_task(one.live()) for one in self.people]
        for _ in range(self.chance.randrange(10, 150)):
            self.happen()
            for _ in range(self.chance.choice((0, 1, 4, 12))):
                await asyncio.sleep(0)
        self.settle()
        for _ in range(20_000):
            if any(one.done() for one in living) or all(one.is_current for one in self.people):
                break
            await asyncio.sleep(0)
        self.over = True
        for node in self.nodes:
            node.hub.close()
        await asyncio.gather(*living)
        assert all(one.is_current for one in self.people)
        assert not any(node.hub.seats or node.hub._index for node in self.nodes)

    def close(self) -> None:
        for store in (self.desk.store, *(node.store for node in self.nodes)):
            store.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small portions, left at a newer checkpoint sooner or later."""
    monkeypatch.setattr(downstream, "PAUSE", 0.0)
    monkeypatch.setattr(downstream, "INTERRUPTIBLE_AFTER", 1)  # a world chooses another
    monkeypatch.setattr(sessions, "OPS_PER_LINE", 2)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(min_value=0, max_value=2**32))
def test_every_checkpoint_of_every_client_is_whole(impatient: None, seed: int) -> None:
    """Writes, deploys, compactions, lookups, interruptions, reconnects to a node behind or ahead, expiring tokens: at
    each complete checkpoint a client has exactly its rows, and what it has written where that is acknowledged."""
    with TemporaryDirectory() as folder:
        world = World(Path(folder), seed)
        asyncio.run(world.run())
        world.close()
