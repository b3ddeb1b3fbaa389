"""The CDC topics of one source as the broker has them: names, ids, partition counts (rules S6, S12)."""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from connector.settings import Settings
from topologies import kafka


@dataclass(frozen=True, slots=True)
class CdcTopic:
    """One topic that the connector writes rows to."""

    name: str
    id: str
    partitions: int


def transaction_topic(settings: Settings) -> str:
    return f"{settings.topic_prefix}.transaction"


def message_topic(settings: Settings) -> str:
    return f"{settings.topic_prefix}.message"


def captured(settings: Settings, admin: AdminClient) -> dict[str, CdcTopic]:
    """All topics under the connector's prefix, the transaction topic included.

    Raises Unavailable where the broker is out of reach.
    """
    try:
        names = [name for name in admin.list_topics(timeout=kafka.PATIENCE).topics if _is_ours(settings, name)]
        if not names:
            return {}
        futures = admin.describe_topics(TopicCollection(names), request_timeout=kafka.PATIENCE)
        found = [future.result() for future in futures.values()]
    except KafkaException as error:
        raise kafka.unavailable(settings, error.args[0], "list topics") from error
    return {topic.name: CdcTopic(topic.name, str(topic.topic_id), len(topic.partitions)) for topic in found}


def _is_ours(settings: Settings, name: str) -> bool:
    return name.startswith(f"{settings.topic_prefix}.")
