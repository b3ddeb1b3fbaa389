"""The sequencer: one ordered log out of many Debezium topics (rules S1 to S12).

    python -m topologies.sequence --settings FILE

Start, in this order (rules S1, S2):
1. `init_transactions` fences the sequencer before this one; what it left open is ended
2. the progress record is read
3. every captured partition is read from where the progress says

Then again and again: read, put in order, and write full batches in one Kafka transaction with the progress as of
their end. What is read and not yet in such a batch is read again after a restart.

Exit codes: 0 ended by SIGTERM; 1 an error, start it again; FENCED another sequencer has taken over, do not.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from confluent_kafka import KafkaException

from connector import settings as settings_file
from connector.crash import arm, crash_point
from connector.errors import BadRecord, Fenced, SourceRefused, SynclineError, Unavailable
from connector.position import Position
from connector.settings import Settings
from connector.source import markers
from connector.source.batches import Batch, Batcher, due_in
from connector.source.decode import Decoder
from connector.source.lane import LaneState
from connector.source.order import Order
from connector.source.progress import Progress
from connector.source.records import Partition, Row, Truncate
from connector.source.tables import Tables
from schemas.codec import Codec
from topologies import kafka, sequence_start
from topologies.captured import CdcTopic, captured, transaction_topic
from topologies.exits import FENCED
from topologies.notifications import Notifications
from topologies.prepare import own_topics
from topologies.rereads import Rereads
from topologies.schemas import Schemas
from topologies.sequence_input import Input
from topologies.sequence_log import RECORDS, Log
from topologies.sequence_start import Held
from topologies.sequence_watch import Watch, first_facts

log = logging.getLogger(__name__)

ROWS_PER_TRANSACTION = 4_000
BYTES_PER_TRANSACTION = 8 * 1024 * 1024
IDLE_WAIT = 0.05  # seconds to wait for the first record
TICK_EVERY = 0.05
MISSED_AFTER = 10.0  # seconds until a known topic that is not listed counts as deleted
SAVE_EVERY = 1.0  # seconds between progress records without a batch
TELL_EVERY = 1_000  # messages that are no markers, from one line of the log to the next

_T = TypeVar("_T")


class Stopped(Exception):
    """The process was told to end."""


class Sequencer:
    """One source's sequencer from its start to its end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = False
        self._held: dict[Partition, Held] = {}
        self._batches: list[Batch] = []
        self._bytes = 0
        self._saved_at = 0.0
        self._ticked_at = 0.0
        self._prefix = markers.prefix(settings.app)
        self._odd_messages = 0

    def stop(self, *_: object) -> None:
        """End at the next moment without an open transaction."""
        self._stopping = True

    def run(self) -> None:
        """Start and go on until told to stop. Raises Fenced, SourceRefused, Unavailable."""
        try:
            self._start()
            while not self._stopping:
                self._step()
        except Stopped:
            log.info("ended while waiting")

    # -- start -------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        settings = self._settings
        self._patiently(lambda: kafka.create_topics(settings, own_topics(settings)))
        self._schemas = self._patiently(lambda: Schemas(settings, patience=0))
        codec = Codec(self._schemas)
        self._patiently(lambda: codec.prepare(*RECORDS))
        self._log = Log(settings, codec)
        progress = self._log.open(self._breathe)
        crash_point("sequence.after_fence")
        topics = self._all_captured({} if progress is None else progress.topics)
        reader = kafka.consumer(settings)
        if progress is None:
            saved = sequence_start.begin(settings, topics, lambda p: kafka.watermarks(reader, *p))
        else:
            saved = sequence_start.resume(settings, progress, topics)
        reader.close()
        self._ids = {transaction_topic(settings): topics[transaction_topic(settings)].id, **saved.topics}
        self._take_up(saved)
        self._patiently(lambda: self._join(topics))
        facts = first_facts(settings, patience=5.0, stopped=lambda: self._stopping)
        self._watch.judge(facts)
        self._keep()
        self._save()
        log.info("goes on after position %d, reading %d partitions", saved.position, len(saved.order.lanes))

    def _take_up(self, saved: Progress) -> None:
        settings = self._settings
        self._tables = Tables(saved.tables, toast=settings.toast)
        self._tables.rejected_count = saved.rejected
        self._order = Order(saved.order, saved.counters)
        self._batcher = Batcher(Position(saved.position), saved.rows)
        decoder = Decoder(
            self._schemas.text,
            self._row_schema_id,
            {state.topic: table for table, state in saved.tables.items()},
            seen=[state.topic for state in saved.tables.values() if state.key is not None],
        )
        self._input = Input(settings, self._order, decoder)
        starts = {p: lane.next for p, lane in saved.order.lanes.items()}
        self._input.assign({**starts, (transaction_topic(settings), 0): saved.order.end_next})
        self._notifications = Notifications(settings, self._schemas)
        rereads = Rereads(settings, self._tables, self._notifications)
        self._watch = Watch(
            settings,
            self._order,
            self._tables,
            self._input,
            self._join,
            self._notifications,
            rereads,
            self._log.hanging.look,
        )

    def _row_schema_id(self, table: str, text: str) -> int:
        """A subject for each text: no compatibility rule can then refuse what the source has already done."""
        return self._schemas.id_of(f"{self._settings.app}.row.{table}.{zlib.crc32(text.encode()):08x}", text)

    def _all_captured(self, known: Mapping[str, str]) -> dict[str, CdcTopic]:
        """The CDC topics; a topic that was there before is missed only after a while."""
        deadline = time.monotonic() + MISSED_AFTER
        while True:
            topics = self._patiently(self._captured)
            if known.keys() <= topics.keys() or time.monotonic() > deadline:
                return topics
            self._breathe(0.5)

    def _captured(self) -> dict[str, CdcTopic]:
        """All CDC topics. Raises Unavailable while there is no transaction topic, SourceRefused if it is unfit."""
        topics = captured(self._settings, kafka.admin(self._settings))
        name = transaction_topic(self._settings)
        if name not in topics:
            raise Unavailable("there is no transaction topic yet: run `syncline init`", where=name)
        if topics[name].partitions != 1:
            raise SourceRefused(
                f"the transaction topic has {topics[name].partitions} partitions, so its order is lost",
                where=name,
                hint="`syncline init` creates it with 1 before the connector does; use another topic.prefix",
            )
        return topics

    # -- topics that appear ------------------------------------------------------------------------------------------

    def _join(self, topics: Mapping[str, CdcTopic]) -> None:
        """Read new topics, and new partitions once the old ones are read (rules S6, S12). Raises Unavailable."""
        lanes = set(self._order.partitions()) | self._held.keys()
        for topic in sequence_start.cdc_topics(self._settings, topics):
            known = self._ids.setdefault(topic.name, topic.id)
            if known != topic.id:
                raise SourceRefused(f"topic was made again: id {known} became {topic.id}", where=topic.name)
            fresh = [(topic.name, number) for number in range(topic.partitions) if (topic.name, number) not in lanes]
            if fresh:
                self._hold(fresh, [p for p in lanes if p[0] == topic.name])
        self._tables.states |= sequence_start.with_tables(self._settings, topics, self._tables.states)
        self._let_in()

    def _hold(self, fresh: Sequence[Partition], old: Sequence[Partition]) -> None:
        """Keep new partitions waiting until the old ones of their topic are read to their ends as of now."""
        self._input.learn(fresh[0][0])
        ends = self._input.high_watermarks(old)
        starts = {partition: self._input.watermarks(partition)[0] for partition in fresh}
        for partition, start in starts.items():
            log.info("topic %s has a new partition %d", *partition)
            self._held[partition] = Held(start, ends)

    def _let_in(self) -> None:
        for partition, held in list(self._held.items()):
            if all(self._order.blocked_or_at(p, end) for p, end in held.ends.items()):
                del self._held[partition]
                self._order.add_partition(partition, LaneState(next=held.start))
                self._input.assign({partition: held.start})
                if held.start > 0:
                    for name, state in self._tables.states.items():
                        if state.topic == partition[0]:
                            self._tables.spoiled(name, "its topic has lost its beginning")

    # -- one step ----------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        self._read()
        self._fill()
        now = time.monotonic()
        if self._ready and not due_in(now, self._saved_at):
            self._close()
        if self._batches:
            self._write()
        elif now - self._saved_at > SAVE_EVERY:
            self._save()
        if now - self._ticked_at > TICK_EVERY:
            self._ticked_at = now
            self._let_in()
            self._watch.tick(now, self._batcher.position + (1 if len(self._batcher) else 0))
            if self._watch.hanging:
                self._log.keep(self._watch.hanging)
                self._watch.hanging = {}

    @property
    def _ready(self) -> bool:
        """There is a batch that could be written: it ends where a source transaction does."""
        return len(self._batcher) > 0 and self._order.at_boundary

    def _read(self) -> None:
        """Read what there is."""
        try:
            self._input.poll(due_in(time.monotonic(), self._saved_at) if self._ready else IDLE_WAIT)
        except Unavailable as error:
            log.warning("%s (%s); waiting", error.message, error.where)
            self._breathe(0.5)

    def _fill(self) -> None:
        """Move rows in commit order into batches, until a Kafka transaction has enough (rule S8)."""
        order, batcher = self._order, self._batcher
        rows = sum(len(batch.changes) for batch in self._batches)
        for truncate in self._tables.owed():
            self._empty(truncate, 0)
        while rows < ROWS_PER_TRANSACTION and self._bytes < BYTES_PER_TRANSACTION:
            row = order.peek()
            if row is None:
                return
            if len(batcher) and not self._fits(row):
                self._close()
            order.take()
            rows += 1
            self._bytes += row.size
            self._settle(row)

    def _fits(self, row: Row) -> bool:
        """Whether the row may join the batch; a batch that is at a boundary is not torn for a large transaction."""
        if row.op == "t" or not self._batcher.fits(row) or self._tables.is_settled_alone(row):
            return False
        return row.order != 1 or self._batcher.room(self._order.ahead)

    def _settle(self, row: Row) -> None:
        if row.op == "m":
            if row.table == self._prefix:
                self._mark(row)
            return
        outcome = self._tables.settle(row, self._batcher.position + 1)
        emptied = False
        for change in outcome:
            if isinstance(change, Truncate):
                self._empty(change, row.committed_at)
                emptied = True
            else:
                self._batcher.add(change, row.committed_at)
        if len(self._batcher) and (emptied or self._tables.has_rejected):
            self._close()  # committed with the truncate, or the record set aside, that belongs to it

    def _mark(self, row: Row) -> None:
        """A node's marker goes with the batch that is being filled: every row before it is in that one or earlier.

        Where the batch ends inside the marker's transaction, the next checkpoint is at the end of that (rule V4).
        """
        try:
            self._batcher.mark(markers.read(row.row, row.committed_at))
        except BadRecord as error:
            if self._odd_messages % TELL_EVERY == 0:
                place = f"{row.partition[0]} {row.offset}"
                log.warning("a message under %s is no marker (%s): %s", self._prefix, place, error.message)
            self._odd_messages += 1

    def _empty(self, truncate: Truncate, committed_at: int) -> None:
        if len(self._batcher):
            self._close()
        batch = self._batcher.truncate(truncate, committed_at, boundary=self._order.at_boundary)
        self._tables.truncated(truncate.table, batch.position)
        self._batches.append(batch)
        self._keep()

    def _close(self) -> None:
        self._batches.append(self._batcher.close(boundary=self._order.at_boundary))
        self._keep()

    # -- writing -----------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        """Remember the state as of here: the end of the last closed batch."""
        self._kept = Progress(
            position=self._batcher.position,
            change_offset=0,
            rows=self._batcher.rows,
            order=self._order.snapshot(),
            tables=dict(self._tables.states),
            topics=dict(self._ids),
        )

    def _progress(self) -> Progress:
        return replace(
            self._kept,
            change_offset=self._log.change_offset,
            counters=replace(self._order.counters),
            rejected=self._tables.rejected_count,
            waiting=self._watch.waiting,
            reads=self._watch.reads,
        )

    def _write(self) -> None:
        rejected = self._tables.rejected()
        tables = {change.table for batch in self._batches for change in batch.changes}
        tables |= {batch.truncate.table for batch in self._batches if batch.truncate is not None}
        self._patiently(lambda: self._log.prepare(sorted(tables)))
        crash_point("sequence.after_topics")
        progress = self._progress()
        self._log.write(self._batches, rejected, progress, self._breathe)
        self._saved, self._saved_at = progress, time.monotonic()
        self._batches, self._bytes = [], 0

    def _save(self) -> None:
        """Write the progress where it changed without a batch."""
        if not len(self._batcher):
            self._keep()
        rejected, progress = self._tables.rejected(), self._progress()
        self._saved_at = time.monotonic()
        if rejected or progress != getattr(self, "_saved", None):
            self._log.write([], rejected, progress, self._breathe)
            self._saved = progress

    # -- waiting -----------------------------------------------------------------------------------------------------

    def _patiently(self, act: Callable[[], _T]) -> _T:
        """Do it, waiting for servers that are out of reach."""
        told = ""
        while True:
            try:
                return act()
            except (Unavailable, KafkaException) as error:
                if str(error) != told:
                    log.warning("%s; waiting", error)
                    told = str(error)
                self._breathe(0.5)

    def _breathe(self, seconds: float = 0.1) -> None:
        """Wait a moment. Raises Stopped where the process is to end."""
        if self._stopping:
            raise Stopped
        time.sleep(seconds)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or an error; the exit code."""
    parser = argparse.ArgumentParser(prog="topologies.sequence", description=__doc__)
    parser.add_argument("--settings", metavar="FILE")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    arm()
    try:
        sequencer = Sequencer(settings_file.load(args.settings))
        signal.signal(signal.SIGTERM, sequencer.stop)
        signal.signal(signal.SIGINT, sequencer.stop)
        sequencer.run()
    except Fenced as error:
        print(error.report(), file=sys.stderr)
        return FENCED
    except SynclineError as error:
        print(error.report(), file=sys.stderr)
        return 1
    except KafkaException as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # a question still asked in the background must not hold up the end
