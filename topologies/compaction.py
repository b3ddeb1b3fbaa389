"""Compaction beside live traffic: a thread reads one op log after the other, the merge writes what comes of it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from itertools import islice

from confluent_kafka import KafkaException

from connector.errors import SynclineError
from connector.merge.compaction import rewrites_of
from connector.merge.state import Merge
from connector.oplog.ops import Op
from connector.position import OPS_PER_COMMIT
from connector.settings import Settings
from schemas.codec import Codec
from topologies import kafka
from topologies.oplogs import ops_in
from topologies.topics import Topics

PORTION = 5_000  # rewrites in one commit

log = logging.getLogger(__name__)


class Compactor:
    """Compacts the buckets of all exposed versions once per request, up to a checkpoint (rule M4)."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._settings = settings
        self._codec = codec
        self._found: deque[list[Op]] = deque()
        self._wanted = False
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def wanted(self) -> None:
        """A request came."""
        self._wanted = True

    def run(self, state: Merge) -> None:
        """Begin what is wanted, unless one is under way. `state` is that of the last commit, a checkpoint."""
        if not self._wanted or self._found or (self._thread is not None and self._thread.is_alive()):
            return
        self._wanted = False
        exposed = [v.version for v in state.catalog.exposed() if v.kind == "bucket"]
        ends = {version: state.versions[version].oplog_offset for version in exposed}
        limit = (state.number + 1) * OPS_PER_COMMIT - 1
        self._thread = threading.Thread(target=self._read, args=(ends, limit), name="compaction", daemon=True)
        self._thread.start()

    def portion(self, state: Merge) -> Sequence[Op]:
        """Rewrites for the next commit; none of a version that is gone meanwhile."""
        while self._found:
            portion = self._found.popleft()
            if portion[0]["version"] in state.versions:
                return portion
        return ()

    def close(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def _read(self, ends: dict[int, int], limit: int) -> None:
        try:
            for version, end in ends.items():
                self._read_version(version, end, limit)
        except (KafkaException, SynclineError) as error:
            log.warning("compaction gave up: %s", error)  # what is written is valid, the next request does the rest

    def _read_version(self, version: int, end: int, limit: int) -> None:
        reader = kafka.consumer(self._settings)
        try:
            topic = Topics(self._settings.app).oplog(version)
            low, _ = kafka.watermarks(reader, topic)
            messages = kafka.read_range(reader, topic, 0, low, end)
            rewrites = rewrites_of((op for _, op in ops_in(self._codec, messages)), limit)
            while not self._stopped.is_set() and (portion := list(islice(rewrites, PORTION))):
                self._found.append(portion)
        finally:
            reader.close()
