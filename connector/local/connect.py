"""Kafka Connect: one distributed worker with Debezium's Postgres connector and the Avro converter."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from connector.local import java, probes
from connector.local.artifacts import CONVERTER
from connector.local.parts import Part, addresses

HEAP_MB = 640
MAIN = "org.apache.kafka.connect.cli.ConnectDistributed"

# What differs from Connect's defaults; docker-compose.yml sets the same.
SETTINGS = {
    "group.id": "connect",
    "config.storage.topic": "connect-configs",
    "config.storage.replication.factor": "1",
    "offset.storage.topic": "connect-offsets",
    "offset.storage.replication.factor": "1",
    "offset.storage.partitions": "1",
    "status.storage.topic": "connect-status",
    "status.storage.replication.factor": "1",
    "status.storage.partitions": "1",
    "offset.flush.interval.ms": "1000",
    "connector.client.config.override.policy": "All",
    # A worker that was killed and comes back takes its tasks at once.
    "scheduled.rebalance.max.delay.ms": "0",
    "session.timeout.ms": "6000",
    "heartbeat.interval.ms": "2000",
    "producer.max.request.size": str(16 * 1024 * 1024),
}

# The Confluent wire format: a zero byte, four bytes of content id (design.md section 7).
CONVERTER_SETTINGS = {
    "apicurio.registry.as-confluent": "true",
    "apicurio.registry.use-id": "contentId",
    "apicurio.registry.headers.enabled": "false",
    "apicurio.registry.find-latest": "true",
    "apicurio.registry.auto-register": "true",
}


def part(folder: Path, ports: Mapping[str, int], installed: Path) -> Part:
    """The worker; its state is in Kafka, `folder` holds its settings and log."""
    settings = folder / "connect.properties"
    return Part(
        name="connect",
        folder=folder,
        ports=(ports["connect"],),
        command=(*java.java(HEAP_MB, folder, java.QUICK), "-cp", f"{installed}/kafka/*", MAIN, str(settings)),
        prepare=partial(java.write_properties, settings, properties(ports, installed)),
        ready=partial(probes.http_answers, f"{addresses(ports).connect}/connectors"),
        environment=java.environment(folder),
        tries=3,  # it ends where the broker does not answer for a minute, as on a machine with other work
    )


def properties(ports: Mapping[str, int], installed: Path) -> dict[str, str]:
    """The worker's whole settings file."""
    return {
        "bootstrap.servers": addresses(ports).kafka,
        "listeners": addresses(ports).connect,
        "rest.advertised.host.name": "127.0.0.1",
        "rest.advertised.port": str(ports["connect"]),
        "plugin.path": str(installed / "plugins"),
        "plugin.discovery": "service_load",
        **SETTINGS,
        **converter("key.converter", f"http://127.0.0.1:{ports['registry']}/apis/registry/v2"),
        **converter("value.converter", f"http://127.0.0.1:{ports['registry']}/apis/registry/v2"),
    }


def converter(role: str, registry: str) -> dict[str, str]:
    """The settings of one converter ("key.converter", "value.converter") against a registry's own interface."""
    settings = {f"{role}.{name}": value for name, value in CONVERTER_SETTINGS.items()}
    return {role: CONVERTER, f"{role}.apicurio.registry.url": registry, **settings}
