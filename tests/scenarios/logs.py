"""What Syncline has written, read along: every record is fetched once, however often the oracle asks."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from connector.deploy.catalog import Catalog
from connector.settings import Settings
from schemas.codec import Codec
from topologies import kafka
from topologies.schemas import Schemas
from topologies.topics import Topics

Record = dict[str, Any]


class Logs:
    """Op logs, commits and catalog of one app. Raises Unavailable or KafkaException while the broker is away."""

    def __init__(self, settings: Settings) -> None:
        self._topics = Topics(settings.app)
        self._reader = kafka.consumer(settings)
        self._codec = Codec(Schemas(settings, patience=60))
        self._read: dict[str, list[tuple[int, Record]]] = defaultdict(list)
        self._next: dict[str, int] = {}

    def catalog(self) -> Catalog:
        """The one in force."""
        found = self._all(self._topics.catalog)
        return Catalog.from_record(found[-1][1]) if found else Catalog()

    def commits(self) -> list[Record]:
        """All that were there when somebody asked, exposed or not."""
        return [commit for _, commit in self._all(self._topics.checkpoints)]

    def checkpoints(self) -> list[Record]:
        """The exposed ones."""
        return [commit for commit in self.commits() if commit["exposed"]]

    def ops(self, version: int, end: int | None = None) -> list[Record]:
        """One version's, below an offset; waits for them: a commit becomes visible partition by partition."""
        found = self._all(self._topics.oplog(version), end or 0)
        return [op for offset, op in found if end is None or offset < end]

    def close(self) -> None:
        self._reader.close()

    def _all(self, topic: str, end: int = 0) -> list[tuple[int, Record]]:
        low, stable = kafka.watermarks(self._reader, topic)
        high = max(stable, end)
        start = max(low, self._next.get(topic, 0))
        for message in kafka.read_range(self._reader, topic, 0, start, high):
            offset = message.offset() or 0
            self._next[topic] = offset + 1
            if message.value():
                self._read[topic].append((offset, self._codec.decode(message.value() or b"")))
        return self._read[topic]
