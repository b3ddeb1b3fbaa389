"""`syncline init` on a source that changed under the connector."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from connector.deploy.connector import fresh, slot_name
from tests.integration.sequencing import connect_call, ready, until
from tests.worlds import Source
from topologies.prepare import prepare

pytestmark = pytest.mark.stack


def test_a_table_made_anew_is_missed_in_the_publication(source: Source) -> None:
    """Postgres drops it from the publication without a word, and no change of it would ever come."""
    table = "CREATE TABLE notes (id int PRIMARY KEY)"
    source.sql(f"{table}; CREATE TABLE others (id int PRIMARY KEY)")
    ready(source)
    ready(source)
    source.sql(f"DROP TABLE notes; {table}")
    wrong = [finding for finding in prepare(source.settings) if finding.outcome == "wrong"]
    assert [finding.subject for finding in wrong] == ["table public.notes"]
    assert wrong[0].hint is not None
    source.sql(wrong[0].hint.split(";")[0])
    ready(source)


def test_the_publication_has_what_the_connector_lists(source: Source) -> None:
    """Made before the connector, and told of a table before the connector is: Debezium is to ask for none."""
    source.sql("CREATE TABLE notes (id int PRIMARY KEY)")
    ready(source)
    assert published(source) == [("notes",)]
    source.sql("CREATE TABLE others (id int PRIMARY KEY)")
    ready(source)
    assert published(source) == [("notes",), ("others",)]


def test_a_connector_without_its_publication_gets_it(source: Source) -> None:
    """Made by hand; it has failed, and starts again."""
    source.sql("CREATE TABLE notes (id int PRIMARY KEY)")
    connect_call(source.settings, "PUT", "/config", json=fresh(source.settings, ["public.notes"], 4))
    until(lambda: connect_call(source.settings, "GET", "/status")["tasks"], "the task")
    until(lambda: connect_call(source.settings, "GET", "/status")["tasks"][0]["state"] == "FAILED", "its failure")
    ready(source)
    assert published(source) == [("notes",)]


def published(source: Source) -> list[tuple[str]]:
    name = slot_name(source.settings)
    return source.sql("SELECT tablename FROM pg_publication_tables WHERE pubname = %s ORDER BY 1", name)


def test_a_publication_that_may_not_be_made_is_named(source: Source) -> None:
    """By the user whom the settings name, who may replicate and read."""
    user = f"u{source.settings.app}"
    source.sql(f"CREATE TABLE notes (id int PRIMARY KEY); CREATE ROLE {user} LOGIN REPLICATION PASSWORD 'x'")
    dsn = urlsplit(source.settings.postgres)
    other = dsn._replace(netloc=f"{user}:x@{dsn.hostname}:{dsn.port}").geturl()
    try:
        found = prepare(replace(source.settings, postgres=other))
    finally:
        source.sql(f"DROP ROLE {user}")
    (wrong,) = [finding for finding in found if finding.outcome == "wrong"]
    assert "public.notes cannot be added to the publication" in wrong.detail
    assert wrong.hint is not None
    assert wrong.hint.startswith(
        f"CREATE PUBLICATION {slot_name(source.settings)} FOR TABLE public.notes, as their owner"
    )
