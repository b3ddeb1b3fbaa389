"""The connector's settings as Syncline needs them: a table of what must be so, and what is right when we create it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

from connector import kafka_security
from connector.deploy.capture import listing, pattern
from connector.errors import BadConfig, SourceRefused
from connector.settings import Settings
from connector.source.types import CONNECTOR_SETTINGS

DAY_MS = 24 * 3600 * 1000
CLASS = "io.debezium.connector.postgresql.PostgresConnector"
CDC_RETENTION_DAYS = 7
SIGNAL_CONSUMER = "signal.consumer."  # before each setting of the consumer that Debezium makes for signals
SIGNAL_GROUP = "signal.kafka.groupId"
# Debezium logs its settings: all but those that this matches. Its own pattern has all of it but the last.
SANITIZE = "custom.sanitize.pattern"
SANITIZED = (
    r".*secret$|.*password$|.*sasl\.jaas\.config$|.*basic\.auth\.user\.info|.*registry\.auth\.client-secret"
    r"|.*credentials\.json$|.*connectionstring$|.*connection\.string$|.*keystore\.key$"
)
PLACEHOLDER = "__debezium_unavailable_value"
# Its question opens each table as it is now, in the very session that then decodes rows of before (decision 58).
ASKS_FOR_TABLES = "after a restart, rows from before an ALTER TABLE would come with values of no row"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A connector setting that Syncline relies on.

    `accepts` judges the setting's value, None where it is not set; `value` is what mends it. One that is not mendable
    would leave rows of two kinds in the topics, or take away what a person put there.
    """

    name: str
    value: str
    why: str
    accepts: Callable[[str | None], bool]
    mendable: bool = True


def _exactly(name: str, value: str, why: str, *, by_default: bool = False) -> Requirement:
    return Requirement(name, value, why, lambda found: found == value or (by_default and found is None))


def _fixed(name: str, value: str, why: str, *, by_default: bool = False) -> Requirement:
    """As `_exactly`, but not to be mended behind a person's back."""
    return replace(_exactly(name, value, why, by_default=by_default), mendable=False)


def _lists(name: str, value: str, why: str) -> Requirement:
    return Requirement(name, value, why, lambda found: value in (found or "").split(","))


def requirements(settings: Settings) -> tuple[Requirement, ...]:
    """Every setting that an existing connector must have."""
    prefix = settings.topic_prefix
    return (
        _fixed("connector.class", CLASS, "Syncline reads Debezium's Postgres connector"),
        _fixed("topic.prefix", prefix, "the settings file names this prefix"),
        *(_fixed(name, value, "no value is lost or ambiguous") for name, value in CONNECTOR_SETTINGS.items()),
        _fixed("schema.name.adjustment.mode", "avro", "the Avro converter needs valid names"),
        _fixed("field.name.adjustment.mode", "avro", "the Avro converter needs valid names"),
        _fixed("plugin.name", "pgoutput", "the plug-in that every Postgres has"),
        _fixed("unavailable.value.placeholder", PLACEHOLDER, "how an unchanged long value is told", by_default=True),
        _fixed("transforms", "", "transforms filter, flatten or move rows", by_default=True),
        _fixed("post.processors", "", "a reselected value may be newer than its event", by_default=True),
        _fixed("message.key.columns", "", "a delete carries the primary key only", by_default=True),
        _fixed("message.prefix.include.list", "", "write checkpoints travel as messages", by_default=True),
        _fixed("message.prefix.exclude.list", "", "write checkpoints travel as messages", by_default=True),
        Requirement("key.converter", "", "keys must be Avro", _is_avro, mendable=False),
        Requirement("value.converter", "", "values must be Avro", _is_avro, mendable=False),
        _exactly("provide.transaction.metadata", "true", "transactions are put together from it"),
        _exactly("tombstones.on.delete", "true", "deletes survive compaction", by_default=True),
        _exactly("skipped.operations", "none", "a skipped truncate would leave rows behind"),
        Requirement("publication.autocreate.mode", "disabled", ASKS_FOR_TABLES, _asks_for_none),
        _exactly("event.processing.failure.handling.mode", "fail", "a skipped event would be lost", by_default=True),
        _exactly("read.only", "true", "re-reads then need no signal table, so nothing is written to the source"),
        _lists("signal.enabled.channels", "kafka", "re-reads are asked for through a topic"),
        _exactly("signal.kafka.topic", signal_topic(settings), "where re-reads are asked for"),
        _exactly("signal.kafka.bootstrap.servers", settings.kafka, "where that topic is"),
        _lists("notification.enabled.channels", "sink", "says when a snapshot is complete"),
        _exactly("notification.sink.topic.name", notification_topic(settings), "where it is said"),
        Requirement("heartbeat.interval.ms", "1000", "an idle database must not keep its log", _is_positive),
    )


def _is_avro(found: str | None) -> bool:
    return found is None or "Avro" in found


def _asks_for_none(found: str | None) -> bool:
    return (found or "").strip().lower() != "filtered"


