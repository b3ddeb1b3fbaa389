"""Requests are decided in their order, and a config is parsed beside the loop (rule D1)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connector.definitions.check import check
from connector.definitions.model import Checked
from connector.deploy.decision import Decision, Moment
from connector.merge.catalog import Catalog
from connector.settings import Settings
from tests.merge.test_requests import ONE, TWO, active, planned_for
from topologies import inbox
from topologies.inbox import Asked, Inbox

SETTINGS = Settings(Path("f"), "k", "r", "c", "p")


class Message:
    def __init__(self, said: dict[str, Any], offset: int) -> None:
        self.said, self._offset = said, offset

    def value(self) -> Any:
        return self.said

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 2, 1_000


class Codec:
    def decode(self, said: Any) -> Any:
        return said


class World:
    """A topic of requests, and configs that are parsed when the test lets them be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, catalog: Catalog) -> None:
        self.catalog = catalog
        self.parsed: list[str] = []
        self.may_parse = threading.Event()
        self._said: list[Message] = []
        monkeypatch.setattr(inbox, "check", self._check)
        monkeypatch.setattr(inbox, "next_message", lambda *_: self._said.pop(0) if self._said else None)
        monkeypatch.setattr(inbox.kafka, "follower", lambda _: Reader())
        monkeypatch.setattr(inbox.kafka, "watermarks", lambda *_: (0, 0))
        self.inbox = Inbox(SETTINGS, Codec(), 0)  # type: ignore[arg-type]
        self._offset = 0

    def _check(self, text: str, *, path: str) -> Checked:
        self.parsed.append(text)
        assert self.may_parse.wait(10)
        return check(text, path=path)

    def ask(self, kind: str, config: str = "", **fields: Any) -> None:
        request = {"id": f"r{self._offset}", "kind": kind, "expires_at": 0, "requested_at": 0, "config": config}
        request |= {"path": "f", "base": self.catalog.generation, "estimate": "", "max_rate": 0, "generation": 0}
        request["planned"] = planned_for(self.catalog, config, ()) if config else ""
        self._said.append(Message(request | fields, self._offset))
        self._said.append(Message({"id": "of another", "outcome": "accepted"}, self._offset + 1))
        self._offset += 2

    def decided(self, now: int = 0) -> tuple[Asked, Decision] | None:
        return self.inbox.decided(self.catalog, Moment(now))

    def outcome(self, now: int = 0) -> tuple[str, str, int]:
        """Of the next request, once it is decided."""
        asked, decision = until(lambda: self.decided(now))
        return asked.request["kind"], decision.outcome, asked.next_offset


class Reader:
    def assign(self, _: Any) -> None: ...


def until(seen: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 10
    while (found := seen()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return found


def test_the_loop_goes_on_while_a_config_is_parsed_and_what_comes_after_it_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, active(ONE))
    world.ask("deploy", TWO)
    world.ask("gc")
    for _ in range(3):
        assert world.decided() is None
    until(lambda: world.parsed or None)
    world.may_parse.set()
    assert world.outcome() == ("deploy", "accepted", 1)
    assert world.outcome() == ("gc", "unchanged", 3)
    assert world.decided() is None
    assert world.parsed == [TWO]


def test_the_same_config_again_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, active(ONE))
    world.may_parse.set()
    for _ in range(3):
        world.ask("deploy", ONE)
        assert world.outcome()[1] == "unchanged"
    assert world.parsed == [ONE]


def test_what_is_turned_down_anyway_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, active(ONE))
    world.ask("deploy", TWO, base=7)
    world.ask("deploy", TWO, requested_at=1, expires_at=2)
    assert [world.outcome(now=5_000)[1] for _ in range(2)] == ["stale", "expired"]
    assert world.parsed == []


def test_a_request_whose_asker_has_given_up_meanwhile_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, active(ONE))
    world.ask("deploy", TWO, requested_at=1, expires_at=501)
    assert world.decided(now=1_400) is None
    assert world.outcome(now=1_600)[1] == "expired"
    world.ask("deploy", ONE)
    assert world.decided() is None
    world.may_parse.set()
    assert world.outcome()[1] == "unchanged", "of its own config, whatever was parsed before it"


def test_the_catalog_may_move_on_while_a_config_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, active(ONE))
    world.ask("deploy", TWO)
    assert world.decided() is None
    world.catalog = active(TWO, active(ONE))
    world.may_parse.set()
    assert world.outcome()[1] == "stale"


def test_an_error_of_the_parser_ends_the_merge_and_not_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts it again sees the reason."""
    world = World(monkeypatch, active(ONE))
    world.ask("deploy", TWO)

    def fails(text: str, *, path: str) -> Checked:
        raise RuntimeError("no")

    monkeypatch.setattr(inbox, "check", fails)
    with pytest.raises(RuntimeError, match="no"):
        until(world.decided)
