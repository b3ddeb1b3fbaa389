"""A stream: the Faust app that has every batch of the change log evaluated (rules T1 to T4).

    python -m topologies.stream --settings FILE [--stream NAME | --stream -]

`main` follows the catalog: versions join and leave between two batches. A tributary first replays the snapshot topics
(topologies/replay.py), then reads the change log from where its replay began, with a set of versions that never
grows (rule D2).

For each batch, in this order:
1. the versions that must answer are fixed;
2. all of them answer;
3. the Evaluated record is written;
4. once it is durable, the event is acknowledged.
A process that dies between any two of them begins again at or before the batch; what is written twice is dropped by
the merge (law 5).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, cast

import faust

from connector.crash import arm, crash_point
from connector.deploy.catalog import MAIN, Catalog
from connector.errors import Gap, SynclineError
from connector.evaluation import Decoders, batch_rows, evaluated_records
from connector.settings import Settings, load
from schemas.codec import Codec
from topologies import kafka
from topologies.app import make_app
from topologies.collect import Collector
from topologies.exits import REWOUND
from topologies.follow import Follower, available, has_begun, has_ended, stream_state, versions_of
from topologies.garbage import collect_seldom
from topologies.outlet import Outlet
from topologies.replay import Replay, Rewound, Stopped
from topologies.schemas import Schemas
from topologies.stuck import Stuck
from topologies.topics import Topics

log = logging.getLogger(__name__)

STOP_TIMEOUT = 5.0
TO_COME = "-"  # as a stream's name: it is read from standard input once all else is ready
QUIET = 1.0  # seconds without a batch after which main announces what it answers for


class Stream:
    """One stream's process from its first batch to its end."""

    def __init__(self, settings: Settings, stream: str, codec: Codec, schemas: Schemas, follower: Follower) -> None:
        self._settings = settings
        self._stream = stream
        self._codec = codec
        self._follower = follower
        self._catalog: Catalog | None = None
        self._rewinds = follower.catalog.rewinds.get(stream, 0)
        self._position: int | None = None
        self._attempts = 0
        self._failed = False
        self._busy = asyncio.Lock()
        self._quiet_from = time.monotonic()
        self._attempt = uuid.uuid4().hex[:12]
        self._decoders = Decoders(schemas.text)
        self._stuck = Stuck(settings.state / f"stuck.{stream}.json")
        self._outlet = Outlet(settings, Topics(settings.app).evaluated(stream), _lost)
        self._app = make_app(settings, stream, self._start_offset)
        self._collector = Collector(self._app, self._decoders, self._stuck, self._hung)

    async def run(self) -> int:
        """Evaluate until the process is told to stop; the exit code."""
        changes = self._app.topic(Topics(self._settings.app).changes, key_serializer="raw", value_serializer="raw")
        self._app.agent(changes, name="intake")(self._intake)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await self._app.start()
        code = await self._until_over(stop)
        try:
            await asyncio.wait_for(self._app.stop(), STOP_TIMEOUT)
        except TimeoutError:
            log.warning("the app did not stop within %.0f s", STOP_TIMEOUT)
        self._outlet.close()
        return code

    async def _until_over(self, stop: asyncio.Event) -> int:
        while not stop.is_set():
            if self._failed or self._app.crashed:
                log.error("the stream has failed: %s", self._app.crash_reason or "see above")
                return 1
            if self._follower.catalog.rewinds.get(self._stream, 0) > self._rewinds:
                log.info("the merge asks %s to rewind", self._stream)
                return REWOUND
            if has_ended(self._follower.catalog, self._stream):
                log.info("tributary %s has ended", self._stream)
                return 0
            await self._announce()
            try:
                await asyncio.wait_for(stop.wait(), 0.1)
            except TimeoutError:
                continue
        return 0

    def _start_offset(self, committed: int | None, first: int) -> int:
        """The lower of the group's offset and the one in the last commit record (rule M1)."""
        self._position = None
        state = stream_state(self._follower.commit, self._stream)
        tributary = self._follower.catalog.tributary(self._stream)
        taken = state["change_offset"] if state is not None and state["position"] else None
        needed = taken if taken is not None else first if tributary is None else tributary.start_offset
        if needed < first:
            raise Gap(
                f"{self._stream} needs the change log from offset {needed}, it begins at {first}",
                where=Topics(self._settings.app).changes,
            )
        floor = first if tributary is None else max(first, tributary.start_offset)
        offset = needed if taken is None or committed is None else max(floor, min(taken, committed))
        log.info("%s starts at offset %d (taken: %s, committed: %s)", self._stream, offset, taken, committed)
        return offset

    async def _intake(self, events: faust.StreamT[Any]) -> None:
        async for event in cast(faust.Stream[bytes], events).noack().events():
            try:
                async with self._busy:
                    await self._evaluate(event)
                self._quiet_from = time.monotonic()
            except Exception:  # Faust would go on with the next event, which makes a hole
                log.exception("%s cannot go on after position %s", self._stream, self._position)
                self._failed = True
                await asyncio.Event().wait()

    async def _evaluate(self, event: faust.EventT[bytes]) -> None:
        batch = self._codec.decode(event.value)
        self._check_dense(batch["position"])
        await self._apply_catalog()
        crash_point("stream.after_versions")
        values = await self._answered(batch, event.message.offset)
        while not self._outlet.has_room:
            await asyncio.sleep(0.005)
        loop = asyncio.get_running_loop()

        def durable() -> None:
            crash_point("stream.before_acknowledged")
            loop.call_soon_threadsafe(event.ack)

        crash_point("stream.after_answers")
        for value in values[:-1]:
            self._outlet.send(value)
        self._outlet.send(values[-1], durable)
        crash_point("stream.after_write")

    async def _announce(self) -> None:
        """Where no batch comes, say what main answers for from the next one on: a take-over waits for it (rule D5).

        The record repeats a position that the merge has taken, so nothing else of it is ever used.
        """
        catalog = self._follower.catalog
        state = stream_state(self._follower.commit, self._stream)
        awaited = self._stream == MAIN and any(v.stream != MAIN for v in versions_of(catalog, MAIN))
        if not awaited or state is None or time.monotonic() < self._quiet_from + QUIET or self._busy.locked():
            return
        if self._position not in (None, state["position"]) or not self._app.consumer.assignment():
            return
        async with self._busy:
            await self._apply_catalog()
            head = self._head(state["position"], state["change_offset"] - 1)
            for record in evaluated_records(head, self._collector.compiled, [], []):
                self._outlet.send(self._codec.encode("Evaluated", record))
            crash_point("stream.after_announcement")
        self._quiet_from = time.monotonic()

    def _head(self, position: int, offset: int) -> dict[str, Any]:
        self._attempts += 1
        return {
            "stream": self._stream,
            "position": position,
            "change_offset": offset,
            "boundary": False,
            "committed_at": 0,
            "log_rows": 0,
            "attempt": f"{self._attempt}.{self._attempts}",
            "replay": None,
            "truncate": None,
        }

    def _check_dense(self, position: int) -> None:
        if self._position is not None and position > self._position + 1:
            raise Gap(f"the change log jumped from {self._position} to {position}", where=self._stream)
        self._position = position

    async def _apply_catalog(self) -> None:
        catalog = self._follower.catalog
        if catalog is not self._catalog:
            await self._collector.set_versions(versions_of(catalog, self._stream))
            self._catalog = catalog

    async def _answered(self, batch: dict[str, Any], offset: int) -> list[bytes]:
        rows = batch_rows(batch, self._collector.reads, self._decoders)
        compiled = self._collector.compiled
        answers = await self._collector.ask(batch["position"], rows)
        head = self._head(batch["position"], offset) | {
            "boundary": batch["boundary"],
            "committed_at": batch["committed_at"],
            "log_rows": batch["rows"],
            "truncate": batch["truncate"],
        }
        return [self._codec.encode("Evaluated", r) for r in evaluated_records(head, compiled, rows, answers)]

    def _hung(self, position: int, versions: Iterable[int]) -> None:
        silent = sorted(versions)
        log.error("versions %s gave no answer at position %d: the process ends", silent, position)
        self._stuck.add(position, silent)
        os._exit(1)


