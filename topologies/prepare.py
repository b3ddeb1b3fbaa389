"""`syncline init`: makes source, connector and topics ready, and says what it could not mend (rules S6, S10)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from connector import kafka_security
from connector.deploy import connector as wanted
from connector.deploy.capture import lists, publication
from connector.errors import SourceRefused, SynclineError, Unavailable
from connector.settings import Settings
from connector.source.tables import TableFacts, has_plain_name, refusal
from schemas.registry import Registry
from topologies import database, kafka
from topologies.captured import message_topic, transaction_topic
from topologies.connect import PATIENCE, Connect
from topologies.kafka import TopicPlan
from topologies.topic_settings import alter, differing_settings, topic_settings
from topologies.topics import HEADROOM, Topics, compacted, markers, nodes, requests, retained, set_aside, snapshot

CONNECTOR_READY = 60.0
FAILED_FOR = 3.0  # seconds; one that starts again is still told as failed for a moment
DEFAULT_SCHEMA = "public"

Outcome = Literal["ok", "changed", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `init` looked at; `hint` says how to mend what is wrong."""

    subject: str
    outcome: Outcome
    detail: str
    hint: str | None = None


def prepare(settings: Settings) -> list[Finding]:
    """Check and prepare everything; safe to repeat. What depends on a server out of reach is left out."""
    findings = list(_servers(settings))
    if any(finding.outcome == "wrong" for finding in findings):
        return findings
    facts = database.table_facts(settings)
    tables = captured_tables(settings, facts)
    findings += _database(settings)
    findings += _tables(settings, facts, tables)
    present = [table for table in tables if table in facts]
    findings += _topics(settings, present)
    if not present:
        hint = "create one with a primary key, or name tables in the settings file"
        return [*findings, Finding("tables", "wrong", f"there is no table to capture in {DEFAULT_SCHEMA}", hint)]
    return [*findings, *_connector(settings, present)]


def captured_tables(settings: Settings, facts: Mapping[str, TableFacts]) -> list[str]:
    """The tables to capture: those the settings name, else all of `public` that have a key."""
    if settings.tables:
        return sorted(settings.tables)
    return sorted(name for name, known in facts.items() if name.startswith(f"{DEFAULT_SCHEMA}.") and known.key)


# -- servers and database ---------------------------------------------------------------------------------------------


def _servers(settings: Settings) -> Iterator[Finding]:
    registry, connect = Registry(settings.registry), Connect(settings, patience=PATIENCE)
    checks: list[tuple[str, str, Callable[[], object]]] = [
        ("kafka", settings.kafka, lambda: kafka.topic_exists(settings, Topics(settings.app).changes, timeout=5.0)),
        ("registry", registry.url, registry.subjects),
        ("connect", connect.url, connect.config),
        ("postgres", "source database", lambda: database.ask(settings, "SELECT 1")),
    ]
    with ThreadPoolExecutor(len(checks)) as pool:  # side by side: a command says within 10 s what is out of reach
        yield from pool.map(_server, checks)
    connect.close()


def _server(asked: tuple[str, str, Callable[[], object]]) -> Finding:
    name, where, check = asked
    try:
        check()
    except SynclineError as error:
        hint = error.hint or "is it up? `syncline local status`"
        return Finding(name, "wrong", f"{error.message} ({error.where or where})", hint)
    return Finding(name, "ok", f"answers at {where}")


def _database(settings: Settings) -> Iterator[Finding]:
    level = database.ask(settings, "SHOW wal_level")[0][0]
    if level == "logical":
        yield Finding("postgres", "ok", "wal_level is logical")
    else:
        hint = "ALTER SYSTEM SET wal_level = logical, then restart Postgres"
        yield Finding("postgres", "wrong", f"wal_level is {level}", hint)
    role = database.ask(settings, "SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user")
    if not role or not role[0][0]:
        hint = "ALTER ROLE … REPLICATION"
        yield Finding("postgres", "wrong", "the user may not replicate", hint)


