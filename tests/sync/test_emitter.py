"""Write checkpoints while the source database is away; with one there: tests/integration/test_write_checkpoints.py."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from connector.settings import Settings
from connector.sync.refusals import Refused
from connector.sync.write_checkpoints import Client
from topologies import markers
from topologies.markers import MOST_WAITING, Emitter


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A port where nobody listens, until the test does."""
    with closing(socket.socket()) as port:
        port.bind(("127.0.0.1", 0))
        yield port


def emitter(port: socket.socket) -> Emitter:
    settings = Settings(
        kafka="k:9092",
        registry="http://r",
        connect="http://c",
        postgres=f"postgresql://nobody:secret@127.0.0.1:{port.getsockname()[1]}/none",
        path=Path("syncline.yaml"),
    )
    return Emitter(settings, lambda client: None)


async def refused(waiting: Emitter, requests: int) -> list[int]:
    """The status of each of so many requests at once."""
    asked = [waiting.write_checkpoint(Client("u", str(n))) for n in range(requests)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(each, Refused) for each in answers)
    return [each.status for each in answers if isinstance(each, Refused)]


def test_nobody_listens(silent: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    """Every request is told 503, the operator once."""

    async def ask() -> list[int]:
        return await refused(emitter(silent), 10)

    assert asyncio.run(ask()) == [503] * 10
    assert len(caplog.messages) == 1
    assert "secret" not in caplog.text


def test_nobody_answers(silent: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for long, nor by many."""
    monkeypatch.setattr(markers, "PATIENCE", 0.2)
    silent.listen()

    async def ask() -> list[int]:
        waiting = emitter(silent)
        return await refused(waiting, MOST_WAITING + 1) + await refused(waiting, 1)

    assert asyncio.run(ask()) == [*[503] * MOST_WAITING, 429, 503]
