"""Ports of the stack: chosen free once, then kept, because addresses are in settings files and in Connect."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Mapping
from pathlib import Path

import psutil

from connector.errors import BadConfig, SynclineError
from connector.local.parts import PORTS, Part

HOST = "127.0.0.1"
# Below the range that systems give to outgoing connections: one of those could take a stopped server's port.
CHOICE = range(10_000, 32_000)


def settled(file: Path, wanted: Mapping[str, int]) -> dict[str, int]:
    """The stack's ports: those `wanted`, else those kept in `file`, else free ones. They are kept in `file`.

    Raises BadConfig for a name that is none of PORTS.
    """
    for name in wanted:
        if name not in PORTS:
            raise BadConfig(f'no port is called "{name}"', where="--port", hint=f"known: {', '.join(PORTS)}")
    kept = json.loads(file.read_text()) if file.is_file() else {}
    ports = choose({**kept, **wanted})
    if ports != kept:
        file.write_text(json.dumps(ports))
    return ports


def choose(given: Mapping[str, int]) -> dict[str, int]:
    """The ports given, and free ones for the rest."""
    ports = dict(given)
    for name in PORTS:
        if name not in ports:
            ports[name] = _free(taken=set(ports.values()))
    return ports


def kept(file: Path) -> dict[str, int] | None:
    """The ports of a stack that was set up before, or None where there is none.

    A port that an older release did not know is a free one, and another one each time until `settled` keeps it.
    """
    return choose(json.loads(file.read_text())) if file.is_file() else None


def refuse_taken(part: Part) -> None:
    """Raise SynclineError where another process listens on one of the ports of a part about to start."""
    for port in part.ports:
        if not is_free(port):
            raise SynclineError(
                f"port {port} of {part.name} is taken{_by(port)}",
                where=f"{HOST}:{port}",
                hint="end that process, or choose another port: `syncline local up --port NAME=NUMBER`",
            )


def is_free(port: int) -> bool:
    """A server could listen on it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _free(taken: set[int]) -> int:
    for port in random.sample(CHOICE, 200):
        if port not in taken and is_free(port):
            return port
    raise SynclineError(f"no free port between {CHOICE.start} and {CHOICE.stop}", where=HOST)


def _by(port: int) -> str:
    try:
        for connection in psutil.net_connections("inet"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:  # only root sees everyone's
        return ""
    return ""
