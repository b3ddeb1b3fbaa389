"""Deletes what no catalog entry needs any more, after the commit that dropped it (rule D7), and trims what is taken."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable

from confluent_kafka import KafkaException, TopicPartition

from connector.crash import crash_point
from connector.merge.catalog import Catalog
from connector.merge.state import Merge
from connector.settings import Settings
from topologies import kafka
from topologies.topics import Topics

PAUSE = 2.0  # seconds between two passes while something is left
TRIM_PAUSE = 5.0

log = logging.getLogger(__name__)


def superfluous_topics(app: str, catalog: Catalog, names: Iterable[str]) -> list[str]:
    """Op logs of versions, and topics of tributaries, that the catalog does not know; only of exactly this app."""
    oplog = re.compile(rf"{re.escape(app)}\.oplog\.(\d+)")
    tributary = re.compile(rf"{re.escape(app)}\.(?:evaluated\.(t\d+r?)|stream\.(t\d+r?)-.*)")
    versions = {v.version for v in catalog.versions}
    tributaries = {t.name for t in catalog.tributaries}
    return sorted(
        name
        for name in names
        if ((match := oplog.fullmatch(name)) and int(match[1]) not in versions)
        or ((match := tributary.fullmatch(name)) and (match[1] or match[2]) not in tributaries)
    )


def superfluous_groups(app: str, catalog: Catalog, names: Iterable[str]) -> list[str]:
    """Consumer groups of tributaries that the catalog does not know."""
    group = re.compile(rf"{re.escape(app)}\.stream\.(t\d+r?)")
    tributaries = {t.name for t in catalog.tributaries}
    return sorted(n for n in names if (match := group.fullmatch(n)) and match[1] not in tributaries)


class CleanUp:
    """Passes over topics and groups until nothing superfluous is left. A crash loses nothing: the next start
    begins with a pass."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = Topics(settings.app)
        self._admin = kafka.admin(settings)
        self._due = True
        self._next_pass = 0.0
        self._next_trim = 0.0
        self._trimmed: dict[str, int] = {}

    def wanted(self) -> None:
        """A commit has dropped something."""
        self._due = True

    def run(self, state: Merge) -> None:
        """Do what is due, without waiting for the broker to have done it."""
        now = time.monotonic()
        if self._due and now >= self._next_pass:
            self._next_pass = now + PAUSE
            self._due = self._pass(state.catalog)
        if now >= self._next_trim:
            self._next_trim = now + TRIM_PAUSE
            self._trim(state)

    def _pass(self, catalog: Catalog) -> bool:
        """Delete what is superfluous; True where there was any, so that another pass looks again."""
        try:
            topics = superfluous_topics(self._settings.app, catalog, self._admin.list_topics(timeout=5).topics)
            listed = self._admin.list_consumer_groups(request_timeout=5).result().valid
            groups = superfluous_groups(self._settings.app, catalog, (g.group_id for g in listed))
            crash_point("cleanup.before_pass")
            if topics:
                log.info("deleting topics %s", ", ".join(topics))
                self._admin.delete_topics(topics)
                crash_point("cleanup.after_topics")
            if groups:
                self._admin.delete_consumer_groups(groups)
                crash_point("cleanup.after_groups")
        except KafkaException as error:
            log.warning("clean-up waits: %s", error.args[0].str())
            return True
        return bool(topics or groups)

    def _trim(self, state: Merge) -> None:
        """Cut the evaluated topics up to what is committed."""
        ends = [
            TopicPartition(self._topics.evaluated(s.name), 0, s.evaluated_offset)
            for s in state.streams.values()
            if s.evaluated_offset > self._trimmed.get(s.name, 0)
        ]
        if ends:
            self._admin.delete_records(ends)
            crash_point("cleanup.after_trim")
            self._trimmed = {s.name: s.evaluated_offset for s in state.streams.values()}
