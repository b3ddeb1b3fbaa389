"""Deletes what no catalog entry needs any more, after the commit that dropped it (rule D7), and trims what is taken."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from connector.crash import crash_point
from connector.merge.catalog import Catalog
from connector.merge.pending import AGAIN
from connector.merge.retention import Answered, needed_from
from connector.merge.state import Merge
from connector.settings import Settings
from connector.source.records import Partition
from topologies import kafka
from topologies.changelog import change_log_bytes
from topologies.hanging import LOOK_EVERY, Hanging, Span
from topologies.question import Question
from topologies.topics import Topics

PAUSE = 2.0  # seconds between two passes while something is left
TRIM_PAUSE = 5.0
WEIGH_PAUSE = 30.0  # longer than it takes to trim what has been let go

log = logging.getLogger(__name__)


def superfluous_topics(app: str, catalog: Catalog, names: Iterable[str]) -> list[str]:
    """Op logs of versions, and topics of tributaries, that the catalog has given up; only of exactly this app.

    Not what it cannot know yet: a merge that was held up, and whose place another has taken, looks at an old one.
    """
    oplog = re.compile(rf"{re.escape(app)}\.oplog\.(\d+)")
    tributary = re.compile(rf"{re.escape(app)}\.(?:evaluated\.(t\d+r?)|stream\.(t\d+r?)-.*)")
    versions = {v.version for v in catalog.versions}
    return sorted(
        name
        for name in names
        if ((match := oplog.fullmatch(name)) and int(match[1]) < catalog.next_version and int(match[1]) not in versions)
        or ((match := tributary.fullmatch(name)) and _is_over(match[1] or match[2], catalog))
    )


def superfluous_groups(app: str, catalog: Catalog, names: Iterable[str]) -> list[str]:
    """Consumer groups of tributaries that the catalog has given up."""
    group = re.compile(rf"{re.escape(app)}\.stream\.(t\d+r?)")
    return sorted(n for n in names if (match := group.fullmatch(n)) and _is_over(match[1], catalog))


def _is_over(tributary: str, catalog: Catalog) -> bool:
    """It is not in the catalog and comes in no later one: neither as a new one nor as one that starts over."""
    first = tributary.removesuffix(AGAIN)
    known = {t.name for t in catalog.tributaries}
    return int(first.removeprefix("t")) < catalog.next_generation and not {tributary, first} & known


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What the broker still has and no catalog entry needs."""

    topics: tuple[str, ...]
    groups: tuple[str, ...]


def leftovers(settings: Settings, catalog: Catalog) -> Leftovers:
    """As the broker lists them now. Raises Unavailable."""
    admin = kafka.admin(settings)
    try:
        return _leftovers(settings.app, catalog, admin)
    except KafkaException as error:
        raise kafka.unavailable(settings, error.args[0], "list topics and groups") from error


def _leftovers(app: str, catalog: Catalog, admin: AdminClient) -> Leftovers:
    topics = superfluous_topics(app, catalog, admin.list_topics(timeout=5).topics)
    listed = admin.list_consumer_groups(request_timeout=5).result().valid
    return Leftovers(tuple(topics), tuple(superfluous_groups(app, catalog, (g.group_id for g in listed))))


class CleanUp:
    """Passes over topics and groups until nothing superfluous is left. A crash loses nothing: the next start
    begins with a pass.

    What a commit let go is dropped only once that commit can be seen: a broker may lose one that it has confirmed
    (topologies/hanging.py), and the next start needs what was before it.
    """

    def __init__(self, settings: Settings, hanging: Hanging) -> None:
        self._settings = settings
        self._topics = Topics(settings.app)
        self._admin = kafka.admin(settings)
        self._due: int | None = 0  # the commit that has to be seen first
        self._next_pass = 0.0
        self._next_trim = 0.0
        self._trimmed: dict[str, int] = {}
        self._let_go: tuple[int, dict[str, int]] = (0, {})  # a commit, and where each log was needed from then
        self._answered: Answered | None = None
        self._pool = ThreadPoolExecutor(1, "weigh")
        self._size = Question(self._pool, lambda: change_log_bytes(settings))
        self._hanging = Question(self._pool, hanging.look)
        self._visible = Question(self._pool, hanging.shown)
        self._shown = 0

    def wanted(self, commit: int) -> None:
        """The commit has dropped something."""
        self._due = commit

    def run(self, state: Merge) -> None:
        """Do what is due, without waiting for the broker to have done it."""
        now = time.monotonic()
        shown, _ = self._visible.answer(TRIM_PAUSE if self._due is None else PAUSE, now)
        self._shown = max(self._shown, shown or 0)
        if self._due is not None and self._due <= self._shown and now >= self._next_pass:
            self._next_pass = now + PAUSE
            self._due = self._due if self._pass(state.catalog) else None
        if self._let_go[0] <= self._shown and now >= self._next_trim:
            self._next_trim = now + TRIM_PAUSE
            self._trim(state, now)

    def outgrown(self) -> bool:
        """Said once per look: the change log is longer than the settings allow (rule M5)."""
        allowed = self._settings.max_change_log_bytes
        if not allowed:
            return False
        size, _ = self._size.answer(WEIGH_PAUSE, time.monotonic())
        if size is not None and size > allowed:
            log.warning("the change log has about %d bytes, more than max_change_log_bytes = %d", size, allowed)
            return True
        return False

    def hanging(self) -> dict[Partition, Span]:
        """Said once per look: where the broker holds a transaction open that is over."""
        found, _ = self._hanging.answer(LOOK_EVERY, time.monotonic())
        return found or {}

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _pass(self, catalog: Catalog) -> bool:
        """Delete what is superfluous; True where there was any, so that another pass looks again."""
        try:
            left = _leftovers(self._settings.app, catalog, self._admin)
            crash_point("cleanup.before_pass")
            if left.topics:
                log.info("deleting topics %s", ", ".join(left.topics))
                self._admin.delete_topics(list(left.topics))
                crash_point("cleanup.after_topics")
            if left.groups:
                self._admin.delete_consumer_groups(list(left.groups))
                crash_point("cleanup.after_groups")
        except KafkaException as error:
            log.warning("clean-up waits: %s", error.args[0].str())
            return True
        return bool(left.topics or left.groups)

    def _trim(self, state: Merge, now: float) -> None:
        """Cut the evaluated topics up to what was committed a pass ago, the requests up to what was answered long
        since, and the change log up to what was needed: a stream that has just started may have read an older commit
        (rule M5)."""
        self._answered = (self._answered or Answered(now, state.request_offset)).seen(state.request_offset, now)
        _, wanted = self._let_go
        ends = [TopicPartition(t, 0, end) for t, end in wanted.items() if end > self._trimmed.get(t, 0)]
        if ends:
            self._admin.delete_records(ends)
            crash_point("cleanup.after_trim")
            self._trimmed = wanted
        taken = {self._topics.evaluated(s.name): s.evaluated_offset for s in state.streams.values()}
        requests, changes = self._answered.long_since, needed_from(state)
        self._let_go = state.number, {**taken, self._topics.requests: requests, self._topics.changes: changes}
