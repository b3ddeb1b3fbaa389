"""The sync endpoint on a real socket, over a desk instead of a broker; tokens are `Bearer USER [SECONDS]`."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson

from connector.store.buckets import Changed, View
from connector.sync.refusals import unauthorized
from connector.sync.tokens import Token
from connector.sync.write_checkpoints import Client as Writer
from tests.sync.client import Client
from tests.sync.desk import Desk
from topologies.endpoint import Endpoint
from topologies.front import Front
from topologies.hub import Hub
from topologies.reception import Admission, Reception


class Anybody:
    """Lets in whoever says who they are."""

    async def admit(self, header: str | None, now: float) -> Token:
        words = (header or "").split()
        if len(words) < 2:
            raise unauthorized("PSYNC_S2106", "Authentication required")
        return Token({"sub": words[1]}, words[1], now + (float(words[2]) if len(words) > 2 else 3600))


class Marks:
    """Write checkpoints that are in a checkpoint as soon as a test says so."""

    def __init__(self) -> None:
        self.found: dict[Writer, int] = {}
        self.told: dict[Writer, int] = {}

    async def write_checkpoint(self, client: Writer) -> int:
        return await self.checkpoint_request(client, self.told.get(client, 0) + 1)

    async def checkpoint_request(self, client: Writer, wanted: int) -> int:
        self.told[client] = max(wanted, self.told.get(client, 0))
        return self.told[client]

    async def renew(self, client: Writer) -> None:
        raise AssertionError("no test is connected for so long")

    def acknowledged(self, client: Writer, position: int) -> int | None:
        return self.found.get(client)


class Node:
    """A desk that is served."""

    def __init__(self, desk: Desk, url: str, hub: Hub, front: Front, marks: Marks) -> None:
        self.desk, self.url, self.hub, self.front, self.marks = desk, url, hub, front, marks
        self.caught_up = True

    def checkpoint(self) -> None:
        """Expose what has gathered on the desk."""
        self.front.told(*self.desk.checkpoint())

    def empty_checkpoint(self, view: View) -> None:
        self.front.told(view, Changed(frozenset(), frozenset()))

    def acknowledge(self, client: Writer, number: int) -> None:
        self.marks.found[client] = number
        self.front.acknowledged([client])

    def close(self) -> None:
        self.front.close()

    def post(self, body: Any = None, user: str = "u1", **headers: str) -> httpx.Response:
        """The whole answer; of a stream it never ends."""
        return httpx.post(f"{self.url}/sync/stream", json=body, headers={"authorization": f"Token {user}"} | headers)

    @contextmanager
    def stream(self, body: Any = None, user: str = "u1", **headers: str) -> Iterator[Lines]:
        """A client's stream."""
        asked = {"raw_data": True} | (body or {})
        given = {"authorization": f"Token {user}", "accept-encoding": "identity"} | headers
        with (
            httpx.Client(timeout=20) as client,
            client.stream("POST", f"{self.url}/sync/stream", json=asked, headers=given) as response,
        ):
            assert response.status_code == 200, response.read()
            yield Lines(response)


class Lines:
    """The lines of a stream, as they come."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def next(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(next(self._lines))
        return found

    def until(self, kind: str) -> list[dict[str, Any]]:
        """All lines up to the first of a kind."""
        found = [self.next()]
        while kind not in found[-1]:
            found.append(self.next())
        return found

    def ended(self) -> bool:
        return next(self._lines, None) is None

    def sync(self, client: Client) -> None:
        """Let the client take everything up to the next complete checkpoint."""
        for line in self.until("checkpoint_complete"):
            client.take(line)


@contextmanager
def serving(desk: Desk, admission: Admission | None = None, *, tls: tuple[str, str] | None = None) -> Iterator[Node]:
    """The desk, served until the test has ended."""
    listener = socket.create_server(("127.0.0.1", 0))
    hub, marks = Hub(), Marks()

    async def caught_up() -> bool:
        return node.caught_up

    reception = Reception(hub, admission or Anybody(), marks, acknowledged=marks.acknowledged, caught_up=caught_up)
    front = Front(listener, hub, Endpoint(reception).app(), tls=tls)
    scheme = "https" if tls else "http"
    node = Node(desk, f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", hub, front, marks)
    front.start()
    try:
        yield node
    finally:
        front.close()
    assert not hub.seats and not hub._index


def eventually(holds: Callable[[], bool], within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)
