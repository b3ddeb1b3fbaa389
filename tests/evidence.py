"""What a test's servers and workers say at the moment it fails: a minute later they and their logs are gone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec

from connector.local.stack import Stack
from tests.containers import ContainerStack
from tests.worlds import Source
from topologies import kafka

LINES = 40  # of each log
WITHIN = 10.0  # seconds for each answer
SLOTS = "SELECT * FROM pg_replication_slots"
SESSIONS = """
SELECT pid, datname, backend_type, state, wait_event, xact_start, query FROM pg_stat_activity
WHERE state IS NOT NULL ORDER BY xact_start
"""


def of(source: Source, stack: Stack | ContainerStack) -> str:
    """The connector, the source database, the ends of the source's topics, and the last lines of every log."""
    asked: dict[str, Callable[[], str]] = {
        "connector": partial(_connector, source),
        "slots": partial(_rows, source, SLOTS),
        "sessions": partial(_rows, source, SESSIONS),
        "ends of topics": partial(_ends, source),
    }
    for log in sorted(source.settings.path.parent.rglob("*.log")):
        asked[log.name] = partial(_tail, log)
    if isinstance(stack, Stack):
        for log in sorted(stack.folder.glob("*/log.txt")):
            words = (source.settings.app,) if log.parent.name == "connect" else ()  # the others name it all the time
            asked[log.parent.name] = partial(_tail, log, *words, " ERROR ", " WARN ")
    return "\n".join(f"-- {title}\n{_answer(ask)}" for title, ask in asked.items())


def _answer(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except Exception as error:  # a server that is down is evidence too, and must not hide the test's own failure
        return f"no answer: {error!r}"


def _connector(source: Source) -> str:
    url = f"{source.settings.connect}/connectors/{source.settings.connector}"
    return "\n".join(httpx.get(f"{url}/{path}", timeout=WITHIN, trust_env=False).text for path in ("status", "offsets"))


def _rows(source: Source, query: str) -> str:
    with source.connect(connect_timeout=int(WITHIN)) as connection:
        return "\n".join(map(str, connection.execute(query).fetchall()))


def _ends(source: Source) -> str:
    admin = kafka.admin(source.settings)
    names = (f"{source.settings.app}.", f"{source.settings.topic_prefix}.")
    topics = {name: topic for name, topic in admin.list_topics(timeout=WITHIN).topics.items() if name.startswith(names)}
    partitions = [TopicPartition(name, number) for name, topic in topics.items() for number in topic.partitions]
    asked = admin.list_offsets(dict.fromkeys(partitions, OffsetSpec.latest())) if partitions else {}
    ends = {(place.topic, place.partition): end.result(timeout=WITHIN).offset for place, end in asked.items()}
    return "\n".join(f"{topic} [{number}] {end}" for (topic, number), end in sorted(ends.items()) if end)


def _tail(log: Path, *words: str) -> str:
    """The last lines, of those with one of the words if any are given."""
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join([line for line in lines if not words or any(word in line for word in words)][-LINES:])
