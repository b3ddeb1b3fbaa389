"""Transactions that a broker leaves open (KAFKA-20734): killed while they are, back when they have timed out."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable
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
from topologies import kafka
from topologies.hanging import NOT_OURS, Hanging, Written, by_merge, by_sequencer
from topologies.topics import Topics

pytestmark = pytest.mark.stack

Partition = tuple[str, int]


def outage(stack: Stack) -> None:
    """The broker aborts what has timed out while it takes itself for the leader, still, of partitions it has not
    opened; then it has no leader for them, and skips their markers."""
    stack.kill("kafka")
    time.sleep(kafka.TRANSACTION_TIMEOUT_MS / 1000 + 1)  # an outage's length is the input
    stack.heal()


class Play:
    """One app's writer, played: its topics hold what the test writes."""

    def __init__(self, settings: Settings, written: Written, places: Iterable[Partition]) -> None:
        self.settings = settings
        self.written = written
        self.places = list(places)
        sizes = {topic: max(p for t, p in self.places if t == topic) + 1 for topic, _ in self.places}
        kafka.create_topics(settings, [kafka.TopicPlan(topic, count, {}) for topic, count in sizes.items()])
        self.hanging = Hanging(settings, written)

    def starts(self) -> Producer:
        """Its writer, which has fenced the one before."""
        writer = kafka.transactional_producer(self.settings, f"{self.settings.app}.writer")
        eventually(lambda: _done(lambda: writer.init_transactions(5)), what="the writer has its place")
        return writer

    def write(self, writer: Producer, number: int, places: Iterable[Partition], texts: Iterable[str] = ("",)) -> None:
        """A transaction's records, the last one in each place with its number; it stays open."""
        writer.begin_transaction()
        *before, last = [f"{number}{text}" for text in texts]
        for topic, partition in places:
            for text in before:
                writer.produce(topic, text, partition=partition)
            headers: kafka.Headers = [(self.written.header, str(number))]
            writer.produce(topic, last, "key", partition, headers=headers)
        assert writer.flush(30) == 0

    def shows(self, number: int, place: Partition) -> None:
        """The place shows a record of the number, as if it alone had got its marker."""
        producer = kafka.producer(self.settings)
        producer.produce(place[0], str(number), "key", place[1], headers=[(self.written.header, str(number))])
        assert producer.flush(30) == 0

    def seen(self, place: Partition) -> list[str | None]:
        reader = kafka.consumer(self.settings)
        try:
            values = [m.value() for m in kafka.read_all(reader, *place)]
        finally:
            reader.close()
        return [value.decode() if value is not None else None for value in values]


def _done(act: Any) -> bool:
    try:
        act()
    except kafka.KafkaException as error:
        if not error.args[0].retriable():
            raise
        return False
    return True


