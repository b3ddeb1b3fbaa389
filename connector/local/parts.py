"""A part of the local stack as a value: how it is prepared, started, asked whether it is ready, and ended."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

# Every port of the stack, with the part that listens on it.
PORTS = {
    "kafka": "kafka",
    "controller": "kafka",
    "registry": "registry",
    "connect": "connect",
    "postgres": "postgres",
    "listen": "syncline run",  # kept free for the sync endpoint
}


@dataclass(frozen=True, slots=True)
class Part:
    """One server process. `folder` holds its state, its settings, its log and the record of its process."""

    name: str
    folder: Path
    ports: tuple[int, ...]
    command: tuple[str, ...]
    prepare: Callable[[], None]  # writes settings, creates state; harmless where both are there
    ready: Callable[[], bool]  # answers within a second or two, never raises
    environment: Mapping[str, str]
    user: str | None = None  # the system user it runs as, where it must not be root
    end_signal: signal.Signals = signal.SIGTERM
    tries: int = 1  # starts in a row; more where it gives up on another part that takes its time

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the stack's servers are; what the settings file says."""

    kafka: str
    registry: str
    connect: str
    postgres: str
    listen: str


def addresses(ports: Mapping[str, int]) -> Addresses:
    """The addresses that follow from the ports, all on loopback."""
    return Addresses(
        kafka=f"127.0.0.1:{ports['kafka']}",
        registry=f"http://127.0.0.1:{ports['registry']}/apis/ccompat/v7",
        connect=f"http://127.0.0.1:{ports['connect']}",
        postgres=f"postgresql://postgres@127.0.0.1:{ports['postgres']}/app",
        listen=f"127.0.0.1:{ports['listen']}",
    )
