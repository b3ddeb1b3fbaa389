"""One client's stream on its connection: lines as they come, keep-alives, and its end (powersync.md 4.1).

A client that reads slowly is waited for with at most one line in hand; a newer checkpoint interrupts an older one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

from connector.sync.lines import Format, Line, Ops
from topologies.hub import Hub, Seat

PAUSE = 0.01  # seconds between two checkpoints
INTERRUPTIBLE_AFTER = 1_000  # ops sent for a checkpoint
VIEW_AGE = 30.0  # seconds after which a download goes on in a newer view: an old one holds files
BEAT = 20.0  # seconds between keep-alives, and before the token's expiry
CHANCE = random.SystemRandom()  # that nobody seeds: nodes and clients are not to beat together

Write = Callable[[bytes], Awaitable[None]]
Acknowledged = Callable[[int], int | None]  # the client's newest write checkpoint at a position
Beats = Callable[[float, float, float], float]  # now, the token's expiry, jitter from 0 to 1 → when the next one is due


def beats(now: float, expires_at: float, jitter: float) -> float:
    """Keep-alives, and a warning before the token expires; with jitter, so that clients do not beat together."""
    return min(now + BEAT * (0.9 + 0.2 * jitter), warnings(now, expires_at, jitter))


def warnings(now: float, expires_at: float, jitter: float) -> float:
    """A warning before the token expires, and no more: for connections that are kept alive by other means."""
    return expires_at - BEAT if now < expires_at - BEAT else expires_at


class Downstream:
    """Drives one seat until the client leaves, its token expires or the node closes."""

    def __init__(
        self,
        hub: Hub,
        seat: Seat,
        *,
        form: Format,
        write: Write,
        acknowledged: Acknowledged,
        expires_at: float,
        clock: Callable[[], float],
        beats: Beats,
    ) -> None:
        self._hub, self._seat, self._form, self._write = hub, seat, form, write
        self._view = hub.view
        self._acknowledged = acknowledged
        self._expires_at, self._clock, self._beats = expires_at, clock, beats
        self._beat = beats(clock(), expires_at, CHANCE.random())

    def first_line(self) -> Line:
        """The first checkpoint. Raises RequestRefused where the client asks for too much."""
        line = self._advance()
        assert line is not None
        return line

    async def run(self, line: Line | None) -> None:
        """Tell the line and its data, then what comes, to the end."""
        while self._goes_on():
            if line is not None:
                await self._send(self._form.line(line))
            if not self._seat.session.complete:
                await self._download()
                if self._seat.session.complete:
                    self._seat.behind_since = None
                await asyncio.sleep(PAUSE)
            else:
                await self._wait()
            await self._keep_alive()
            line = self._advance() if self._seat.woken.is_set() else None
        if self._is_expired() and not self._seat.gone:
            await self._send(self._form.line({"token_expires_in": 0}))

    def _goes_on(self) -> bool:
        return not (self._hub.closing or self._seat.gone or self._is_expired() or not self._hub.served)

    def _is_expired(self) -> bool:
        return self._clock() >= self._expires_at

    def _advance(self) -> Line | None:
        view, served = self._hub.view, self._hub.served
        touched, asked_anew = self._seat.taken()
        if view is None or served is None:
            return None
        self._view = view
        session, answer = self._seat.session, self._seat.session.answer
        line = session.advance(view, served, touched, self._acknowledged(view.exposed.position), asked_anew=asked_anew)
        if session.answer is not answer:
            self._hub.watch(self._seat)
        if line is not None:
            self._hub.moves += 1
            self._seat.behind_since = self._seat.behind_since or self._clock()
        return line

    async def _download(self) -> None:
        began, before = self._clock(), self._seat.sent_ops
        if not self._seat.woken.is_set():
            self._view = self._hub.view  # in which all of the client's buckets are the same
        assert self._view is not None
        for each in self._seat.session.downloads(self._view):
            if isinstance(each, Ops):
                await self._send(self._form.ops(each))
                self._seat.sent_ops += len(each.portion.texts)
                await asyncio.sleep(0)  # a socket that takes everything would keep all others waiting
            else:
                await self._send(self._form.line(each))
            self._hub.moves += 1
            await self._keep_alive()
            interrupted = self._seat.woken.is_set() and self._seat.sent_ops - before >= INTERRUPTIBLE_AFTER
            if interrupted or not self._goes_on() or self._clock() - began > VIEW_AGE:
                return

    async def _wait(self) -> None:
        self._view = None  # it holds files and memory of the store, which clients that wait need not
        with suppress(TimeoutError):
            await asyncio.wait_for(self._seat.woken.wait(), max(0.0, self._beat - self._clock()))

    async def _keep_alive(self) -> None:
        now = self._clock()
        if self._beat <= now < self._expires_at:
            await self._send(self._form.line({"token_expires_in": int(self._expires_at - now)}))
            self._beat = self._beats(now, self._expires_at, CHANCE.random())

    async def _send(self, text: bytes) -> None:
        self._seat.sent_bytes += len(text)
        await self._write(text)
