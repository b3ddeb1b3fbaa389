"""Renews `artifacts.txt`: resolves what the stack is made of and pins every file, the transitive ones too.

Run by `make lock`: `python -m connector.local.resolve > connector/local/artifacts.txt`.
"""

from __future__ import annotations

import hashlib

from jgo.config import GlobalSettings
from jgo.maven import Dependency, MavenContext, PythonResolver

KAFKA = "4.3.1"
DEBEZIUM = "3.7.0.Final"
CONVERTER = "2.6.13.Final"
REGISTRY = "3.3.3"
LOG4J = "2.25.4"

# Connect's own classes: in every plugin they come from the worker.
FROM_THE_WORKER = {"org.apache.kafka", "org.slf4j", "com.github.luben", "org.lz4", "org.xerial.snappy", "javax.ws.rs"}


def lines() -> list[str]:
    """The lines of `artifacts.txt`."""
    maven = MavenContext(remote_repos=GlobalSettings.load().repositories or None, timeout=60)
    kafka = _resolved(
        maven,
        f"org.apache.kafka:kafka_2.13:{KAFKA}",
        f"org.apache.kafka:kafka-tools:{KAFKA}",
        f"org.apache.kafka:connect-runtime:{KAFKA}",
        f"org.apache.kafka:connect-json:{KAFKA}",
    )
    # Resolved alone: together with Kafka its bill of materials would set Kafka's versions.
    logging = _resolved(maven, f"org.apache.logging.log4j:log4j-slf4j-impl:{LOG4J}")
    kafka += [jar for jar in logging if jar.artifactId == "log4j-slf4j-impl"]
    converter = _resolved(maven, f"io.apicurio:apicurio-registry-utils-converter:{CONVERTER}")
    converter = [jar for jar in converter if jar.groupId not in FROM_THE_WORKER]
    registry = maven.project("io.apicurio", "apicurio-registry-app").at_version(REGISTRY)
    connector = maven.project("io.debezium", "debezium-connector-postgres").at_version(DEBEZIUM)
    return [
        _line("registry", Dependency(registry.artifact("all", "tar.gz"))),
        _line("plugins", Dependency(connector.artifact("plugin", "tar.gz"))),
        *sorted(_line("kafka", jar) for jar in kafka),
        *sorted(_line("plugins/apicurio-converter", jar) for jar in converter),
    ]


def _resolved(maven: MavenContext, *coordinates: str) -> list[Dependency]:
    wanted, found = PythonResolver().resolve([maven.create_dependency(text) for text in coordinates])
    return [*wanted, *found]


def _line(folder: str, dependency: Dependency) -> str:
    coordinate = f"{dependency.groupId}:{dependency.artifactId}:{dependency.version}"
    if dependency.type != "jar" or dependency.classifier:
        coordinate += f":{dependency.classifier or ''}:{dependency.type}"
    content = dependency.artifact.resolve().read_bytes()
    return f"{folder} {coordinate} {hashlib.sha256(content).hexdigest()}"


if __name__ == "__main__":
    print("# Written by `make lock`: folder, Maven coordinate, sha-256.")
    print("\n".join(lines()))
