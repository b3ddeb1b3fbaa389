"""Transactions that a broker leaves open (KAFKA-20734): killed while they are, back when they have timed out."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from connector.errors import Gap
from connector.local.stack import Stack
from connector.settings import Settings
from tests.integration.pipeline import Pipeline, eventually, prepared
from tests.integration.sequencing import ready, sequencer
from tests.integration.test_pipeline import settled
from tests.integration.world import CONFIG, Writer, furnish
from tests.secured import SecuredStack
from topologies import kafka
from topologies.hanging import NOT_OURS, Hanging, Written, by_merge, by_sequencer
from topologies.topics import Topics

pytestmark = pytest.mark.stack

Partition = tuple[str, int]

ATTEMPTS = 5


def outage(stack: Stack) -> None:
    """The broker aborts what has timed out while it takes itself for the leader, still, of partitions it has not
    opened; then it has no leader for them, and skips their markers."""
    stack.kill("kafka")
    time.sleep(kafka.TRANSACTION_TIMEOUT_MS / 1000 + 1)  # an outage's length is the input
    early = ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "20")
    with stack.broker_with(*early) if isinstance(stack, SecuredStack) else nullcontext():
        stack.heal()


class Play:
    """One app's writer, played: its topics hold what the test writes."""

    def __init__(self, settings: Settings, written: Written, places: Sequence[Partition], left: slice) -> None:
        self.settings = settings
        self.written = written
        self.places = places
        self.left = places[left]  # where a transaction is to hang
        sizes = {topic: max(p for t, p in places if t == topic) + 1 for topic, _ in places}
        kafka.create_topics(settings, [kafka.TopicPlan(topic, count, {}) for topic, count in sizes.items()])
        self.hanging = Hanging(settings, written)
        self.writer = self.starts()

    def starts(self) -> Producer:
        """Its writer, which has fenced the one before."""
        self.writer = kafka.transactional_producer(self.settings, f"{self.settings.app}.writer")
        eventually(lambda: _done(lambda: self.writer.init_transactions(5)), what="the writer has its place")
        return self.writer

    def begin(self, number: int, places: Iterable[Partition], texts: Iterable[str] = ("",)) -> None:
        """A transaction's records, the last one in each place with its number; it stays open."""
        self.writer.begin_transaction()
        *before, last = [f"{number}{text}" for text in texts]
        for topic, partition in places:
            for text in before:
                self.writer.produce(topic, text, partition=partition)
            headers: kafka.Headers = [(self.written.header, str(number))]
            self.writer.produce(topic, last, "key", partition, headers=headers)
        assert self.writer.flush(30) == 0

    def commit(self, number: int, places: Iterable[Partition]) -> None:
        self.begin(number, places)
        self.writer.commit_transaction(30)

    def shows(self, number: int, place: Partition) -> None:
        """The place shows a record of the number, as if it alone had got its marker."""
        producer = kafka.producer(self.settings)
        producer.produce(place[0], str(number), "key", place[1], headers=[(self.written.header, str(number))])
        assert producer.flush(30) == 0

    def seen(self) -> list[list[str | None]]:
        """What each place shows."""
        reader = kafka.consumer(self.settings)
        try:
            values = [[m.value() for m in kafka.read_all(reader, *place)] for place in self.places]
        finally:
            reader.close()
        return [[value.decode() if value is not None else None for value in place] for place in values]


def _done(act: Any) -> bool:
    try:
        act()
    except kafka.KafkaException as error:
        if not error.args[0].retriable():
            raise
        return False
    return True


def left_open(settings: Settings, stack: Stack) -> dict[str, Play]:
    """Writers that have started after the broker has left transactions of theirs open, each number 2.

    A broker that is slow to come back may end them after all: then others are made.
    """
    lefts = {"void": slice(0, 4), "kept": slice(1, 3), "hidden": slice(2), "live": slice(3)}
    for attempt in range(ATTEMPTS):
        plays = {}
        for name, left in lefts.items():
            topics = Topics(f"{settings.app}{attempt}{name}")
            table = topics.snapshot("public.t")
            places = [(topics.sequence, 0), (topics.changes, 0), (table, 0), (table, 1)]
            plays[name] = Play(replace(settings, app=topics.app), by_sequencer(topics), places, left)
        topics = Topics(f"{settings.app}{attempt}merge")
        places = [(topics.checkpoints, 0), (topics.oplog(7), 0), (topics.oplog(8), 0)]
        plays["merge"] = Play(replace(settings, app=topics.app), by_merge(topics), places, slice(1, 2))
        for name, play in plays.items():
            play.commit(1, play.places)
            play.begin(2, play.left, "abc" if name == "merge" else ("",))
        outage(stack)
        for play in plays.values():
            play.starts()
        if all(play.hanging.found().keys() == set(play.left) for play in plays.values()):
            return plays
    raise AssertionError(f"the broker ended all transactions by itself, {ATTEMPTS} times")


