"""docker-compose.yml and the local stack agree on versions and settings."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector.local import artifacts, connect, kafka, parts, postgres, registry, settings_file
from tests.containers import SERVICES

ROOT = Path(__file__).parent.parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PORTS = {"postgres": 5432, "kafka": 9092, "controller": 9093, "registry": 8081, "connect": 8083, "listen": 6480}


def service(name: str) -> dict[str, Any]:
    return COMPOSE["services"][name]


def environment_name(setting: str) -> str:
    return re.sub(r"[.-]", "_", setting).upper()


def properties(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def test_services_are_the_local_parts_and_syncline() -> None:
    assert set(COMPOSE["services"]) == {*SERVICES, "syncline"}


@pytest.mark.parametrize("name", [*SERVICES, "syncline"])
def test_every_service_has_a_health_check(name: str) -> None:
    check = service(name)["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert check["retries"] > 0


def test_versions_agree() -> None:
    kafka_image = f"apache/kafka:{artifacts.version('kafka_2.13')}"
    assert service("kafka")["image"] == kafka_image
    assert f"FROM {kafka_image} AS connect" in DOCKERFILE
    assert service("registry")["image"] == f"apicurio/apicurio-registry:{artifacts.version('apicurio-registry-app')}"
    program = [str(postgres.programs() / "postgres"), "--version"]
    version = subprocess.run(program, capture_output=True, text=True, check=True).stdout.split()[-1]
    assert service("postgres")["image"] == f"postgres:{version}"


def test_connect_takes_its_plugins_from_the_pinned_list() -> None:
    assert "python -m connector.local.artifacts" in DOCKERFILE
    assert "COPY --from=artifacts /java/plugins /opt/plugins" in DOCKERFILE
    assert service("connect")["build"]["target"] == "connect"
    assert artifacts.version("debezium-connector-postgres") == "3.7.0.Final"


def test_kafka_settings_agree() -> None:
    given = service("kafka")["environment"]
    wanted = {f"KAFKA_{environment_name(name)}": value for name, value in kafka.SETTINGS.items()}
    assert {name: given.get(name) for name in wanted} == wanted
    assert given["KAFKA_HEAP_OPTS"] == f"-Xmx{kafka.HEAP_MB}m"
    own = set(given) - set(wanted) - {"KAFKA_HEAP_OPTS"}
    placed = {f"KAFKA_{environment_name(name)}" for name in kafka.properties(Path("/"), PORTS)}
    assert own <= placed, "a setting that the local stack does not know"


def test_registry_settings_agree() -> None:
    given = service("registry")["environment"]
    wanted = {environment_name(name): value for name, value in registry.SETTINGS.items()}
    assert {name: given.get(name) for name in wanted} == wanted
    assert given["JAVA_OPTS_APPEND"] == f"-Xmx{registry.HEAP_MB}m"


def test_postgres_settings_agree() -> None:
    words = service("postgres")["command"]
    given = properties("\n".join(word for word in words if "=" in word))
    wanted = postgres.SETTINGS
    assert {name: given.get(name) for name in wanted} == wanted
    assert set(given) - set(wanted) == {"listen_addresses", "port"}


def test_connect_settings_agree() -> None:
    given = properties(with_default_ports(COMPOSE["configs"]["connect"]["content"]))
    assert given == {**connect.properties(PORTS, Path("/opt")), "plugin.path": "/opt/plugins"}
    assert service("connect")["environment"]["KAFKA_HEAP_OPTS"] == f"-Xmx{connect.HEAP_MB}m"


def test_syncline_gets_the_addresses_of_the_services() -> None:
    given = yaml.safe_load(with_default_ports(COMPOSE["configs"]["syncline"]["content"]))
    assert given == {
        "kafka": "127.0.0.1:9092",
        "registry": "http://127.0.0.1:8081/apis/ccompat/v7",
        "connect": "http://127.0.0.1:8083",
        "postgres": "postgresql://postgres@127.0.0.1:5432/app",
        "listen": "127.0.0.1:6480",
        "state": "/var/lib/syncline",
        "development_tokens": True,
    }


def test_syncline_gets_the_settings_of_the_local_stack(tmp_path: Path) -> None:
    given = yaml.safe_load(with_default_ports(COMPOSE["configs"]["syncline"]["content"]))
    local = yaml.safe_load(settings_file.write(tmp_path, parts.addresses(PORTS)).read_text())
    assert local | {"state": given["state"]} == given | {
        key: local[key] for key in ("app", "connector", "topic_prefix")
    }


def with_default_ports(text: str) -> str:
    """The text as compose would give it to a service where no port is named."""
    for name, port in PORTS.items():
        text = text.replace(f"${{{name.upper()}_PORT:-{port}}}", str(port))
    assert "${" not in text
    return text