def test_what_hangs_is_ended_as_its_transaction_was(source: Any, stack: Stack) -> None:
    """Seen nowhere, it is aborted; seen somewhere, or known to a live writer, it is committed; no op is said twice."""

    def app(name: str) -> tuple[Settings, Topics]:
        settings = replace(source.settings, app=f"{source.settings.app}{name}")
        return settings, Topics(settings.app)

    def sequencer(name: str) -> tuple[Play, list[Partition]]:
        settings, topics = app(name)
        places = [(topics.sequence, 0), (topics.changes, 0), *((topics.snapshot("public.t"), n) for n in (0, 1))]
        return Play(settings, by_sequencer(topics), places), places

    void, void_places = sequencer("v")
    kept, kept_places = sequencer("k")
    hidden, hidden_places = sequencer("h")
    live, live_places = sequencer("l")
    settings, topics = app("m")
    merge_places = [(topics.checkpoints, 0), (topics.oplog(7), 0), (topics.oplog(8), 0)]
    merge = Play(settings, by_merge(topics), merge_places)
    plays = (void, kept, hidden, merge, live)
    writers = [play.starts() for play in plays]
    for play, writer in zip(plays, writers, strict=True):
        play.write(writer, 1, play.places)
        writer.commit_transaction(30)
    void.write(writers[0], 2, void_places)
    kept.write(writers[1], 2, kept_places[1:3])
    hidden.write(writers[2], 2, hidden_places[:2])
    merge.write(writers[3], 2, merge_places[1:2], ("a", "b", "c"))
    live.write(writers[4], 2, live_places[:3])
    outage(stack)

    kept.shows(2, kept_places[0])  # the witness
    hidden.shows(2, hidden_places[2])  # another one, where the witness hangs too
    merge.shows(2, merge_places[0])
    assert {p for play in plays for p in play.hanging.found()} == {
        *void_places,
        *kept_places[1:3],
        *hidden_places[:2],
        merge_places[1],
        *live_places[:3],
    }
    fresh = [play.starts() for play in plays]
    found = live.hanging.found()
    live.hanging.keep(fresh[4], found)
    with pytest.raises(Gap, match="not this app's"):
        live.hanging.keep(fresh[4], found)
    for play, writer in zip(plays, fresh, strict=True):
        play.hanging.end(writer)
        assert not play.hanging.found()
        play.hanging.end(writer)  # nothing is left to be ended, so nothing is written
        play.write(writer, 3, play.places[:1])
        writer.commit_transaction(30)
    assert [void.seen(place) for place in void_places] == [["1", "3"], ["1"], ["1"], ["1"]]
    assert [kept.seen(place) for place in kept_places] == [["1", "2", "3"], ["1", "2", "2"], ["1", "2", "2"], ["1"]]
    assert [hidden.seen(place) for place in hidden_places] == [["1", "2", "2", "3"], ["1", "2", "2"], ["1", "2"], ["1"]]
    assert [live.seen(place) for place in live_places] == [
        ["1", "2", "2", "3"],
        ["1", "2", "2"],
        ["1", "2", "2"],
        ["1"],
    ]
    assert [merge.seen(place) for place in merge_places] == [["1", "2", "3"], ["1", "2a", "2b", "2c", None], ["1"]]


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


def freeze_inside(source: Any, pipeline: Pipeline, worker: str, point: str, hanging: Hanging) -> None:
    """Stop the worker where some of a large transaction is with the broker already."""
    for _ in range(20):
        pipeline.freeze_at(f"{worker}.{point}")
        source.sql(MANY)
        pipeline.await_frozen()
        time.sleep(0.3)  # for the marker of the transaction before
        if hanging.found():
            return
        assert pipeline.send(worker, signal.SIGCONT)
    raise AssertionError(f"{worker} was never stopped inside a transaction")


def test_workers_that_the_broker_leaves_with_open_transactions(source: Any, stack: Stack, tmp_path: Path) -> None:
    """Laws 5 to 8: sequencer and merge asleep before they commit, through an outage; what they had written is void."""
    furnish(source, 40, 500)
    with prepared(source.settings, tmp_path) as pipeline:
        pipeline.start()
        pipeline.deploy(CONFIG)
        writer = Writer(source.settings.postgres, seed=7)
        writer.start()
        try:
            merges = Hanging(source.settings, by_merge(pipeline.topics))
            freeze_inside(source, pipeline, "merge", "after_commit_record", merges)
            sequencers = Hanging(source.settings, by_sequencer(pipeline.topics))
            freeze_inside(source, pipeline, "sequence", "before_commit", sequencers)
            outage(stack)
            for worker in ("sequence", "merge"):
                assert pipeline.send(worker, signal.SIGCONT)
        finally:
            writer.finish()
        settled(source, pipeline, CONFIG)
        said = (pipeline.folder / "run.log").read_text().splitlines()
        for worker in ("sequence", "merge"):
            assert any(line.startswith(f"{worker} |") and line.endswith("it is aborted") for line in said)
        pipeline.deploy(CONFIG.replace("FROM todos", "FROM  todos"))
        settled(source, pipeline, CONFIG)