def _lost(reason: str) -> None:
    """A record can never be written: going on would leave a hole."""
    log.error("%s: the process ends", reason)
    os._exit(1)


def run(settings: Settings, stream: str) -> int:
    """Run one stream to its end; the exit code."""
    collect_seldom()
    schemas = available(settings)
    codec = Codec(schemas)
    codec.prepare("Evaluated", "Request")
    follower = Follower(settings, codec, failed=lambda: os._exit(1))
    follower.start()
    if stream == TO_COME:
        stream = _awaited(follower)
    if has_ended(follower.catalog, stream) or not has_begun(follower.catalog, stream):
        log.info("tributary %s has ended, or has not begun", stream)
        return 0
    if stream != MAIN:
        code = _replay(settings, stream, codec, schemas, follower)
        if code is not None:
            return code
    _wait_for_topic(settings, Topics(settings.app).evaluated(stream))
    return asyncio.run(Stream(settings, stream, codec, schemas, follower).run())


def _replay(settings: Settings, stream: str, codec: Codec, schemas: Schemas, follower: Follower) -> int | None:
    """Replay a tributary's past; None when it is done, else the process's exit code."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    rewinds = follower.catalog.rewinds.get(stream, 0)

    def check() -> None:
        if stopped.is_set() or has_ended(follower.catalog, stream):
            raise Stopped(f"{stream} is to end")
        if follower.catalog.rewinds.get(stream, 0) > rewinds:
            raise Rewound(f"the merge asks {stream} to rewind")

    outlet = Outlet(settings, Topics(settings.app).evaluated(stream), _lost)
    try:
        Replay(settings, stream, codec, schemas.text, follower=follower, outlet=outlet, check=check).run()
    except Rewound as error:
        log.info("%s", error)
        return REWOUND
    except Stopped as error:
        log.info("%s", error)
        return 0
    finally:
        outlet.close()
    return None


def _awaited(follower: Follower) -> str:
    """The stream's name from standard input, with the catalog that has it; no name: the process is to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    name = sys.stdin.readline().strip()
    if not name:
        sys.exit(0)
    follower.wait_for(lambda catalog: has_begun(catalog, name), timeout=5.0)
    return name


def _wait_for_topic(settings: Settings, topic: str) -> None:
    while not kafka.topic_exists(settings, topic):
        time.sleep(0.1)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `python -m topologies.stream`."""
    parser = argparse.ArgumentParser(prog="topologies.stream", description=__doc__.splitlines()[0])
    parser.add_argument("--settings", required=True)
    parser.add_argument("--stream", default=MAIN)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("faust", "httpx", "mode", "topologies.app"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # each of its attempts on a broker that is away is an ERROR; the outlet says once that it is
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    arm()
    try:
        return run(load(args.settings), args.stream)
    except SynclineError as error:
        log.error("%s", error.report())
        return 1


if __name__ == "__main__":
    sys.exit(main())
