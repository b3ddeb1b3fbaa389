"""The names of all topics, groups and transactional ids of one app, and each topic's settings."""

from __future__ import annotations

from dataclasses import dataclass

from connector.merge.pending import REPLAY_PATIENCE_MS

DAY_MS = 24 * 3600 * 1000
SEGMENT = 64 * 1024 * 1024
MARKERS_SEGMENT = 8 * 1024 * 1024  # read whole by each node that starts
MARKERS_KEPT_DAYS = 30
NODES_KEPT_MS = 3600 * 1000  # a node says again every 30 s what it says
HEADROOM = 1024 * 1024  # internal records exceed the connector's by framing only (rule T4)
FLOORS = ("min.compaction.lag.ms", "delete.retention.ms")  # settings that may be above what is asked for


@dataclass(frozen=True, slots=True)
class Topics:
    """Names under one app id."""

    app: str

    @property
    def changes(self) -> str:
        return f"{self.app}.changes"

    @property
    def sequence(self) -> str:
        return f"{self.app}.sequence"

    @property
    def schemas(self) -> str:
        return f"{self.app}.schemas"

    @property
    def rejected(self) -> str:
        return f"{self.app}.rejected"

    @property
    def requests(self) -> str:
        return f"{self.app}.requests"

    @property
    def checkpoints(self) -> str:
        return f"{self.app}.checkpoints"

    @property
    def catalog(self) -> str:
        return f"{self.app}.catalog"

    @property
    def markers(self) -> str:
        return f"{self.app}.markers"

    @property
    def nodes(self) -> str:
        return f"{self.app}.nodes"

    def snapshot(self, table: str) -> str:
        """The snapshot topic of `schema.table`."""
        return f"{self.app}.snapshot.{table}"

    def evaluated(self, stream: str) -> str:
        return f"{self.app}.evaluated.{stream}"

    def oplog(self, version: int) -> str:
        return f"{self.app}.oplog.{version}"

    def stream(self, stream: str) -> str:
        """The Faust app id, hence the consumer group, of a stream."""
        return f"{self.app}.stream.{stream}"

    @property
    def sequencer_id(self) -> str:
        """The sequencer's transactional.id (rule S1)."""
        return f"{self.app}.sequencer"

    @property
    def merge_id(self) -> str:
        """The merge's transactional.id (law 7)."""
        return f"{self.app}.merge"


def retained(max_request_size: int) -> dict[str, str]:
    """A log without time limit; its owner trims it."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "max.message.bytes": str(max_request_size + HEADROOM),
    }


def requests(max_request_size: int) -> dict[str, str]:
    """A log in which the broker's clock says when a request came (rule D1)."""
    return retained(max_request_size) | {"message.timestamp.type": "LogAppendTime"}


def set_aside(max_request_size: int) -> dict[str, str]:
    """A log for people: nothing is made from it, counts are kept elsewhere."""
    return retained(max_request_size) | {"retention.ms": str(7 * DAY_MS)}


def compacted(max_request_size: int) -> dict[str, str]:
    """The newest record per key, soon: commits and progress are read whole by commands and come dozens a second."""
    return _keyed(max_request_size) | {
        "segment.bytes": str(_segment(max_request_size)),
        "min.cleanable.dirty.ratio": "0.01",
    }


def markers(max_request_size: int) -> dict[str, str]:
    """The newest marker per client, as long as a client may stay away that has not seen it yet."""
    return _keyed(max_request_size) | {
        "cleanup.policy": "compact,delete",
        "retention.ms": str(MARKERS_KEPT_DAYS * DAY_MS),
        "segment.bytes": str(_segment(max_request_size, MARKERS_SEGMENT)),
        "min.cleanable.dirty.ratio": "0.01",
    }


def nodes(max_request_size: int) -> dict[str, str]:
    """What nodes say of their clients; what killed ones said last goes with time. The broker's clock tells its age."""
    return _keyed(max_request_size) | {
        "cleanup.policy": "compact,delete",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(NODES_KEPT_MS),
        "segment.ms": str(NODES_KEPT_MS // 6),
        "segment.bytes": str(_segment(max_request_size, MARKERS_SEGMENT)),
        "min.cleanable.dirty.ratio": "0.01",
    }


def _keyed(max_request_size: int) -> dict[str, str]:
    return {
        "cleanup.policy": "compact",
        "max.message.bytes": str(max_request_size + HEADROOM),
    }


def snapshot(max_request_size: int) -> dict[str, str]:
    """Compacted so slowly that a replay meets every row it needs (rule T7), and so soon after that it meets few more.

    The newest segment is never cleaned, so it is short. A cleaning copies the whole log, so a tenth must be worth it.
    """
    return _keyed(max_request_size) | {
        "message.timestamp.type": "LogAppendTime",
        "min.compaction.lag.ms": str(REPLAY_PATIENCE_MS),
        "delete.retention.ms": str(7 * DAY_MS),
        "segment.ms": str(REPLAY_PATIENCE_MS),
        "segment.bytes": str(_segment(max_request_size)),
        "min.cleanable.dirty.ratio": "0.1",
    }


def _segment(max_request_size: int, least: int = SEGMENT) -> int:
    """Bytes of a segment that holds the largest record."""
    return max(least, 2 * (max_request_size + HEADROOM))