def _tables(settings: Settings, facts: Mapping[str, TableFacts], tables: Sequence[str]) -> Iterator[Finding]:
    for table in tables:
        known = facts.get(table)
        if known is None:
            hint = "names are schema.table, as the database spells them"
            yield Finding(f"table {table}", "wrong", "does not exist", hint)
            continue
        verdict = refusal(known, settings.toast)
        if verdict is None:
            yield Finding(f"table {table}", "ok", f"key {', '.join(known.key)}, replica identity {known.identity}")
        else:
            yield Finding(f"table {table}", "wrong", verdict[0], verdict[1])
    if not settings.tables:
        for name, known in sorted(facts.items()):
            if name.startswith(f"{DEFAULT_SCHEMA}.") and not known.key:
                yield Finding(f"table {name}", "ok", "left out: it has no primary key")


# -- topics -----------------------------------------------------------------------------------------------------------


def own_topics(settings: Settings) -> list[TopicPlan]:
    """Syncline's own topics that exist from the start on."""
    topics, size = Topics(settings.app), settings.max_request_size
    return [
        TopicPlan(topics.changes, 1, retained(size)),
        TopicPlan(topics.sequence, 1, compacted(size)),
        TopicPlan(topics.schemas, 1, compacted(size)),
        TopicPlan(topics.rejected, 1, set_aside(size)),
        TopicPlan(topics.requests, 1, requests(size)),
        TopicPlan(topics.checkpoints, 1, compacted(size)),
        TopicPlan(topics.catalog, 1, compacted(size)),
        TopicPlan(topics.evaluated("main"), 1, retained(size)),
        TopicPlan(topics.markers, 1, markers(size)),
        TopicPlan(topics.nodes, 1, nodes(size)),
    ]


def source_topics(settings: Settings, tables: Sequence[str]) -> list[TopicPlan]:
    """The connector's topics; made before it is, as an empty table has none until its first row (rule S6)."""
    days = {"cleanup.policy": "delete", "retention.ms": str(wanted.CDC_RETENTION_DAYS * wanted.DAY_MS)}
    config = days | {"max.message.bytes": str(settings.max_request_size + HEADROOM)}
    single = [transaction_topic(settings), message_topic(settings)]
    single += [wanted.signal_topic(settings)]
    return [
        *(TopicPlan(name, 1, config) for name in single),
        TopicPlan(wanted.notification_topic(settings), 1, config | {"retention.ms": "-1"}),
        *(TopicPlan(wanted.cdc_topic(settings, table), settings.snapshot_partitions, config) for table in tables),
    ]


def snapshot_topics(settings: Settings, tables: Sequence[str]) -> list[TopicPlan]:
    """The topics that replays read."""
    config, names = snapshot(settings.max_request_size), Topics(settings.app)
    plain = filter(has_plain_name, tables)
    return [TopicPlan(names.snapshot(table), settings.snapshot_partitions, config) for table in plain]


def _topics(settings: Settings, tables: Sequence[str]) -> Iterator[Finding]:
    plans = [*own_topics(settings), *snapshot_topics(settings, tables), *source_topics(settings, tables)]
    created = set(kafka.create_topics(settings, plans))
    partitions = kafka.admin(settings).list_topics(timeout=kafka.PATIENCE).topics
    config = topic_settings(settings, [plan.name for plan in plans if plan.name not in created])
    right = 0
    for plan in plans:
        found = len(partitions[plan.name].partitions) if plan.name in partitions else plan.partitions
        differing = differing_settings(plan.config, config[plan.name]) if plan.name in config else {}
        if plan.name in created:
            yield Finding(f"topic {plan.name}", "changed", f"created with {plan.partitions} partitions")
        elif plan.partitions == 1 and found != 1:
            hint = "its order is lost: delete the topic before anything is written, or use another prefix"
            yield Finding(f"topic {plan.name}", "wrong", f"has {found} partitions, must have 1", hint)
        elif differing:
            alter(settings, plan.name, differing)
            said = ", ".join(f"{name}={value}" for name, value in differing.items())
            yield Finding(f"topic {plan.name}", "changed", f"set {said}")
        else:
            right += 1
    if right:
        yield Finding("topics", "ok", f"{right} are as they should be")


