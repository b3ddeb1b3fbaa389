"""The stack of docker-compose.yml by testcontainers, where a Docker engine answers; same face as Stack's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
from docker.errors import DockerException
from testcontainers.compose import DockerCompose

from connector.local import ports
from connector.local.parts import PORTS, Addresses, addresses

SERVICES = ["postgres", "kafka", "registry", "connect"]


def engine_answers() -> bool:
    """A Docker engine can be reached."""
    if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
        return False  # asked anyway, the client would leave its socket open
    try:
        client = docker.from_env(timeout=2)
    except DockerException:
        return False
    try:
        return bool(client.ping())
    except DockerException:
        return False
    finally:
        client.close()


class ContainerStack:
    """The services of docker-compose.yml on ports of their own."""

    def __init__(self, compose: DockerCompose, chosen: dict[str, int]) -> None:
        self._compose = compose
        self._addresses = addresses(chosen)

    def addresses(self) -> Addresses:
        """Where the servers are."""
        return self._addresses

    def heal(self) -> Addresses:
        """Let every stopped service go on, start every one that ended, wait until all are healthy."""
        for name in SERVICES:
            if self._compose.get_container(name, include_all=True).State == "paused":
                self._run("unpause", name)
        self._compose.start()
        return self._addresses

    def kill(self, name: str) -> None:
        """SIGKILL the service."""
        self._run("kill", name)

    def stop(self, name: str) -> None:
        """Freeze the service."""
        self._run("pause", name)

    def cont(self, name: str) -> None:
        """Let a frozen service go on."""
        self._run("unpause", name)

    def end(self, name: str) -> None:
        """Stop the service in its own orderly way."""
        self._run("stop", name)

    def restart(self, name: str) -> None:
        """Stop the service, start it again and wait until all are healthy."""
        self.end(name)
        self._compose.start()

    def _run(self, *words: str) -> None:
        self._compose._run_command([*self._compose.compose_command_property, *words])


@contextmanager
def running(root: Path) -> Iterator[ContainerStack]:
    """The services up and healthy; gone afterwards, with their volumes."""
    chosen = ports.choose({})
    os.environ.update({f"{name.upper()}_PORT": str(chosen[name]) for name in PORTS})
    with DockerCompose(context=root, services=SERVICES, wait=True) as compose:
        yield ContainerStack(compose, chosen)
