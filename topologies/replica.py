"""A serving node's replica: applies the op logs to its own bucket store, checkpoint by checkpoint (rule V1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, cast

from confluent_kafka import KafkaError, Message, TopicPartition

from connector.crash import crash_point
from connector.errors import Unavailable
from connector.oplog.ops import Op
from connector.settings import Settings
from connector.store.buckets import BucketStore, Changed, Exposed, View
from schemas.codec import Codec
from topologies import kafka
from topologies.catalog import Followed
from topologies.recovery import create_own_topics, log_identity
from topologies.schemas import Schemas
from topologies.topics import Topics

CHUNK = 2_000  # records taken from the broker at once
WAIT = 0.02  # seconds to wait for more
KNOWN_CATALOGS = 50

Commit = dict[str, Any]
Told = Callable[[View, Changed], None]


class Replica:
    """Follows commits and op logs into `store`; each checkpoint is `told`, as a view that nothing moves."""

    def __init__(self, settings: Settings, told: Told = lambda view, changed: None) -> None:
        self._settings = settings
        self._told = told
        self._topics = Topics(settings.app)
        self._codec = Codec(Schemas(settings))
        create_own_topics(settings)
        self._log = log_identity(settings)
        self.store = BucketStore(settings.state / "buckets" / settings.app)
        if self.store.exposed.log != self._log:
            self.store.empty()
        self._commits = Followed(settings, self._codec, self._topics.checkpoints)
        self._catalogs = Followed(settings, self._codec, self._topics.catalog)
        self._known: dict[int, dict[str, Any]] = {}
        self._reader = kafka.follower(settings, wait_ms=100)
        self._next = dict(self.store.exposed.offsets)  # per version, the offset of the next op to apply
        self._buffers: dict[int, deque[Message]] = {}
        self.newest = 0  # number of the newest checkpoint known
        self.caught_up = False  # no newer commit is known than the store has
        self._under_way: Commit | None = None  # whose ops are being laid down
        self._done = 0  # number of the newest commit whose ops are in the store
        self._reached = False  # no newer commit is known than that

    def begin(self) -> None:
        """Tell of the checkpoint that the store has from before."""
        if self.store.exposed.commit:
            self._told(self.store.view(), Changed(frozenset(), frozenset()))

    def step(self) -> None:
        """Take some of the newest commit's ops, as far as they have come; expose it when all are there.

        Raises Unavailable where a server is away, or the store is damaged.
        """
        self.store.check()
        commit, self._under_way = self._under_way or self._newer(), None
        if commit is None:
            return
        catalog = self._catalog(commit["catalog"])
        if catalog is None:
            return  # the commit came first; the catalog follows at once
        ends = {v["version"]: v["oplog_offset"] for v in commit["versions"]}
        self._follow(ends)
        if any(self._next[version] < end for version, end in ends.items()):
            if self._lay_down(ends, {v["version"]: v["kind"] for v in catalog["versions"]}):
                self._under_way = commit
            return
        self._done = commit["number"]
        if commit["exposed"]:
            crash_point("replica.before_expose")
            changed = self.store.expose(Exposed(self._log, commit["number"], commit["position"], ends, catalog))
            self._told(self.store.view(), changed)
            crash_point("replica.after_expose")

    def _newer(self) -> Commit | None:
        """The newest commit, where its ops are not in the store yet."""
        commit = self._commits.newest(WAIT if self._reached else 0.0)
        self.caught_up = commit is None or commit["number"] <= self.store.exposed.commit
        self._reached = commit is None or commit["number"] <= max(self._done, self.store.exposed.commit)
        if commit is None or self._reached:
            return None
        if commit["exposed"]:
            self.newest = commit["number"]
        return commit

    def _lay_down(self, ends: dict[int, int], kinds: dict[int, str]) -> bool:
        """The commit's ops that have come, or wait a moment for some; False: none came, and a newer commit may have."""
        if ops := list(self._ready(ends)):
            self.store.add(ops, kinds)
            crash_point("replica.after_ops")
            return True
        return self._read()

    def close(self) -> None:
        for reader in (self._commits, self._catalogs, self._reader):
            reader.close()
        self.store.close()

    def _catalog(self, number: int) -> dict[str, Any] | None:
        """The catalog that was in force at a commit."""
        newest = self._catalogs.newest()
        if newest is not None:
            self._known[newest["number"]] = newest
            for old in sorted(self._known)[:-KNOWN_CATALOGS]:
                del self._known[old]
        return self._known.get(number)

    def _follow(self, ends: dict[int, int]) -> None:
        """Read the op logs of exactly these versions."""
        if self._buffers.keys() == ends.keys():
            return
        gone, fresh = self._buffers.keys() - ends.keys(), ends.keys() - self._buffers.keys()
        for version in gone:
            del self._buffers[version], self._next[version]
        for version in fresh:
            self._buffers[version], self._next[version] = deque(), self._next.get(version, 0)
            kafka.locate(self._reader, self._topics.oplog(version))
        self._reader.incremental_unassign([TopicPartition(self._topics.oplog(v), 0) for v in gone])
        self._reader.incremental_assign([TopicPartition(self._topics.oplog(v), 0, self._next[v]) for v in fresh])

    def _read(self) -> bool:
        """Take the ops that have come, whether any has; waits a moment for the first."""
        versions = {self._topics.oplog(version): version for version in self._buffers}
        first = self._reader.poll(WAIT)
        messages = [first, *self._reader.consume(CHUNK, timeout=0)] if first is not None else []
        for message in messages:
            error = message.error()
            if error is None:
                self._buffers[versions[message.topic() or ""]].append(message)
            elif error.fatal() or error.code() == KafkaError._AUTO_OFFSET_RESET:
                raise Unavailable(error.str(), where=message.topic())
        return bool(messages)

    def _ready(self, ends: dict[int, int]) -> Iterator[Op]:
        """The ops that have come and belong to the commit."""
        for version, buffer in self._buffers.items():
            while buffer and cast(int, buffer[0].offset()) < ends[version]:
                message = buffer.popleft()
                self._next[version] = cast(int, message.offset()) + 1
                if value := message.value():  # an empty one has ended a hanging transaction
                    yield cast(Op, self._codec.decode(value))
