"""The stack as a whole: `syncline local up | down | status | reset` on real servers."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from connector.errors import SynclineError
from connector.local import processes
from connector.local import stack as module
from connector.local.stack import Stack
from tests.worlds import Source

pytestmark = pytest.mark.stack
SCHEMA = '{"type": "record", "name": "Seen", "fields": []}'


@pytest.fixture
def project(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for a stack of its own; nothing of it runs afterwards."""
    if not isinstance(stack, Stack):
        pytest.fail("the local stack cannot be tested on a machine whose tests run in containers")
    folder = tmp_path_factory.mktemp("project")
    yield folder
    Stack(folder).reset()


def syncline(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "connector", *words]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=300)


def running_below(folder: Path) -> list[str]:
    """Command lines of processes that work in the folder or name it."""
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            if str(folder) in words or process.cwd().startswith(str(folder)):
                found.append(words)
        except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
            continue
    return found


def pids(stack: Stack) -> dict[str, int | None]:
    return {part.name: part.pid for part in stack.status()}


def test_a_stack_lives_from_up_to_reset(project: Path) -> None:
    """Up, twice; state survives down and up; down leaves no process; reset leaves no state."""
    first = syncline(project, "local", "up")
    assert first.returncode == 0, first.stderr
    own = Stack(project)
    before = pids(own)
    again = syncline(project, "local", "up")
    assert again.returncode == 0 and pids(own) == before
    leave_something_everywhere(own)

    down = syncline(project, "local", "down")
    assert down.returncode == 0, down.stderr
    assert running_below(project) == []
    assert {part.health for part in own.status()} == {"stopped"}
    assert syncline(project, "local", "status").returncode == 1
    assert syncline(project, "local", "down").returncode == 0

    assert syncline(project, "local", "up").returncode == 0
    assert_it_is_still_there(own)

    assert syncline(project, "local", "reset").returncode == 0
    assert running_below(project) == []
    assert [entry.name for entry in (project / ".syncline").iterdir()] == ["lock"]
    gone = syncline(project, "local", "status")
    assert gone.returncode == 1
    assert "there is no local stack here" in gone.stderr and "syncline local up" in gone.stderr


def leave_something_everywhere(own: Stack) -> None:
    addresses = own.addresses()
    admin = AdminClient({"bootstrap.servers": addresses.kafka})
    admin.create_topics([NewTopic("seen", 1, 1)])["seen"].result(timeout=20)
    url = f"{addresses.registry}/subjects/seen/versions"
    assert httpx.post(url, json={"schema": SCHEMA}, trust_env=False, timeout=20).status_code == 200
    with psycopg.connect(addresses.postgres) as connection:
        connection.execute("CREATE TABLE seen ()")


def assert_it_is_still_there(own: Stack) -> None:
    addresses = own.addresses()
    admin = AdminClient({"bootstrap.servers": addresses.kafka})
    assert "seen" in admin.list_topics(timeout=20).topics
    assert httpx.get(f"{addresses.registry}/subjects", trust_env=False, timeout=20).json() == ["seen"]
    with psycopg.connect(addresses.postgres) as connection:
        connection.execute("SELECT FROM seen")


def test_status_tells_addresses_parts_and_memory(stack: Stack, source: Source) -> None:
    done = syncline(stack.project, "local", "status", "--json")
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    assert {name: status[name] for name in ("kafka", "registry", "connect")} == {
        name: getattr(source.settings, name) for name in ("kafka", "registry", "connect")
    }
    assert status["postgres"].endswith("/app")
    assert [(part["name"], part["health"]) for part in status["parts"]] == [
        (name, "ready") for name in ("postgres", "kafka", "registry", "connect")
    ]
    assert all(part["pid"] > 0 and Path(part["log"]).is_file() for part in status["parts"])
    assert 100 * 2**20 < sum(part["memory"] for part in status["parts"]) < 2 * 2**30


def test_everything_listens_on_loopback_only(stack: Stack, source: Source) -> None:
    listening = [
        connection.laddr.ip
        for part in stack.status()
        for process in processes.family(psutil.Process(part.pid))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr
    ]
    assert len(listening) >= 5 and set(listening) == {"127.0.0.1"}


def test_the_stack_is_found_from_a_folder_below(stack: Stack, source: Source) -> None:
    below = stack.project / "src"
    below.mkdir(exist_ok=True)
    assert syncline(below, "local", "status").returncode == 0


def test_the_settings_file_is_right(stack: Stack, source: Source) -> None:
    settings, addresses = stack.settings(), stack.addresses()
    assert (settings.kafka, settings.registry) == (addresses.kafka, addresses.registry)
    assert (settings.connect, settings.postgres) == (addresses.connect, addresses.postgres)
    assert settings.state == stack.project / ".syncline"


