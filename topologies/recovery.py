"""How a merge finds its place after any end of the one before (rule M3, law 6)."""

from __future__ import annotations

import logging
from itertools import islice
from typing import cast

from confluent_kafka import Consumer, KafkaException, TopicCollection

from connector.errors import Gap
from connector.merge.catalog import Catalog
from connector.merge.state import Merge, recovered
from connector.settings import Settings
from connector.store.rows import Applied, RowState
from schemas.codec import Codec
from topologies import kafka
from topologies.oplogs import ops_in
from topologies.topics import Topics, compacted, markers, nodes, requests, retained, set_aside

CHUNK = 20_000  # ops applied to the row state with one write batch

log = logging.getLogger(__name__)


def create_own_topics(settings: Settings) -> None:
    """The topics that the merge or a node writes or reads, where `init` has not made them yet."""
    topics, size = Topics(settings.app), settings.max_request_size
    kept, keyed = retained(size), compacted(size)
    kafka.create_topics(
        settings,
        [
            kafka.TopicPlan(topics.checkpoints, 1, keyed),
            kafka.TopicPlan(topics.catalog, 1, keyed),
            kafka.TopicPlan(topics.requests, 1, requests(size)),
            kafka.TopicPlan(topics.rejected, 1, set_aside(size)),
            kafka.TopicPlan(topics.evaluated("main"), 1, kept),
            kafka.TopicPlan(topics.markers, 1, markers(size)),
            kafka.TopicPlan(topics.nodes, 1, nodes(size)),
        ],
    )


def last_state(settings: Settings, codec: Codec) -> Merge:
    """The state after the last commit; call after fencing, so that no more can come from another merge.

    Raises Gap where commit record and catalog do not belong together.
    """
    topics = Topics(settings.app)
    reader = kafka.consumer(settings)
    try:
        commit = kafka.last_record(reader, topics.checkpoints)
        catalog = kafka.last_record(reader, topics.catalog)
    finally:
        reader.close()
    if commit is None:
        return Merge()
    record = codec.decode(commit.value() or b"")
    known = Catalog.from_record(codec.decode(catalog.value() or b"")) if catalog is not None else Catalog()
    if known.number != record["catalog"]:
        raise Gap(
            f"commit {record['number']} was made under catalog {record['catalog']}, newest is {known.number}",
            where=topics.catalog,
        )
    return recovered(record, known)


def bring_rows_up(settings: Settings, codec: Codec, rows: RowState, state: Merge) -> None:
    """Make the row state that of the last commit, from the op logs where it is behind, missing or another's."""
    identity = log_identity(settings)
    applied = rows.applied
    if applied.log != identity or applied.commit > state.number:
        rows.empty()
        applied = Applied(identity)
    ends = {number: v.oplog_offset for number, v in state.versions.items()}
    gone = applied.offsets.keys() - ends.keys()
    count = 0
    reader = kafka.consumer(settings)
    try:
        for version, end in ends.items():
            if applied.offsets.get(version, 0) < end:
                count += _replay(reader, codec, rows, Topics(settings.app).oplog(version), version, end, identity)
    finally:
        reader.close()
    rows.write(Applied(identity, state.number, ends), {}, {}, gone)
    log.info("at commit %d, %d ops read back", state.number, count)


def _replay(  # noqa: PLR0917 -- one loop of bring_rows_up, taken out for its length
    reader: Consumer, codec: Codec, rows: RowState, topic: str, version: int, end: int, identity: str
) -> int:
    low, _ = kafka.watermarks(reader, topic)
    start = max(low, rows.applied.offsets.get(version, 0))
    messages = kafka.read_range(reader, topic, 0, start, end)
    count = 0
    while chunk := list(islice(messages, CHUNK)):
        ops = [op for _, op in ops_in(codec, chunk)]
        offsets = {**rows.applied.offsets, version: cast(int, chunk[-1].offset()) + 1}
        rows.replay(ops, Applied(identity, rows.applied.commit, offsets))
        count += len(ops)
    return count


def log_identity(settings: Settings) -> str:
    """App and topic id of the commit records: a store that was made from other ones is worthless.

    Raises Unavailable.
    """
    topic = Topics(settings.app).checkpoints
    admin = kafka.admin(settings)
    try:
        described = admin.describe_topics(TopicCollection([topic]))[topic].result(kafka.PATIENCE)
    except KafkaException as error:
        raise kafka.unavailable(settings, error.args[0], f"describe {topic}") from error
    return f"{settings.app}/{described.topic_id}"
