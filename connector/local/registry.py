"""The schema registry: Apicurio, with the Confluent interface, its storage a file that survives a restart."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from connector.local import java, probes
from connector.local.parts import Part, addresses

HEAP_MB = 256

# What differs from Apicurio's defaults; docker-compose.yml sets the same.
SETTINGS = {
    "apicurio.storage.kind": "sql",
    "apicurio.storage.sql.kind": "h2",
    "quarkus.http.access-log.enabled": "false",
}


def part(folder: Path, ports: Mapping[str, int], installed: Path) -> Part:
    """The registry with its database in `folder`."""
    properties = {
        **SETTINGS,
        "quarkus.http.host": "127.0.0.1",
        "quarkus.http.port": str(ports["registry"]),
        # It cannot be switched off; by default it listens on every interface, at one fixed port. 0: any free one.
        "quarkus.management.host": "127.0.0.1",
        "quarkus.management.port": "0",
        "apicurio.datasource.url": f"jdbc:h2:file:{folder / 'registry'}",
    }
    options = [f"-D{name}={value}" for name, value in properties.items()]
    return Part(
        name="registry",
        folder=folder,
        ports=(ports["registry"],),
        command=(
            *java.java(HEAP_MB, folder, java.QUICK),
            *options,
            "-jar",
            str(installed / "registry" / "quarkus-run.jar"),
        ),
        prepare=lambda: None,
        ready=partial(probes.http_answers, f"{addresses(ports).registry}/subjects"),
        environment=java.environment(folder),
    )
