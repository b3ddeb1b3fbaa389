"""Gives clients their seats, by whatever way they come: who is let in, who waits, what runs beside a stream."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from connector.errors import RequestRefused, Unavailable
from connector.sync.lines import Format, Line
from connector.sync.refusals import Refused, full, unavailable
from connector.sync.requests import StreamRequest
from connector.sync.sessions import Session
from connector.sync.tokens import Token
from connector.sync.write_checkpoints import Client
from topologies.downstream import CHANCE, Beats, Downstream, Write
from topologies.hub import Hub, Seat

MAX_CLIENTS = 10_000
PATIENCE = 5.0  # seconds that a client is waited with for a checkpoint at or past its own (rule V3)
RENEW_AFTER = 30.0  # seconds that a client has been connected

log = logging.getLogger("serve")


class Admission(Protocol):
    """Who a token is of. Raises Refused."""

    async def admit(self, header: str | None, now: float) -> Token: ...


class Emitter(Protocol):
    """Marks in the source's log that a client has written (rule V4). Raises Refused."""

    async def write_checkpoint(self, client: Client) -> int: ...

    async def checkpoint_request(self, client: Client, wanted: int) -> int: ...

    async def renew(self, client: Client) -> None: ...


Acknowledged = Callable[[Client, int], int | None]  # a client's newest write checkpoint at a position


class Reception:
    """`caught_up` tells whether there is no newer checkpoint than the node has."""

    def __init__(
        self,
        hub: Hub,
        admission: Admission,
        emitter: Emitter,
        *,
        acknowledged: Acknowledged,
        caught_up: Callable[[], Awaitable[bool]],
    ) -> None:
        self.hub, self.emitter = hub, emitter
        self._acknowledged, self._admission, self._caught_up = acknowledged, admission, caught_up

    @property
    def ready(self) -> bool:
        """Whether clients can be served."""
        return self.hub.served is not None and not self.hub.closing

    async def admit(self, header: str | None) -> Token:
        """Whose token it is. Raises Refused."""
        return await self._admission.admit(header, time.time())

    async def seat(self, token: Token, asked: StreamRequest) -> Seat:
        """A seat for the client, once there is a checkpoint at or past its own. Raises Refused."""
        self._check_room()
        session = Session(asked, token.claims)
        await self._wait_until_ready(session)
        self._check_room()  # others have come meanwhile
        return Seat(session, Client(token.user_id, asked.client_id), time.time())

    @asynccontextmanager
    async def served(
        self, seat: Seat, token: Token, *, form: Format, write: Write, beats: Beats
    ) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """The client's stream, to be run, while it sits. Raises Refused where the client asks for too much."""
        stream = Downstream(
            self.hub,
            seat,
            form=form,
            write=write,
            acknowledged=lambda position: self._acknowledged(seat.client, position),
            expires_at=token.expires_at,
            clock=time.time,
            beats=beats,
        )
        self.hub.sit(seat)
        renewal = asyncio.create_task(self._renew(seat.client))
        try:
            line = _first_line(stream)

            async def run() -> None:
                try:
                    with suppress(RequestRefused):  # the client comes again, and is told then
                        await stream.run(line)
                except Unavailable as error:
                    log.error("%s", error.report())  # the replica sees it too, and ends the node
                    raise

            yield run
        finally:
            renewal.cancel()
            self.hub.leave(seat)

    def _check_room(self) -> None:
        if len(self.hub.seats) >= MAX_CLIENTS:
            raise full()

    async def _wait_until_ready(self, session: Session) -> None:
        """A checkpoint at or past the client's, and a deployment to serve (rule V3)."""
        deadline = time.monotonic() + PATIENCE
        while not (self.ready and self._reaches(session)):
            left = deadline - time.monotonic()
            if left <= 0:
                await self._give_up()
                return
            await self.hub.moved(left)
            if self.hub.closing:
                raise _stopping()

    def _reaches(self, session: Session) -> bool:
        return self.hub.view is not None and self.hub.view.exposed.op_id >= session.newest_position

    async def _give_up(self) -> None:
        """A client that is ahead of all there is comes from another life of this app: its buckets fail their checksums
        and are downloaded again. One that is ahead of this node only must wait."""
        caught_up = await self._caught_up()
        if self.hub.closing:
            raise _stopping()
        if not caught_up:
            raise unavailable("PSYNC_S2003", "This node is behind; try again")
        if not self.ready:
            raise Refused(500, "PSYNC_S2302", "No sync config available", "ServiceError")

    async def _renew(self, client: Client) -> None:
        """A client that waits for a write checkpoint that has got lost gets another (decision 51): of many that came
        at once not all in one moment, and later where the source database is away or busy."""
        renewed = False
        while not renewed:
            await asyncio.sleep(RENEW_AFTER * CHANCE.uniform(1.0, 3.0))
            with suppress(Refused):
                await self.emitter.renew(client)
                renewed = True


def restarting() -> Refused:
    """What a client is told when the node's store has failed."""
    return unavailable("PSYNC_S2003", "This node has to restart; try again")


def _stopping() -> Refused:
    return unavailable("PSYNC_S2003", "This node is stopping; try again")


def _first_line(stream: Downstream) -> Line:
    try:
        return stream.first_line()
    except Unavailable as error:
        raise restarting() from error
    except RequestRefused as error:
        raise Refused(400, "PSYNC_S2305", error.message, "ServiceError", error.hint) from error
