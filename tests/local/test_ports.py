"""Ports are chosen free, kept, and refused where someone else listens."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from connector.errors import BadConfig, SynclineError
from connector.local import ports
from connector.local.parts import PORTS
from tests.local.test_processes import a_part


def test_ports_are_chosen_once_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    chosen = ports.settled(file, {})
    assert set(chosen) == set(PORTS)
    assert len(set(chosen.values())) == len(PORTS)
    assert ports.settled(file, {}) == chosen == ports.kept(file)


def test_chosen_ports_are_none_that_outgoing_connections_get(tmp_path: Path) -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(port < lowest for port in ports.settled(tmp_path / "ports.json", {}).values())


def test_a_wanted_port_replaces_the_kept_one(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    before = ports.settled(file, {})
    assert ports.settled(file, {"kafka": 9092}) == {**before, "kafka": 9092}
    assert ports.settled(file, {})["kafka"] == 9092


def test_a_stack_of_an_older_release_gets_the_ports_that_are_new(tmp_path: Path) -> None:
    """It can be ended, and its next `up` keeps them."""
    file = tmp_path / "ports.json"
    file.write_text('{"kafka": 9092}')
    found = ports.kept(file)
    assert found is not None and set(found) == set(PORTS) and found["kafka"] == 9092


def test_an_unknown_port_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match='no port is called "kafak"') as caught:
        ports.settled(tmp_path / "ports.json", {"kafak": 9092})
    assert caught.value.hint == "known: kafka, controller, registry, connect, postgres, listen"


def test_a_taken_port_is_refused_with_the_process_that_has_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        part = a_part(tmp_path, "")
        taken = type(part)(**{**{name: getattr(part, name) for name in part.__slots__}, "ports": (port,)})
        with pytest.raises(SynclineError) as caught:
            ports.refuse_taken(taken)
    assert caught.value.message == f"port {port} of sleeper is taken by process {os.getpid()} (python)"
    assert caught.value.where == f"127.0.0.1:{port}"
    assert "--port" in str(caught.value.hint)
    ports.refuse_taken(taken)
