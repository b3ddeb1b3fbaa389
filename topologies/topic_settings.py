"""The settings of topics as the broker has them: what is to be set anew, and how long compaction waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import KafkaException
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType  # type: ignore[attr-defined]

from connector.merge.pending import patience_ms
from connector.settings import Settings
from topologies import kafka
from topologies.topics import FLOORS, Topics


def topic_settings(settings: Settings, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Of topics that there are. Raises Unavailable."""
    if not names:
        return {}
    admin = kafka.admin(settings)  # must outlive its answers
    asked = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in names])
    try:
        return {
            resource.name: {entry.name: str(entry.value) for entry in future.result(kafka.PATIENCE).values()}
            for resource, future in asked.items()
        }
    except KafkaException as error:
        raise kafka.unavailable(settings, error.args[0], "ask for the settings of topics") from error


def compaction_lag_ms(settings: Settings, tables: Iterable[str]) -> int:
    """How long a replay of these tables may take: the least lag of their topics (rule T7). Raises Unavailable."""
    wanted = kafka.existing(settings, map(Topics(settings.app).snapshot, tables))
    lags = [int(found["min.compaction.lag.ms"]) for found in topic_settings(settings, wanted).values()]
    return patience_ms(min(lags, default=0))


def differing_settings(wanted: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    """What is to be set: a time that is to be kept at least may be longer (rule T7)."""
    return {name: value for name, value in wanted.items() if not _is_right(name, value, found.get(name))}


def _is_right(name: str, wanted: str, found: str | None) -> bool:
    return found == wanted or (found is not None and name in FLOORS and int(found) >= int(wanted))


def alter(settings: Settings, topic: str, config: Mapping[str, str]) -> None:
    """Set these of a topic's settings, and leave the others. Raises Unavailable."""
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in config.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin = kafka.admin(settings)
    for future in admin.incremental_alter_configs([resource]).values():
        try:
            future.result(kafka.PATIENCE)
        except KafkaException as error:
            raise kafka.unavailable(settings, error.args[0], f"change topic {topic}") from error
