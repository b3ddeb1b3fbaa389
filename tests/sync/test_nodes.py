"""What a node says of its clients."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from connector.sync.requests import StreamRequest
from connector.sync.sessions import Session
from connector.sync.write_checkpoints import Client
from schemas.codec import Codec
from tests.sync.desk import Desk
from tests.sync.node import Node, eventually, serving
from tests.sync.test_sessions import CONFIG, FEWER
from topologies import nodes
from topologies.hub import Hub, Seat


def told(node: Node) -> dict[str, Any]:
    return nodes.told(node.hub, "n", node.url, 10.0, None)


def held(node: Node) -> dict[tuple[int, ...], int]:
    return {tuple(one["versions"]): one["clients"] for one in told(node)["holdings"]}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.write("public.lists", {"id": "l1", "owner_id": "u1"})
    desk.write("public.todos", {"id": "t1", "list_id": "l1", "title": "x"})
    desk.deploy(CONFIG)
    return desk


def test_clients_are_told_of_as_they_are_now(desk: Desk) -> None:
    with serving(desk) as node:
        node.checkpoint()
        versions = {
            part.label.partition("|")[0]: part.version
            for d in desk.catalog.deployments[0].definitions
            for part in d.parts
            if part.kind == "bucket"
        }
        with node.stream({"client_id": "phone"}) as lines, node.stream(user="nobody") as others:
            lines.until("checkpoint_complete")
            others.until("checkpoint_complete")
            eventually(lambda: told(node)["behind"] == 0)
            record = told(node)
            assert record["clients"] == 2
            one, other = sorted(record["listed"], key=lambda client: -client["buckets"])
            assert (one["user"], one["client"], one["buckets"], one["sent_ops"]) == ("u1", "phone", 2, 2)
            assert (one["sent"], one["due"], one["behind_since"]) == (2, 2, 0)
            assert one["op_id"] == desk.store.exposed.op_id
            assert one["sent_bytes"] > other["sent_bytes"] > 0
            assert (other["user"], other["client"]) == ("nobody", None)
            of_one = tuple(sorted((versions["lists"], versions["mine"])))
            assert held(node) == {of_one: 1, (versions["lists"],): 1}

            desk.deploy(FEWER)
            node.checkpoint()
            lines.until("checkpoint_complete")
            eventually(lambda: held(node) == {(versions["lists"],): 2})
        eventually(lambda: held(node) == {})
        assert told(node)["clients"] == 0
    desk.store.close()


def test_what_is_told_rises_with_changes_and_not_with_keep_alives(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topologies.downstream.BEAT", 0.02)
    with serving(desk) as node:
        node.checkpoint()
        with node.stream() as lines:
            lines.until("checkpoint_complete")
            eventually(lambda: told(node)["behind"] == 0)
            moves = node.hub.moves
            assert "token_expires_in" in lines.until("token_expires_in")[-1]
            desk.write("public.lists", {"id": "l9", "owner_id": "another"})
            node.checkpoint()
            lines.until("token_expires_in")
            assert node.hub.moves == moves
            desk.write("public.lists", {"id": "l2", "owner_id": "u1"})
            node.checkpoint()
            lines.until("checkpoint_complete")
            assert node.hub.moves > moves
    desk.store.close()


class Texts:
    """A registry of one schema."""

    def id_of(self, subject: str, text: str) -> int:
        self.known = text
        return 1

    def text(self, schema_id: int) -> str:
        return self.known


def test_any_number_of_clients_of_any_name_make_one_bounded_record() -> None:
    hub = Hub()
    for number in range(10_000):
        name = f"\ud800{number}" + "\N{GRINNING FACE}" * 4_000
        seat = Seat(Session(StreamRequest(), {}), Client(name, name), 1.0)
        hub.sit(seat)
        hub._count(seat, tuple(range(number % 2_000, number % 2_000 + 10)))
    record = nodes.told(hub, "n", "http://n", 10.0, 9.0)
    assert (record["clients"], len(record["listed"]), len(record["holdings"])) == (10_000, 1_000, 1_000)
    codec = Codec(Texts())
    written = codec.encode("Node", record)
    assert len(written) < 1024 * 1024
    assert codec.decode(written) == record
    assert sum(hub.holdings.values()) == 10_000


def test_telling_of_many_clients_holds_nobody_up() -> None:
    """A few ms on the event loop; the bound is far from it, for a slow machine."""
    hub = Hub()
    for number in range(10_000):
        hub.sit(Seat(Session(StreamRequest(), {}), Client(f"u{number}", "c"), 1.0))
    took = []
    for _ in range(20):
        began = time.perf_counter()
        nodes.told(hub, "n", "http://n", 10.0, None)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.05, took
    assert hub.holdings == Counter({(): 10_000})
