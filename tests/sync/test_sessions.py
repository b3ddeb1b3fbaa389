"""What a client is told, and that it ends with exactly the rows it may see (powersync.md 4.1, rules V1, V2, law 9)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.definitions.request import MAX_ROWS, Subscription
from connector.errors import RequestRefused
from connector.store.buckets import View
from connector.sync.lines import NDJSON, Ops
from connector.sync.requests import StreamRequest
from connector.sync.served import Place, Served, served
from connector.sync.sessions import Session
from tests.sync.client import Client
from tests.sync.desk import Desk

CONFIG = """
config: {edition: 3}
streams:
  lists:
    auto_subscribe: true
    priority: 1
    query: SELECT * FROM lists WHERE owner_id = auth.user_id()
  todos:
    query: SELECT id, list_id, title FROM todos WHERE list_id = subscription.parameter('list')
      AND list_id IN (SELECT id FROM lists WHERE owner_id = auth.user_id())
  mine:
    auto_subscribe: true
    query: SELECT id, title AS text FROM todos WHERE list_id IN (SELECT id FROM lists WHERE owner_id = auth.user_id())
"""
OTHER = CONFIG.replace("SELECT id, title AS text", "SELECT id, list_id, title AS text")
FEWER = CONFIG[: CONFIG.index("  mine:")]
CONFIGS = (CONFIG, OTHER, FEWER)
U1 = {"sub": "u1"}


class Wire:
    """One connection: a session of the node, and the client behind it."""

    def __init__(self, desk: Desk, client: Client, request: StreamRequest, claims: dict[str, Any]) -> None:
        self.desk, self.client = desk, client
        self.session = Session(request, claims)
        self.served: Served | None = None
        self.view: View | None = None
        self.touched: set[Place] = set()
        self.asked_anew = False
        self.lines: list[dict[str, Any]] = []

    def expose(self) -> None:
        """A checkpoint comes; the node wakes the session where it concerns it."""
        self.view, changed = self.desk.checkpoint()
        self.touched |= changed.buckets
        self.asked_anew |= bool(changed.lookups & self.session.lookups)

    def tell(self, acknowledged: int | None = None, *, ops: int = 10**9) -> bool:
        """What the session says now, to the client; False where it was left after so many ops."""
        assert self.view is not None
        self.served = served(self.desk.catalog, self.served)
        assert self.served is not None
        line = self.session.advance(self.view, self.served, self.touched, acknowledged, asked_anew=self.asked_anew)
        self.touched, self.asked_anew = set(), False
        if line is not None:
            self._take(NDJSON.line(line))
        if self.session.complete:
            return True
        for each in self.session.downloads(self.view):
            self._take(NDJSON.ops(each) if isinstance(each, Ops) else NDJSON.line(each))
            ops -= len(each.portion.texts) if isinstance(each, Ops) else 0
            if ops <= 0 and not self.session.complete:
                return False
        return True

    def _take(self, text: bytes) -> None:
        line = orjson.loads(text)
        self.lines.append(line)
        self.client.take(line)

    def kinds(self) -> list[str]:
        """The lines since the last call, by their only key."""
        found = [next(iter(line)) for line in self.lines]
        self.lines.clear()
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    for name, owner in (("l1", "u1"), ("l2", "u1"), ("l3", "u2")):
        made.write("public.lists", {"id": name, "owner_id": owner})
    for number in range(6):
        made.write("public.todos", {"id": f"t{number}", "list_id": f"l{number % 3 + 1}", "title": "x"})
    made.deploy(CONFIG)
    yield made
    made.store.close()


def connected(desk: Desk, *subscriptions: Subscription, client: Client | None = None) -> Wire:
    known = client or Client()
    request = StreamRequest({b["name"]: int(b["after"]) for b in known.positions}, subscriptions=subscriptions)
    wire = Wire(desk, known, request, U1)
    wire.expose()
    wire.tell()
    return wire


def test_the_first_checkpoint_comes_by_priority(desk: Desk) -> None:
    wire = connected(desk, Subscription("todos", {"list": "l2"}))
    first = wire.lines[0]["checkpoint"]
    assert [stream["name"] for stream in first["streams"]] == ["lists", "todos", "mine"]
    assert [stream["is_default"] for stream in first["streams"]] == [True, False, True]
    reasons = {item["bucket"].partition("#")[2]: item["subscriptions"] for item in first["buckets"]}
    assert reasons == {
        'lists["u1"]': [{"default": 0}],
        'todos["l2"]': [{"sub": 0}, {"sub": 0}],  # as often as the reference says it
        'mine["l1"]': [{"default": 2}],
        'mine["l2"]': [{"default": 2}],
    }
    kinds = wire.kinds()
    assert kinds[:3] == ["checkpoint", "data", "partial_checkpoint_complete"]
    assert kinds[-1] == "checkpoint_complete" and kinds.count("data") == 4
    assert wire.client.applied == desk.visible(U1, (Subscription("todos", {"list": "l2"}),))


def test_a_change_is_told_only_where_it_is(desk: Desk) -> None:
    wire = connected(desk)
    wire.kinds()
    desk.write("public.todos", {"id": "t0", "list_id": "l1", "title": "y"})
    wire.expose()
    wire.tell()
    diff = wire.lines[0]["checkpoint_diff"]
    assert [item["bucket"].partition("#")[2] for item in diff["updated_buckets"]] == ['mine["l1"]']
    assert wire.kinds() == ["checkpoint_diff", "data", "checkpoint_complete"]
    desk.write("public.lists", {"id": "l3", "owner_id": "u2", "name": "of another"})
    wire.expose()
    wire.tell()
    assert wire.kinds() == []


def test_a_lookup_gives_and_takes_buckets(desk: Desk) -> None:
    wire = connected(desk)
    wire.kinds()
    desk.write("public.lists", {"id": "l1", "owner_id": "u2"})
    desk.write("public.lists", {"id": "l3", "owner_id": "u1"})
    wire.expose()
    wire.tell()
    diff = wire.lines[0]["checkpoint_diff"]
    assert [name.partition("#")[2] for name in diff["removed_buckets"]] == ['mine["l1"]']
    assert wire.client.applied == desk.visible(U1)


def test_a_bucket_that_comes_back_is_downloaded_again(desk: Desk) -> None:
    """The client has deleted it."""
    wire = connected(desk)
    for owner in ("u2", "u1"):
        desk.write("public.lists", {"id": "l1", "owner_id": owner})
        wire.expose()
        wire.tell()
    assert wire.client.applied == desk.visible(U1)


def test_a_deploy_goes_on_in_the_stream(desk: Desk) -> None:
    """Unchanged buckets are not mentioned, changed ones come under new names."""
    wire = connected(desk)
    wire.kinds()
    wire.client.downloaded = 0
    desk.deploy(OTHER)
    wire.expose()
    wire.tell()
    diff = wire.lines[0]["checkpoint_diff"]
    assert {item["bucket"].partition("#")[2][:4] for item in diff["updated_buckets"]} == {"mine"}
    assert len(diff["removed_buckets"]) == 2
    assert wire.client.downloaded == 4
    assert wire.client.applied == desk.visible(U1)


def test_a_known_client_goes_on_where_it_was(desk: Desk) -> None:
    client = connected(desk).client
    client.downloaded = 0
    desk.write("public.todos", {"id": "t0", "list_id": "l1", "title": "y"})
    again = connected(desk, client=client)
    assert client.downloaded == 1
    assert client.applied == desk.visible(U1)
    assert again.kinds()[0] == "checkpoint"


def test_a_write_checkpoint_alone_is_a_line_and_is_repeated(desk: Desk) -> None:
    wire = connected(desk)
    wire.kinds()
    wire.expose()
    wire.tell(7)
    assert wire.kinds() == ["checkpoint_diff", "checkpoint_complete"]
    assert wire.client.write_checkpoint == "7"
    desk.write("public.todos", {"id": "t0", "list_id": "l1", "title": "y"})
    wire.expose()
    wire.tell(7)
    assert wire.client.write_checkpoint == "7"


def test_what_was_acknowledged_stays_so(desk: Desk) -> None:
    """A node forgets the markers of clients that have asked for nothing for long."""
    wire = connected(desk)
    for told in (7, None, 3):
        desk.write("public.todos", {"id": "t0", "list_id": "l1", "title": str(told)})
        wire.expose()
        wire.tell(told)
        assert wire.client.write_checkpoint == "7"


def test_a_lookup_is_not_read_beyond_what_a_client_may_have(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    read, lookup = [], View.lookup

    def counted(view: View, version: int, key: str) -> Iterator[str]:
        for text in lookup(view, version, key):
            read.append(text)
            yield text

    for number in range(3_000):
        desk.write("public.lists", {"id": f"m{number}", "owner_id": "u1"})
    monkeypatch.setattr(View, "lookup", counted)
    with pytest.raises(RequestRefused, match="1,000"):
        connected(desk)
    assert len(read) == MAX_ROWS + 1


def test_compaction_between_two_portions_of_a_download(desk: Desk) -> None:
    """Rule V2: what was half downloaded goes on, under the newer checkpoint, over MOVE and CLEAR."""
    for number in range(3_000):
        desk.write("public.todos", {"id": f"n{number}", "list_id": "l1", "title": "x"})
    wire = Wire(desk, Client(), StreamRequest(), U1)
    wire.expose()
    assert not wire.tell(ops=1_001)
    for number in range(3_000):
        desk.write("public.todos", {"id": f"n{number}", "list_id": "l1", "title": "y" if number % 2 else "z"})
    wire.expose()
    desk.compact()
    wire.expose()
    assert wire.tell()
    assert wire.client.applied == desk.visible(U1)


def test_a_client_that_asks_for_too_much_is_refused(desk: Desk) -> None:
    for number in range(1_001):
        desk.write("public.lists", {"id": f"m{number}", "owner_id": "u1"})
    wire = Wire(desk, Client(), StreamRequest(), U1)
    wire.expose()
    with pytest.raises(RequestRefused, match="1,000"):
        wire.tell()


@settings(max_examples=60)
@given(st.integers(min_value=0, max_value=2**32))
def test_any_history_ends_in_what_the_client_may_see(seed: int) -> None:
    """Writes, deploys, compactions, downloads that are left, reconnects: at every complete checkpoint the client has
    exactly the rows of it."""
    chance = random.Random(seed)
    with TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        desk.deploy(CONFIG)
        subscriptions = (Subscription("todos", {"list": "l1"}),)
        client = Client()
        wire = Wire(desk, client, StreamRequest(subscriptions=subscriptions), U1)
        wire.expose()
        for _ in range(chance.randrange(5, 40)):
            change(desk, chance)
            if chance.random() < 0.4:
                wire.expose()
            if chance.random() < 0.3:
                wire.expose()
                if wire.tell(ops=chance.choice((1, 2, 10**9))):
                    assert client.applied == desk.visible(U1, subscriptions)
            if chance.random() < 0.1:
                positions = {each["name"]: int(each["after"]) for each in client.positions}
                wire = Wire(desk, client, StreamRequest(positions, subscriptions=subscriptions), U1)
                wire.expose()
        wire.expose()
        assert wire.tell()
        assert client.applied == desk.visible(U1, subscriptions)
        desk.store.close()


def change(desk: Desk, chance: random.Random) -> None:
    name, what = str(chance.randrange(8)), chance.random()
    if what < 0.45:
        row = {"id": f"t{name}", "list_id": f"l{chance.randrange(4)}", "title": chance.choice("xyz")}
        desk.write("public.todos", row)
    elif what < 0.6:
        desk.write("public.lists", {"id": f"l{chance.randrange(4)}", "owner_id": chance.choice(("u1", "u2"))})
    elif what < 0.75:
        desk.delete(*chance.choice((("public.todos", f"t{name}"), ("public.lists", f"l{chance.randrange(4)}"))))
    elif what < 0.85:
        desk.deploy(chance.choice(CONFIGS))
    elif what < 0.95:
        desk.compact()