def _is_positive(found: str | None) -> bool:
    return found is not None and found.isdigit() and int(found) > 0


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with an existing connector and is left to a person."""

    detail: str
    hint: str


@dataclass(frozen=True, slots=True)
class Mended:
    """What an existing connector lacks: settings to change, and faults."""

    changes: Mapping[str, str]
    faults: tuple[Fault, ...]


def mended(settings: Settings, found: Mapping[str, str], tables: Sequence[str]) -> Mended:
    """What it takes to make an existing connector fit."""
    changes: dict[str, str] = {}
    faults = []
    for each in requirements(settings):
        value = found.get(each.name)
        if each.accepts(value):
            continue
        if each.mendable:
            changes[each.name] = each.value
            continue
        mend = f"set it to {each.value}" if each.value else "remove it"
        faults.append(
            Fault(f"{each.name} is {value or 'not set'}: {each.why}", f"{mend}, then snapshot the source anew")
        )
    try:
        changes |= listing(found, tables)
    except SourceRefused as refused:
        faults.append(Fault(refused.message, refused.hint or ""))
    return Mended(changes, tuple(faults))


def fresh(settings: Settings, tables: Sequence[str], partitions: int) -> dict[str, str]:
    """All settings of a connector that does not exist yet. Raises BadConfig where the DSN lacks a part."""
    prefix = settings.topic_prefix
    needed = {each.name: each.value for each in requirements(settings) if each.value}
    return (
        needed
        | _database(settings)
        | {
            "tasks.max": "1",
            "slot.name": slot_name(settings),
            "publication.name": slot_name(settings),
            "publication.autocreate.mode": "disabled",
            "table.include.list": ",".join(map(pattern, tables)),
            "snapshot.mode": "initial",
            "poll.interval.ms": "10",
            "max.batch.size": "4096",
            "max.queue.size": "16384",
            "max.queue.size.in.bytes": str(4 * settings.max_request_size),
            SIGNAL_GROUP: signal_group(settings),
            "signal.poll.interval.ms": "500",
            "incremental.snapshot.chunk.size": "2048",
            "extended.headers.enabled": "false",
            "topic.creation.enable": "true",
            "topic.creation.default.replication.factor": "-1",
            "topic.creation.default.partitions": str(partitions),
            "topic.creation.default.cleanup.policy": "delete",
            "topic.creation.default.retention.ms": str(CDC_RETENTION_DAYS * DAY_MS),
            "topic.creation.groups": "single",
            "topic.creation.single.include": "|".join(
                name.replace(".", "\\.") for name in (f"{prefix}.transaction", f"{prefix}.message")
            ),
            "topic.creation.single.partitions": "1",
            "topic.creation.single.replication.factor": "-1",
            "producer.override.max.request.size": str(settings.max_request_size),
            "producer.override.linger.ms": "5",
            "producer.override.compression.type": "lz4",
        }
    )


def signal_login(settings: Settings, read: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    """What an existing connector lacks for its consumer of signals to get into Kafka as Syncline does.

    `read`: the texts of the files that `kafka_security` names (kafka_security.java). What a person has written there in
    another way, by reference or by other names, is left alone.
    """
    wanted = kafka_security.java(settings.kafka_security, read)
    if not wanted:
        return {}
    there = {name: value for name, value in found.items() if name.startswith(SIGNAL_CONSUMER)}
    ours = {f"{SIGNAL_CONSUMER}{name}" for name in kafka_security.JAVA}
    if there.keys() - ours or any("${" in value for value in there.values()):
        return {}
    login = {f"{SIGNAL_CONSUMER}{name}": value for name, value in wanted.items()}
    once = {SIGNAL_GROUP: signal_group(settings)}
    if any(name.endswith("keystore.key") for name in login):
        once[SANITIZE] = SANITIZED
    return {n: v for n, v in login.items() if there.get(n) != v} | {n: v for n, v in once.items() if n not in found}


def signal_topic(settings: Settings) -> str:
    """Where Syncline asks the connector for incremental snapshots; key = topic.prefix."""
    return f"{settings.app}.signal"


def signal_group(settings: Settings) -> str:
    """The connector's consumer group for signals."""
    return f"{settings.app}.signals"


def notification_topic(settings: Settings) -> str:
    """Where the connector tells how its snapshots go."""
    return f"{settings.app}.notification"


def slot_name(settings: Settings) -> str:
    """Replication slot and publication: letters, digits and underscores."""
    return "syncline_" + "".join(c if c.isalnum() and c.isascii() else "_" for c in settings.app.lower())


def cdc_topic(settings: Settings, table: str) -> str:
    """The CDC topic of `schema.table`, as Debezium names it: odd characters become underscores."""
    legal = "".join(c if (c.isalnum() and c.isascii()) or c in "._-" else "_" for c in table)
    return f"{settings.topic_prefix}.{legal}"


def _database(settings: Settings) -> dict[str, str]:
    dsn = urlsplit(settings.postgres)
    if dsn.scheme not in ("postgres", "postgresql") or not dsn.hostname or not dsn.path.strip("/"):
        raise BadConfig(
            "setting `postgres` is no DSN with host and database",
            where=str(settings.path),
            hint="write postgresql://user:password@host:port/database",
        )
    return {
        "database.hostname": dsn.hostname,
        "database.port": str(dsn.port or 5432),
        "database.user": unquote(dsn.username or "postgres"),
        "database.password": unquote(dsn.password or ""),
        "database.dbname": unquote(dsn.path.strip("/")),
    }
