"""What `init` wants of a connector: every setting is judged, mended or left to a person with a hint."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from connector.deploy.connector import cdc_topic, fresh, mended, requirements, signal_login, slot_name
from connector.errors import BadConfig
from connector.settings import Settings
from connector.source.types import CONNECTOR_SETTINGS

SETTINGS = Settings(
    path=Path("syncline.yaml"),
    kafka="k:1",
    registry="http://r/apis/ccompat/v7",
    connect="http://c",
    postgres="postgresql://me:p%40ss@db:5433/shop",
    app="My-App",
)
TABLES = ["public.todos", "public.lists"]


def test_a_fresh_connector_meets_every_requirement() -> None:
    config = fresh(SETTINGS, TABLES, 4)
    assert [each.name for each in requirements(SETTINGS) if not each.accepts(config.get(each.name))] == []
    assert mended(SETTINGS, config, TABLES).changes == {}
    assert config["database.password"] == "p@ss"
    assert config["database.port"] == "5433"
    assert config["slot.name"] == slot_name(SETTINGS) == "syncline_my_app"
    assert config["topic.creation.single.partitions"] == "1"


@pytest.mark.parametrize(
    "name",
    [
        "provide.transaction.metadata",
        "tombstones.on.delete",
        "skipped.operations",
        "read.only",
        "signal.enabled.channels",
        "notification.enabled.channels",
        "heartbeat.interval.ms",
        "event.processing.failure.handling.mode",
    ],
)
def test_what_can_be_mended_is_mended(name: str) -> None:
    config = fresh(SETTINGS, TABLES, 4)
    wrong = mended(SETTINGS, config | {name: "odd"}, TABLES)
    assert wrong.changes == {name: config[name]}
    assert wrong.faults == ()


PROTOCOL, JAAS = "signal.consumer.security.protocol", "signal.consumer.sasl.jaas.config"


def login(password: str, found: dict[str, str]) -> dict[str, str]:
    security = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "me",
        "sasl.password": password,
    }
    return signal_login(replace(SETTINGS, kafka_security=security), {}, found)


def test_signals_are_read_with_the_login_of_the_settings() -> None:
    assert signal_login(SETTINGS, {}, {}) == {}
    config = fresh(SETTINGS, TABLES, 4)
    added = login("old", config)
    assert added.keys() == {PROTOCOL, "signal.consumer.sasl.mechanism", JAAS}
    assert login("old", config | added) == {}
    assert login("old", added)["signal.kafka.groupId"] == "My-App.signals", "a group that its rights are for"
    changed = login("new", config | added)
    assert changed.keys() == {JAAS}
    assert 'password="new"' in changed[JAAS]


@pytest.mark.parametrize("own", [{JAAS: "${env:LOGIN}"}, {"signal.consumer.ssl.truststore.location": "/their.jks"}])
def test_a_login_that_a_person_has_written_otherwise_is_left_alone(own: dict[str, str]) -> None:
    assert login("new", {PROTOCOL: "SSL", **own}) == {}


def test_debezium_does_not_log_a_key() -> None:
    security = {"security.protocol": "SSL", "ssl.certificate.location": "c.pem", "ssl.key.location": "k.pem"}
    read = {"ssl.certificate.location": "CERTIFICATE", "ssl.key.location": "KEY"}
    added = signal_login(replace(SETTINGS, kafka_security=security), read, {})
    assert added["signal.consumer.ssl.keystore.key"] == "KEY"
    hidden = [name for name in added if re.fullmatch(added["custom.sanitize.pattern"], name)]
    assert hidden == ["signal.consumer.ssl.keystore.key"]
    own = {"custom.sanitize.pattern": ".*key$"}
    assert "custom.sanitize.pattern" not in signal_login(replace(SETTINGS, kafka_security=security), read, own)


def test_a_connector_does_not_ask_for_its_tables() -> None:
    """Debezium's `filtered` does, in the session that decodes (decision 58); its other modes do not."""
    config = fresh(SETTINGS, TABLES, 4)
    name = "publication.autocreate.mode"
    for asking in ("filtered", "FILTERED", " Filtered "):
        assert mended(SETTINGS, config | {name: asking}, TABLES).changes == {name: "disabled"}
    by_default = {key: value for key, value in config.items() if key != name}
    for fine in (config, by_default, config | {name: "all_tables"}):
        assert mended(SETTINGS, fine, TABLES).changes == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("connector.class", "io.debezium.connector.mysql.MySqlConnector"),
        ("topic.prefix", "other"),
        ("unavailable.value.placeholder", "gone"),
        ("transforms", "unwrap"),
        ("post.processors", "reselector"),
        ("message.key.columns", "public.todos:owner"),
        ("message.prefix.include.list", "other"),
        ("message.prefix.exclude.list", "syncline.*"),
        ("key.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("plugin.name", "decoderbufs"),
        ("schema.name.adjustment.mode", "none"),
        ("field.name.adjustment.mode", "avro_unicode"),
        *((name, "odd") for name in CONNECTOR_SETTINGS),
    ],
)
def test_what_would_leave_rows_of_two_kinds_is_left_to_a_person(name: str, value: str) -> None:
    wrong = mended(SETTINGS, fresh(SETTINGS, TABLES, 4) | {name: value}, TABLES)
    assert wrong.changes == {}
    assert [fault.detail.split(" ")[0] for fault in wrong.faults] == [name]
    assert wrong.faults[0].hint


def test_tables_are_added_to_the_connectors_list() -> None:
    config = fresh(SETTINGS, TABLES, 4)
    assert mended(SETTINGS, config, [*TABLES, "public.new"]).changes == {
        "table.include.list": r"public\.todos,public\.lists,public\.new"
    }
    assert mended(SETTINGS, config | {"table.include.list": r"public\..*"}, [*TABLES, "public.new"]).changes == {}


def test_topic_names_are_sanitised_as_debezium_does() -> None:
    assert cdc_topic(SETTINGS, "public.a-b c") == "source.public.a-b_c"


def test_a_dsn_without_database_is_refused() -> None:
    bad = Settings(SETTINGS.path, "k", "r", "c", "postgresql://host")
    with pytest.raises(BadConfig, match="no DSN"):
        fresh(bad, TABLES, 1)
