"""From the last progress and the topics as they are now to where reading begins (rules S2, S4, S6, S12)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from connector.errors import SourceRefused
from connector.settings import Settings
from connector.source.lane import LaneState
from connector.source.order import OrderState
from connector.source.progress import Progress
from connector.source.records import Partition
from connector.source.tables import TableState, topic_table
from topologies.captured import CdcTopic, message_topic, transaction_topic

log = logging.getLogger(__name__)

Watermarks = Callable[[Partition], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Held:
    """A partition that was added to a topic: read after the old ones are read to `ends` (rule S12)."""

    start: int
    ends: Mapping[Partition, int]


def begin(settings: Settings, topics: Mapping[str, CdcTopic], watermarks: Watermarks) -> Progress:
    """The progress of the very first start: what lies in the topics already is history (rule S4)."""
    low, high = watermarks((transaction_topic(settings), 0))
    lanes: dict[Partition, LaneState] = {}
    trimmed = set()
    for topic in cdc_topics(settings, topics):
        for number in range(topic.partitions):
            first, end = watermarks((topic.name, number))
            lanes[topic.name, number] = LaneState(next=first, first_end=end)
            if first > 0:
                trimmed.add(topic.name)
    order = OrderState(end_next=low, first_end=high, trimmed=bool(trimmed) or low > 0, lanes=lanes)
    tables = with_tables(settings, topics, {})
    for name, state in tables.items():
        if state.topic in trimmed:
            tables[name] = replace(state, incomplete="its topic has lost its beginning")
    return Progress(order=order, tables=tables, topics={name: topic.id for name, topic in topics.items()})


def resume(settings: Settings, saved: Progress, topics: Mapping[str, CdcTopic]) -> Progress:
    """The saved progress, fitted to the topics as they are now.

    A topic that was deleted or made again stops its table. Raises SourceRefused where it is the transaction topic.
    """
    gone = {name for name, id_ in saved.topics.items() if name not in topics or topics[name].id != id_}
    if transaction_topic(settings) in gone:
        raise SourceRefused(
            "the transaction topic was deleted or made again: its order is lost",
            where=transaction_topic(settings),
            hint="snapshot the source anew under another app name",
        )
    tables = dict(saved.tables)
    for name, state in saved.tables.items():
        if state.topic in gone:
            log.error("table %s is stopped: its topic %s was deleted or made again", name, state.topic)
            tables[name] = replace(
                state,
                complete=None,
                stopped=True,
                refused="had its topic deleted or made again",
                hint=f"capture {name} anew: `syncline init` under another app name",
            )
    lanes = {p: _again(lane) if p[0] in gone else lane for p, lane in saved.order.lanes.items() if _there(p, topics)}
    ids = {name: topics[name].id for name in saved.topics if name in topics}
    return replace(saved, tables=tables, topics=ids, order=replace(saved.order, lanes=lanes))


def _again(lane: LaneState) -> LaneState:
    """A topic made again begins at 0; the mark still tells what is repeated."""
    return lane._replace(next=0, first_end=0, deleted=None)


def _there(partition: Partition, topics: Mapping[str, CdcTopic]) -> bool:
    topic = topics.get(partition[0])
    return topic is not None and partition[1] < topic.partitions


def cdc_topics(settings: Settings, topics: Mapping[str, CdcTopic]) -> list[CdcTopic]:
    """The topics with numbered records: of tables, and of logical messages."""
    return [topic for name, topic in topics.items() if name != transaction_topic(settings)]


def with_tables(
    settings: Settings, topics: Mapping[str, CdcTopic], tables: Mapping[str, TableState]
) -> dict[str, TableState]:
    """The tables, with those of topics that no table was known for."""
    known = {state.topic for state in tables.values()} | {transaction_topic(settings), message_topic(settings)}
    fresh = {topic_table(name, settings.topic_prefix): TableState(name) for name in topics if name not in known}
    return {**fresh, **tables}