# -- the connector ----------------------------------------------------------------------------------------------------


def _connector(settings: Settings, tables: Sequence[str]) -> Iterator[Finding]:
    connect = Connect(settings, patience=PATIENCE)
    subject = f"connector {settings.connector}"
    try:
        with database.alone(settings, subject):
            found = connect.config()
            if found is None:
                fresh = wanted.fresh(settings, tables, settings.snapshot_partitions)
                database.publish(settings, publication(fresh), tables)
                connect.configure(fresh | _signal_login(settings, fresh))
                seen = [Finding(subject, "changed", f"created, capturing {len(tables)} tables")]
            else:
                seen = list(_existing(settings, connect, found, tables))
        seen.append(running(connect, subject))
        yield from seen
        if found is not None and all(finding.outcome != "wrong" for finding in seen):
            yield from _unpublished(settings, publication(found), tables)
    except (SourceRefused, Unavailable) as error:
        yield Finding(subject, "wrong", error.message, error.hint or "see Connect's log")
    finally:
        connect.close()


def _existing(
    settings: Settings, connect: Connect, found: Mapping[str, str], tables: Sequence[str]
) -> Iterator[Finding]:
    subject = f"connector {settings.connector}"
    mended = wanted.mended(settings, found, tables)
    for fault in mended.faults:
        yield Finding(subject, "wrong", fault.detail, fault.hint)
    if not mended.faults:
        yield from _publish(settings, connect, found, tables)
    login = _signal_login(settings, found)
    if mended.changes or login:
        connect.configure({**found, **mended.changes, **login})
        said = [f"{name}={value}" for name, value in sorted(mended.changes.items())]
        yield Finding(subject, "changed", f"set {', '.join([*said, *sorted(login)])}")
    elif not mended.faults:
        yield Finding(subject, "ok", "its settings are as they should be")


def _signal_login(settings: Settings, found: Mapping[str, str]) -> dict[str, str]:
    security = settings.kafka_security
    read = {name: Path(security[name]).read_text() for name in kafka_security.FILES if name in security}
    return wanted.signal_login(settings, read, found)


def _publish(
    settings: Settings, connect: Connect, found: Mapping[str, str], tables: Sequence[str]
) -> Iterator[Finding]:
    """What the connector is about to list; where it has no publication, all, and it starts again if it failed so."""
    name = publication(found)
    if database.is_publication(settings, name):
        database.publish(settings, name, [table for table in tables if not lists(found, table)])
        return
    database.publish(settings, name, tables)
    connect.restart_failed()
    yield Finding(f"publication {name}", "changed", f"made, of {len(tables)} tables")


def _unpublished(settings: Settings, name: str, tables: Sequence[str]) -> Iterator[Finding]:
    """Captured tables that Postgres does not publish: a table dropped and made anew leaves the publication unseen."""
    for table in sorted(set(tables) - database.published(settings, name, tables)[1]):
        hint = f"ALTER PUBLICATION {name} ADD TABLE {table}; rows that changed meanwhile come with a new snapshot only"
        yield Finding(f"table {table}", "wrong", f"is not in the publication {name}", hint)


def running(connect: Connect, subject: str) -> Finding:
    """Whether connector and task run, or come to run within a minute."""
    ran_last = time.monotonic()
    deadline = ran_last + CONNECTOR_READY
    while time.monotonic() < deadline:
        failure = _quietly(connect.failure)
        if not failure:
            ran_last = time.monotonic()
        elif time.monotonic() > ran_last + FAILED_FOR:
            return Finding(subject, "wrong", f"has failed: {failure.strip()}", "mend the cause, then run init again")
        if _quietly(connect.running):
            return Finding(subject, "ok", "runs")
        time.sleep(0.2)
    return Finding(subject, "wrong", f"did not run within {CONNECTOR_READY:.0f} s", "see Connect's log")


def _quietly(ask: Callable[[], Any]) -> Any:
    """An answer; None while Connect rebalances."""
    try:
        return ask()
    except Unavailable:
        return None
