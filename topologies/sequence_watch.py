"""What the sequencer asks others beside its reading: Kafka for topics, Connect for offsets, Postgres for tables.

Every question is asked by one background thread, so that none of them holds up a row.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from connector.deploy.capture import Arrivals, Captured, publication
from connector.errors import Unavailable
from connector.settings import Settings
from connector.source.order import Order
from connector.source.records import Missing, Partition
from connector.source.tables import TableFacts, Tables, refusal
from topologies import database, kafka
from topologies.captured import CdcTopic, captured
from topologies.connect import Connect, SourceOffset
from topologies.hanging import LOOK_EVERY, Span
from topologies.notifications import Notifications
from topologies.question import Question
from topologies.rereads import Rereads
from topologies.sequence_input import Input

log = logging.getLogger(__name__)

TOPICS_EVERY = 3.0
TOPICS_WHEN_MISSING = 0.2
FACTS_EVERY = 20.0
CAPTURE_EVERY = 0.5  # while a table is to be read
OFFSET_EVERY = 0.5
TOLD_AFTER = 10.0  # seconds that an open transaction waits until the log says so
STUCK_AFTER = 0.5  # seconds without the number waited for before Connect is asked; never by time alone (rule S5)


@dataclass(slots=True)
class _Wait:
    """An open transaction that waits for a number."""

    missing: Missing
    since: float
    ends: Mapping[Partition, int] | None = None  # captured after Connect had acknowledged its END
    told: bool = False


@dataclass(slots=True)
class Watch:
    """Keeps topics, refusals, completeness and stuck transactions up to date; `tick` between two reads."""

    settings: Settings
    order: Order
    tables: Tables
    source: Input
    join: Callable[[Mapping[str, CdcTopic]], None]  # take up topics and partitions that appeared
    notifications: Notifications
    rereads: Rereads
    look: Callable[[], Mapping[Partition, Span]]
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "ask"))
    _wait: _Wait | None = None
    _read: dict[str, float] = field(default_factory=dict)
    _ends: dict[str, dict[Partition, int]] = field(default_factory=dict)
    _questions: dict[str, Question[object]] = field(default_factory=dict)
    _arrivals: Arrivals = field(default_factory=Arrivals)
    _unread: list[str] = field(default_factory=list)
    reads: Mapping[str, str] = field(default_factory=dict)  # what each table that is to be read whole waits for
    hanging: Mapping[Partition, Span] = field(default_factory=dict)  # transactions that the broker holds open

    def __post_init__(self) -> None:
        connect, admin = Connect(self.settings), kafka.admin(self.settings)
        self._questions = {
            "topics": Question(self._pool, lambda: captured(self.settings, admin)),
            "offset": Question(self._pool, connect.offset),
            "capture": Question(self._pool, lambda: self._capture(connect)),
            "facts": Question(self._pool, lambda: database.table_facts(self.settings)),
            "hanging": Question(self._pool, self.look),
        }

    def tick(self, now: float, position: int) -> None:
        """Look at everything once; `position` is that of the batch being filled."""
        try:
            self._look(now, position)
        except Unavailable as error:  # asked again at the next tick
            log.warning("%s (%s)", error.message, error.where)

    def _look(self, now: float, position: int) -> None:
        self.notifications.read()
        self._watch_missing(now)
        topics, _ = self._questions["topics"].answer(TOPICS_WHEN_MISSING if self._wait else TOPICS_EVERY, now)
        if isinstance(topics, dict):
            self.join(topics)
        facts, _ = self._questions["facts"].answer(FACTS_EVERY, now)
        if isinstance(facts, dict):
            self.judge(facts)
        read = self._note_read(now)
        if read or self._stuck(now):
            offset, asked_at = self._questions["offset"].answer(OFFSET_EVERY, now)
            if isinstance(offset, SourceOffset):
                self._offset_known(offset, asked_at)
        hanging, _ = self._questions["hanging"].answer(LOOK_EVERY, now)
        if isinstance(hanging, dict):
            self.hanging = hanging
        self._release()
        self._complete(position)
        self._ask_for_tables(now)

    def _ask_for_tables(self, now: float) -> None:
        """Have incomplete tables read, each once all that changes in it arrives by itself (rule D3)."""
        wishes = self.rereads.wishes
        self._unread = wishes.whole()
        if self._unread:
            seen, _ = self._questions["capture"].answer(CAPTURE_EVERY, now)
            if isinstance(seen, Captured):
                self._arrivals.learn(seen)
        else:
            self._arrivals = Arrivals()
        hindered = self._arrivals.hindered(self._unread)
        self.reads = {table: hindered.get(table) or wishes.waits(table) for table in self._unread}
        self.rereads.tick(now, hindered)

    def _capture(self, connect: Connect) -> Captured:
        """What the connector captures of the tables to be read. Raises Unavailable."""
        if self.settings.manage_connector and connect.fell_over_itself():
            log.error("the connector's threads met in an incremental snapshot: its task is started again")
            connect.restart_failed()
        asked, config, running = frozenset(self._unread), connect.config() or {}, connect.running()
        there = database.published(self.settings, publication(config), sorted(asked))
        return Captured(asked, config, running, *there, *database.running_transactions(self.settings))

    def judge(self, facts: Mapping[str, TableFacts]) -> None:
        """Refuse and take up tables as the database describes them now."""
        for name, state in list(self.tables.states.items()):
            known = facts.get(name)
            if known is None:
                continue
            verdict = refusal(known, self.settings.toast)
            if verdict is not None and self.tables.refuse(name, state.topic, *verdict):
                log.error("table %s is refused: it %s; %s", name, *verdict)
            elif verdict is None and state.refused is not None and not state.stopped:
                log.info("table %s is taken up again: was refused as it %s", name, state.refused)
                self.tables.take_up(name)

    @property
    def waiting(self) -> str | None:
        """What an open transaction waits for, for `status`."""
        if self._wait is None:
            return None
        missing = self._wait.missing
        place = f"transaction {missing.transaction}: row {missing.number} of {missing.events}"
        return f"{place}, of {' or '.join(missing.tables)}" if missing.tables else place

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.rereads.close()
        self.notifications.close()

    def _watch_missing(self, now: float) -> None:
        missing, wait = self.order.missing(), self._wait
        if missing is not None and wait is not None and wait.missing.lsn == missing.lsn:
            wait.missing = missing
            if not wait.told and now - wait.since > TOLD_AFTER:
                wait.told = True
                log.warning("waits for %s", self.waiting)
            return
        if wait is not None and wait.told:
            log.info("transaction %s goes on after %.0f s", wait.missing.transaction, now - wait.since)
        self._wait = None if missing is None else _Wait(missing, now)

    def _stuck(self, now: float) -> bool:
        return self._wait is not None and self._wait.ends is None and now - self._wait.since > STUCK_AFTER

    def _incomplete(self) -> list[str]:
        return [
            name
            for name, state in self.tables.states.items()
            if state.complete is None and state.refused is None and name not in self._ends and self._was_read(name)
        ]

    def _was_read(self, table: str) -> bool:
        """Whether some snapshot has gone over the whole table (rule D3)."""
        told = self.notifications
        if not told.read_to_end:
            return False
        if self.tables.states[table].incomplete is not None:
            return self.rereads.wishes.finished(table)
        if not told.covered:
            return self.order.closed > 0  # a connector that does not tell: it streams, so its snapshot is done
        if told.initial_completed and table not in told.covered:
            self.tables.spoiled(table, "was captured after the initial snapshot")
            return False
        return told.initial_completed

    def _note_read(self, now: float) -> dict[str, float]:
        """The tables that a snapshot has gone over and that are not known to be complete, since when."""
        self._read = {table: self._read.get(table, now) for table in self._incomplete()}
        return self._read

    def _offset_known(self, offset: SourceOffset, asked_at: float) -> None:
        """Capture the ends that must be passed; an answer asked for before the question arose says nothing."""
        wait = self._wait
        if wait is not None and wait.ends is None and offset.commit >= wait.missing.lsn and asked_at > wait.since:
            wait.ends = self.source.high_watermarks(self.order.partitions())
        if not offset.snapshot:
            for table in [table for table, since in self._read.items() if asked_at > since]:
                topic = self.tables.states[table].topic
                partitions = [p for p in self.order.partitions() if p[0] == topic]
                self._ends[table] = self.source.high_watermarks(partitions)

    def _release(self) -> None:
        wait = self._wait
        if wait is None or wait.ends is None:
            return
        missing = self.order.missing()
        if missing is None or missing.lsn != wait.missing.lsn:
            return
        if self.order.merging:
            if wait.ends.keys() >= set(self.order.partitions()):
                self.order.all_there(wait.ends)
            else:
                wait.ends = None  # a partition has come since: asked again
            return
        if not self.order.read_to(wait.ends):
            return
        gap = self.order.release()
        log.error(
            "transaction %s goes on without row %d of %d: Kafka has acknowledged all of it and no partition has it",
            gap.transaction,
            gap.number,
            gap.events,
        )

    def _complete(self, position: int) -> None:
        for table, ends in list(self._ends.items()):
            state = self.tables.states.get(table)
            if state is None or state.refused is not None or not self._was_read(table):
                del self._ends[table]
            elif all(self.order.next_offset(p) >= end for p, end in ends.items()) and not state.holes:
                del self._ends[table]
                self.rereads.wishes.forget(table)
                self.tables.completed(table, position)
                log.info("table %s is complete at position %d", table, position)


def first_facts(settings: Settings, *, patience: float, stopped: Callable[[], bool]) -> dict[str, TableFacts]:
    """The tables as the database describes them; empty where it stays out of reach for `patience` seconds."""
    deadline = time.monotonic() + patience
    while not stopped():
        try:
            return database.table_facts(settings)
        except Unavailable as error:
            if time.monotonic() > deadline:
                log.warning("%s; tables are judged later", error.message)
                return {}
            time.sleep(0.5)
    return {}
