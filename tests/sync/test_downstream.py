"""One stream on its connection: what it holds, and whom it lets have a turn."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest

from connector.store.buckets import View
from connector.sync.lines import BSON
from connector.sync.refusals import Refused, too_many
from connector.sync.requests import StreamRequest
from connector.sync.sessions import Session
from connector.sync.write_checkpoints import Client
from tests.sync.desk import Desk
from tests.sync.node import Anybody, Marks
from tests.sync.test_sessions import CONFIG, U1
from topologies import reception
from topologies.downstream import Downstream, Write, beats, warnings
from topologies.hub import Hub, Seat


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.write("public.lists", {"id": "l1", "owner_id": "u1"})
    made.deploy(CONFIG)
    yield made
    made.store.close()


def streaming(hub: Hub, write: Write, **request: object) -> tuple[Downstream, Seat]:
    seat = Seat(Session(StreamRequest(raw_data=True), U1), Client("u1", None), 0.0)
    stream = Downstream(
        hub,
        seat,
        form=BSON,
        write=write,
        acknowledged=lambda position: None,
        expires_at=2.0**40,
        clock=lambda: 0.0,
        beats=beats,
    )
    hub.sit(seat)
    return stream, seat


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


async def ended(hub: Hub, running: Awaitable[None]) -> None:
    hub.close()
    await running


def test_who_waits_holds_nothing_of_the_store(desk: Desk) -> None:
    """Each view holds files and memory: one for each client that waits would be all that was ever written."""

    async def scenario() -> int:
        hub = Hub()
        hub.exposed(*desk.checkpoint())
        views: list[weakref.ref[View]] = []
        running = []
        for number in range(10):
            stream, seat = streaming(hub, write)
            running.append(asyncio.create_task(stream.run(stream.first_line())))
            await until(lambda seat=seat: seat.session.complete)
            desk.write("public.lists", {"id": f"m{number}", "owner_id": "somebody else"})
            view, changed = desk.checkpoint()
            views.append(weakref.ref(view))
            hub.exposed(view, changed)
            del view
        await asyncio.sleep(0.05)
        held = sum(view() is not None for view in views)
        hub.close()
        await asyncio.gather(*running)
        return held

    async def write(text: bytes) -> None:
        pass

    assert asyncio.run(scenario()) == 1  # the newest


def test_a_download_lets_others_have_their_turns(desk: Desk) -> None:
    """Also where the socket takes everything at once."""
    for number in range(5_000):
        desk.write("public.todos", {"id": f"t{number}", "list_id": "l1", "title": "x"})

    async def scenario() -> list[int]:
        hub, seen = Hub(), [0]
        hub.exposed(*desk.checkpoint())

        async def write(text: bytes) -> None:
            pass

        stream, seat = streaming(hub, write)
        running = asyncio.create_task(stream.run(stream.first_line()))
        while not seat.session.complete:
            await asyncio.sleep(0)
            if seat.sent_ops != seen[-1]:
                seen.append(seat.sent_ops)
        await ended(hub, running)
        return seen

    assert len(asyncio.run(scenario())) > 5


def test_keep_alives_are_spread_and_warn_of_the_end() -> None:
    due = [beats(1000.0, 5000.0, jitter / 100) - 1000.0 for jitter in range(101)]
    assert (min(due), max(due)) == (pytest.approx(18.0), pytest.approx(22.0))
    assert beats(1000.0, 1030.0, 0.5) == 1010.0  # 20 s before the end
    assert beats(1015.0, 1030.0, 0.5) == 1030.0  # then only the end


def test_what_is_kept_alive_by_other_means_is_only_warned() -> None:
    assert [warnings(now, 1030.0, 0.5) for now in (0.0, 1009.0, 1010.0)] == [1010.0, 1010.0, 1030.0]


def test_a_lost_write_checkpoint_is_asked_for_until_it_is_taken(desk: Desk) -> None:
    """The source database may be away or busy for a while."""
    refused: list[Client] = []

    class Busy(Marks):
        async def renew(self, client: Client) -> None:
            if len(refused) < 3:
                refused.append(client)
                raise too_many("PSYNC_S2304", "busy")
            await self.write_checkpoint(client)

    async def scenario() -> None:
        hub, marks = Hub(), Busy()
        hub.exposed(*desk.checkpoint())

        async def caught_up() -> bool:
            return True

        made = reception.Reception(hub, Anybody(), marks, acknowledged=marks.acknowledged, caught_up=caught_up)
        renewing = asyncio.create_task(made._renew(Client("u1", None)))
        await until(lambda: bool(marks.told))
        await renewing
        assert marks.told == {Client("u1", None): 1}

    with patch.object(reception, "RENEW_AFTER", 0.001), suppress(Refused):
        asyncio.run(scenario())
    assert len(refused) == 3