def test_what_hangs_is_ended_as_its_transaction_was(source: Any, stack: Stack) -> None:
    """Seen nowhere, it is aborted; seen somewhere, or known to a live writer, it is committed; no op is said twice."""
    plays = left_open(source.settings, stack)
    void, kept, hidden, live, merge = (plays[name] for name in ("void", "kept", "hidden", "live", "merge"))
    kept.shows(2, kept.places[0])  # the witness
    hidden.shows(2, hidden.places[2])  # another one, where the witness hangs too
    merge.shows(2, merge.places[0])
    found = live.hanging.found()
    live.hanging.keep(live.writer, found)
    with pytest.raises(Gap, match="not this app's"):
        live.hanging.keep(live.writer, found)
    for play in plays.values():
        play.hanging.end(play.writer)
        assert not play.hanging.found()
        play.hanging.end(play.writer)  # nothing is left to be ended, so nothing is written
        play.commit(3, play.places[:1])
    twice = ["1", "2", "2"]
    assert void.seen() == [["1", "3"], ["1"], ["1"], ["1"]]
    assert kept.seen() == [["1", "2", "3"], twice, twice, ["1"]]
    assert hidden.seen() == [[*twice, "3"], twice, ["1", "2"], ["1"]]
    assert live.seen() == [[*twice, "3"], twice, twice, ["1"]]
    assert merge.seen() == [["1", "2", "3"], ["1", "2a", "2b", "2c", None], ["1"]]


def test_a_transaction_of_another_program_is_named(source: Any) -> None:
    """A sequencer that runs ends where one stands open in its topics, and does not start before it is over."""
    settings = source.settings
    source.sql("CREATE TABLE a (id int PRIMARY KEY)")
    ready(source)
    topics = Topics(settings.app)
    other = kafka.transactional_producer(settings, f"{settings.app}.other", **{"transaction.timeout.ms": 120_000})
    other.init_transactions(30)
    other.begin_transaction()
    with sequencer(settings) as process:
        eventually(lambda: "goes on after position 0" in process.said(), what="it runs")
        other.produce(topics.changes, "not ours", partition=0)
        assert other.flush(30) == 0
        assert process.ended() == 1
        assert f"{NOT_OURS}\n  {topics.changes} [0] 0" in process.said()
    with sequencer(settings) as process:
        assert process.ended() == 1
        assert f"{NOT_OURS}\n  {topics.changes} [0] 0" in process.said()
        other.abort_transaction(30)
    with sequencer(settings) as process:
        eventually(lambda: "goes on after position 0" in process.said(), what="it runs again")


MANY = """
INSERT INTO todos SELECT g + (SELECT max(id) FROM todos), 'l1', 'many', false, 1, null FROM generate_series(1, 4000) g
"""


def freeze_inside(source: Any, pipeline: Pipeline, worker: str, point: str, written: Written) -> None:
    """Stop the worker where some of a large transaction is with the broker already."""
    hanging = Hanging(source.settings, written)
    for _ in range(20):
        pipeline.freeze_at(f"{worker}.{point}")
        source.sql(MANY)
        pipeline.await_frozen()
        time.sleep(0.3)  # for the marker of the transaction before
        if hanging.found():
            return
        assert pipeline.send(worker, signal.SIGCONT)
    raise AssertionError(f"{worker} was never stopped inside a transaction")


@pytest.mark.soak
def test_workers_that_the_broker_leaves_with_open_transactions(source: Any, stack: Stack, tmp_path: Path) -> None:
    """Laws 5 to 8: sequencer and merge asleep before they commit, through an outage; what they had written is void,
    whether the broker remembers to end it or not."""
    furnish(source, 40, 500)
    with prepared(source.settings, tmp_path) as pipeline:
        pipeline.start()
        pipeline.deploy(CONFIG)
        writer = Writer(source.settings.postgres, seed=7)
        writer.start()
        try:
            freeze_inside(source, pipeline, "merge", "after_commit_record", by_merge(pipeline.topics))
            freeze_inside(source, pipeline, "sequence", "before_commit", by_sequencer(pipeline.topics))
            outage(stack)
            for worker in ("sequence", "merge"):
                assert pipeline.send(worker, signal.SIGCONT)
        finally:
            writer.finish()
        settled(source, pipeline, CONFIG)
        pipeline.deploy(CONFIG.replace("FROM todos", "FROM  todos"))
        settled(source, pipeline, CONFIG)
