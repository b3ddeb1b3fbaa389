"""An isolated source per test: its own database, names and settings file on the session's one stack."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import yaml
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from psycopg import sql

from connector import settings
from connector.local.parts import Addresses
from connector.local.ports import choose
from connector.settings import Settings

CLEAN_WITHIN = 180.0  # seconds
ANSWER_WITHIN = 20.0


@dataclass(frozen=True, slots=True)
class Source:
    """One test's source database and the settings that name it."""

    settings: Settings

    def connect(self, **options: Any) -> psycopg.Connection:
        """A new connection; `autocommit=True` and the like as psycopg takes them."""
        return psycopg.connect(self.settings.postgres, **options)

    def sql(self, text: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run statements in one transaction; the rows of the last, if it gives rows.

        Several statements are possible where there are no parameters.
        """
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(text, parameters or None)
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []


def create(addresses: Addresses, folder: Path) -> Source:
    """Create a database and write `folder/syncline.yaml` with names nobody else has."""
    name = f"t{uuid4().hex[:10]}"
    with psycopg.connect(addresses.postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    file = folder / settings.FILE_NAME
    names = {
        "kafka": addresses.kafka,
        "registry": addresses.registry,
        "connect": addresses.connect,
        "postgres": f"{addresses.postgres.rpartition('/')[0]}/{name}",
        "listen": f"127.0.0.1:{choose({})['listen']}",
        "development_tokens": True,
        "app": name,
        "connector": name,
        "topic_prefix": f"{name}_source",
        "state": str(folder / "state"),
    }
    file.write_text(yaml.safe_dump(names, sort_keys=False))
    return Source(settings.load(str(file)))


class Janitor:
    """Drops what ended tests leave, one source at a time in the background: no test waits for another's rubbish."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "janitor")
        self._drops: list[Future[None]] = []

    def drop(self, source: Source, addresses: Addresses) -> None:
        """Have the source dropped; what goes wrong is raised by `finish`."""
        self._drops.append(self._pool.submit(_drop, source, addresses))

    def finish(self) -> None:
        """Wait until everything is dropped."""
        self._pool.shutdown()
        for one in self._drops:
            one.result()


def _drop(source: Source, addresses: Addresses) -> None:
    """Delete the connector, then the slots, the database and the topics; again while a test breaks the servers."""
    deadline = time.monotonic() + CLEAN_WITHIN
    while True:
        try:
            _delete_connector(source)
            _drop_database(source.settings.app, addresses)
            _delete_topics(source.settings)
            return
        except (httpx.TransportError, psycopg.OperationalError, KafkaException):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _delete_connector(source: Source) -> None:
    url = f"{source.settings.connect}/connectors/{source.settings.connector}"
    deadline = time.monotonic() + CLEAN_WITHIN
    while httpx.delete(url, timeout=ANSWER_WITHIN, trust_env=False).status_code not in (204, 404):
        assert time.monotonic() < deadline, f"connector {source.settings.connector} cannot be deleted"
        time.sleep(0.2)  # 409 while Connect rebalances


def _drop_database(name: str, addresses: Addresses) -> None:
    deadline = time.monotonic() + CLEAN_WITHIN
    with psycopg.connect(addresses.postgres, autocommit=True) as connection:
        while True:
            try:
                connection.execute(
                    "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
                    " WHERE database = %s AND active_pid IS NOT NULL",
                    (name,),
                )
                connection.execute(
                    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s", (name,)
                )
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
                return
            except psycopg.errors.ObjectInUse:
                assert time.monotonic() < deadline, f"database {name} stays in use"
                time.sleep(0.1)  # the connector's session is still on its way out


def _delete_topics(names: Settings) -> None:
    admin = AdminClient({"bootstrap.servers": names.kafka})
    mine = [
        topic
        for topic in admin.list_topics(timeout=ANSWER_WITHIN).topics
        if topic.startswith((f"{names.app}.", f"{names.app}-", f"{names.topic_prefix}."))
    ]
    for deleted in (admin.delete_topics(mine) if mine else {}).values():
        try:
            deleted.result(timeout=ANSWER_WITHIN)
        except KafkaException as error:  # gone by an attempt before this one
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
