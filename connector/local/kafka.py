"""The broker: Kafka in KRaft mode, one node that is broker and controller."""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from connector.errors import SynclineError
from connector.local import java, probes
from connector.local.parts import Part, addresses

HEAP_MB = 448

# The largest record: the connector's max.request.size (16 MB), plus 1 MB (rule T4), plus the batch around it.
MESSAGE_MAX_BYTES = 18 * 1024 * 1024

# What differs from Kafka's defaults; docker-compose.yml sets the same.
SETTINGS = {
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # After kill -9 the broker waits until its old session is over.
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "500",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "message.max.bytes": str(MESSAGE_MAX_BYTES),
    "replica.fetch.max.bytes": str(MESSAGE_MAX_BYTES),
    "num.io.threads": "4",
    "num.network.threads": "2",
    "background.threads": "4",
    "log.retention.check.interval.ms": "10000",
    "log.initial.task.delay.ms": "5000",
    "log.segment.delete.delay.ms": "5000",
    "log.cleaner.backoff.ms": "1000",
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    # A dead writer's transaction blocks all readers until the broker looks for it.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}


def part(folder: Path, ports: Mapping[str, int], installed: Path) -> Part:
    """The broker with its state in `folder`."""
    settings = folder / "server.properties"
    path = ("-cp", f"{installed}/kafka/*")
    return Part(
        name="kafka",
        folder=folder,
        ports=(ports["kafka"], ports["controller"]),
        command=(*java.java(HEAP_MB, folder), *path, "kafka.Kafka", str(settings)),
        prepare=partial(
            _prepare,
            folder,
            settings,
            ports,
            (*java.java(HEAP_MB, folder, java.QUICK), *path, "kafka.tools.StorageTool"),
        ),
        ready=partial(probes.kafka_answers, addresses(ports).kafka),
        environment=java.environment(folder),
    )


def _prepare(folder: Path, settings: Path, ports: Mapping[str, int], storage_tool: tuple[str, ...]) -> None:
    java.write_properties(settings, properties(folder, ports))
    if (folder / "log" / "meta.properties").is_file():
        return
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    format_log = (*storage_tool, "format", f"--cluster-id={cluster}", "--config", str(settings))
    done = subprocess.run(
        format_log, capture_output=True, text=True, env=java.environment(folder), cwd=folder, check=False
    )
    if done.returncode != 0:
        raise SynclineError(
            "Kafka's log folder cannot be formatted",
            where=str(folder),
            hint=(done.stderr or done.stdout).strip()[-1500:],
        )


def properties(folder: Path, ports: Mapping[str, int]) -> dict[str, str]:
    """The broker's whole settings file."""
    client, controller = f"127.0.0.1:{ports['kafka']}", f"127.0.0.1:{ports['controller']}"
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{controller}",
        "listeners": f"PLAINTEXT://{client},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{client}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(folder / "log"),
        **SETTINGS,
    }
