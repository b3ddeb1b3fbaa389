"""Whether a node has the newest checkpoint: who is not sure says no (rule V3)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from connector.errors import Unavailable
from connector.settings import Settings
from topologies import serve
from topologies.serve import CaughtUp

AWAY = (Unavailable("away"), KafkaException(KafkaError(KafkaError._TRANSPORT)))


def asked(
    monkeypatch: pytest.MonkeyPatch, found: Any, *, known: bool = True, at_once: int = 1
) -> tuple[list[bool], int]:
    """What so many who ask at once are told by a node that has checkpoint 7, and how often the broker was asked."""
    questions = 0

    def read(_: Settings) -> Any:
        nonlocal questions
        questions += 1
        if isinstance(found, Exception):
            raise found
        return found

    async def ask() -> list[bool]:
        exposed = SimpleNamespace(exposed=SimpleNamespace(commit=7))
        caught_up = CaughtUp(
            Settings(Path("f"), "k", "r", "c", "p"), cast(Any, SimpleNamespace(caught_up=known, store=exposed))
        )
        return list(await asyncio.gather(*(caught_up() for _ in range(at_once))))

    monkeypatch.setattr(serve, "read_commit", read)
    return asyncio.run(ask()), questions


@pytest.mark.parametrize(("found", "told"), [(None, True), ({"number": 7}, True), ({"number": 8}, False)])
def test_the_broker_is_asked(monkeypatch: pytest.MonkeyPatch, found: Any, told: bool) -> None:
    assert asked(monkeypatch, found) == ([told], 1)


@pytest.mark.parametrize("error", AWAY)
def test_a_broker_that_does_not_answer_makes_nobody_sure(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    assert asked(monkeypatch, error) == ([False], 1)


def test_a_node_that_knows_better_does_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, {"number": 7}, known=False) == ([False], 0)


def test_many_who_wait_are_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, {"number": 7}, at_once=50) == ([True] * 50, 1)