def test_the_source_database_can_be_replicated(source: Source) -> None:
    assert source.sql("SHOW wal_level") == [("logical",)]
    assert source.sql("SELECT slot_name FROM pg_create_logical_replication_slot('probe', 'pgoutput')") == [("probe",)]


def test_a_part_that_died_is_noticed_and_started_again(stack: Stack, source: Source) -> None:
    before = pids(stack)
    stack.kill("registry")
    noticed = syncline(stack.project, "local", "status")
    assert noticed.returncode == 1 and "died" in noticed.stdout
    mended = syncline(stack.project, "local", "up")
    assert mended.returncode == 0, mended.stderr
    after = pids(stack)
    assert after.pop("registry") != before.pop("registry")
    assert after == before


def test_a_restarted_part_is_ready_again(stack: Stack, source: Source) -> None:
    before = pids(stack)
    stack.restart("postgres")
    assert pids(stack)["postgres"] != before["postgres"]
    assert source.sql("SELECT 1") == [(1,)]


def test_a_running_stack_does_not_move_to_other_ports(stack: Stack, source: Source) -> None:
    done = syncline(stack.project, "local", "up", "--port", "kafka=9")
    assert done.returncode == 1
    assert "the stack runs with another port for kafka" in done.stderr and "syncline local down" in done.stderr


def test_a_taken_port_is_named_and_nothing_started(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = syncline(project, "local", "up", "--port", f"registry={port}")
    assert done.returncode == 1
    assert f"error: port {port} of registry is taken by process" in done.stderr
    assert f"127.0.0.1:{port}" in done.stderr
    assert running_below(project) == []


@pytest.mark.parametrize("words", ["kafka", "kafka=", "kafka=x", "kafka=70000"])
def test_a_port_that_is_none_is_refused(project: Path, words: str) -> None:
    done = syncline(project, "local", "up", "--port", words)
    assert done.returncode == 1
    assert f'error: "{words}" is no port' in done.stderr and "hint: write it as kafka=9092" in done.stderr


def test_a_part_that_does_not_start_shows_its_last_lines(project: Path) -> None:
    """What was started beside it is ended."""
    own = Stack(project)
    cluster = own.folder / "postgres" / "cluster"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(SynclineError, match="postgres died before it was ready") as caught:
        own.up()
    assert caught.value.where == str(own.folder / "postgres" / "log.txt")
    assert "last lines of" in str(caught.value.hint) and "postgres" in str(caught.value.hint)
    assert running_below(project) == []


def test_a_part_that_does_not_get_ready_is_named(stack: Stack, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.stop("connect")
    monkeypatch.setattr(module, "READY_WITHIN", 0.0)
    with pytest.raises(SynclineError, match="connect was not ready within 0 s"):
        stack.up()
    stack.cont("connect")


def test_a_full_disk_is_told_before_anything_starts(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FREE_DISK", 2**60)
    with pytest.raises(SynclineError, match=r"the disk is full: \d+ MB are free") as caught:
        Stack(project).up()
    assert caught.value.where == str(project)
    assert running_below(project) == []


def test_connector_offsets_can_be_set_back(stack: Stack, source: Source) -> None:
    """Tests of rules S3 and S4 stand on this: PATCH /connectors/NAME/offsets on a stopped connector."""
    source.sql("CREATE TABLE todos (id int PRIMARY KEY); INSERT INTO todos VALUES (1)")
    url = f"{source.settings.connect}/connectors/{source.settings.connector}"
    with httpx.Client(trust_env=False, timeout=30) as client:
        assert client.put(f"{url}/config", json=connector(source)).status_code == 201
        offsets = eventually(lambda: client.get(f"{url}/offsets").json().get("offsets"))
        assert client.put(f"{url}/stop").status_code == 204
        eventually(lambda: client.get(f"{url}/status").json()["connector"]["state"] == "STOPPED")
        offsets[0]["offset"]["lsn"] -= 1
        patched = client.patch(f"{url}/offsets", json={"offsets": offsets})
        assert patched.status_code == 200, patched.text
        assert client.get(f"{url}/offsets").json()["offsets"] == offsets


def connector(source: Source) -> dict[str, str]:
    """The least that a connector needs."""
    with source.connect() as connection:
        host, port, database = connection.info.host, str(connection.info.port), connection.info.dbname
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": host,
        "database.port": port,
        "database.user": "postgres",
        "database.password": "",
        "database.dbname": database,
        "topic.prefix": source.settings.topic_prefix,
        "plugin.name": "pgoutput",
        "slot.name": source.settings.app,
        "topic.creation.default.replication.factor": "1",
        "topic.creation.default.partitions": "1",
    }


def eventually(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (found := look()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)
    return found
