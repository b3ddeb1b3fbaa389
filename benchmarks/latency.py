"""Latency from a commit in Postgres to the checkpoint that shows it, read as a node reads it."""

from __future__ import annotations

import threading
import time

import psycopg
from confluent_kafka import Consumer, TopicPartition

from schemas.codec import Codec
from tests.integration.pipeline import Pipeline, eventually
from topologies import kafka
from topologies.schemas import Schemas

Latencies = list[float]  # ms, one per transaction


def measure_latency(
    pipeline: Pipeline,
    dsn: str,
    *,
    per_second: float,
    seconds: float,
    definition: str = "items_1",
    until: threading.Event | None = None,
) -> Latencies:
    """Update one row per transaction; each has its latency once a checkpoint holds the definition's op that carries
    its title. Ends after `seconds`, or earlier where `until` is set."""
    watcher = _Watcher(pipeline, definition)
    watcher.start()
    committed: dict[str, float] = {}
    with psycopg.connect(dsn, autocommit=True) as source:
        for n in range(int(per_second * seconds)):
            if until is not None and until.is_set():
                break
            started = time.monotonic()
            title = f"at {started:.3f} {n}"
            source.execute("UPDATE items SET title = %s WHERE id = %s", (title, 1 + n % 1000))
            committed[title] = time.monotonic()
            time.sleep(max(0.0, 1 / per_second - (time.monotonic() - started)))
    eventually(lambda: committed.keys() <= watcher.shown.keys(), within=30, what="every update is in a checkpoint")
    watcher.end()
    return [1000 * (watcher.shown[title] - at) for title, at in committed.items()]


class _Watcher(threading.Thread):
    """When each title was first covered by a checkpoint."""

    def __init__(self, pipeline: Pipeline, definition: str) -> None:
        super().__init__(daemon=True)
        active = pipeline.catalog().active
        assert active is not None
        self._version = next(d for d in active.definitions if d.name == definition).parts[0].version
        self._codec = Codec(Schemas(pipeline.settings, patience=10))
        self._topics = pipeline.topics
        self._reader: Consumer = kafka.consumer(pipeline.settings)
        self._reader.assign([self._end_of(self._topics.oplog(self._version)), self._end_of(self._topics.checkpoints)])
        self._stopped = threading.Event()
        self._waiting: list[tuple[int, str]] = []
        self._end = 0  # of the op log at the newest checkpoint
        self.shown: dict[str, float] = {}

    def run(self) -> None:
        while not self._stopped.is_set():
            for message in self._reader.consume(500, timeout=0.005):
                if message.error() is not None or not message.value():
                    continue
                record = self._codec.decode(message.value())
                if message.topic() == self._topics.checkpoints:
                    self._exposed(record)
                elif record["data"] and '"at ' in record["data"]:
                    self._waiting.append((message.offset(), record["data"].split('"title":"')[1].split('"')[0]))
            self._show()  # an op may be read after the checkpoint that covers it

    def end(self) -> None:
        self._stopped.set()
        self.join(10)
        self._reader.close()

    def _exposed(self, commit: dict[str, object]) -> None:
        versions: list[dict[str, int]] = commit["versions"] if commit["exposed"] else []  # type: ignore[assignment]
        self._end = next((v["oplog_offset"] for v in versions if v["version"] == self._version), self._end)
        self._show()

    def _show(self) -> None:
        now = time.monotonic()
        for offset, title in self._waiting:
            if offset < self._end:
                self.shown.setdefault(title, now)
        self._waiting = [(offset, title) for offset, title in self._waiting if offset >= self._end]

    def _end_of(self, topic: str) -> TopicPartition:
        return TopicPartition(topic, 0, kafka.watermarks(self._reader, topic)[1])
