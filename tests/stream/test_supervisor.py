"""The supervisor waits for nobody; on a clock of the test's own, without any server."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from connector.settings import load
from tests.builders import catalog, tributary, version
from tests.stream.processes import until
from topologies.priority import BEHIND
from topologies.worker import GRACE, SPARE, Supervisor

NOWHERE = "kafka: 127.0.0.1:1\nregistry: http://127.0.0.1:1\nconnect: http://127.0.0.1:1\npostgres: postgresql://none\n"
WITHOUT = catalog(version(1))
WITH = catalog(version(1), tributaries=(tributary(2, []),))


@dataclass
class Run:
    """A supervisor, and what it says."""

    supervisor: Supervisor
    state: Path
    said: list[str] = field(default_factory=list)

    def look_until(self, words: str, now: float) -> None:
        """Let it look at this moment until it has said so."""

        def said() -> bool:
            self.supervisor.look(now)
            return any(words in line for line in self.said)

        until(said)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    file = tmp_path / "syncline.yaml"
    file.write_text(NOWHERE)
    said: list[str] = []
    supervisor = Supervisor(load(str(file)), ["stream"], said.append)
    made = Run(supervisor, tmp_path / ".syncline", said)
    try:
        yield made
    finally:
        for pid in supervisor.pids.values():
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
        supervisor.end()


def pid(run: Run, name: str) -> int:
    found = run.supervisor.pids[name]
    assert found is not None
    return found


def test_a_tributary_that_is_slow_to_end_keeps_no_dead_worker_waiting(run: Run) -> None:
    run.supervisor.match(WITH, 0.0)
    run.supervisor.look(0.0)
    main, slow = pid(run, "stream"), pid(run, "stream t2")
    left = run.state / "faust" / "t2"
    left.mkdir(parents=True)
    os.kill(slow, signal.SIGSTOP)
    until(lambda: psutil.Process(slow).status() == psutil.STATUS_STOPPED)  # else SIGTERM may overtake it
    run.supervisor.match(WITHOUT, 1.0)
    os.kill(main, signal.SIGKILL)
    run.look_until("stream: killed by signal 9", 1.0)
    run.supervisor.look(2.0)
    assert pid(run, "stream") != main
    assert not any("t2: ended" in line for line in run.said)
    assert left.exists(), "it may still write there"
    run.look_until("stream t2: ended with -9", 1.0 + GRACE)
    assert not left.exists()


def test_what_ends_in_time_is_not_killed(run: Run) -> None:
    run.supervisor.match(WITH, 0.0)
    run.supervisor.look(0.0)
    run.supervisor.match(WITHOUT, 1.0)
    run.look_until("stream t2: ended with", 1.0)
    assert not any("ended with -9" in line for line in run.said)


def niceness(number: int) -> set[int]:
    """Of the process beyond that of the tests, and of its session where the kernel has that."""
    session = Path(f"/proc/{number}/autogroup")
    of_session = {int(session.read_text().split()[-1])} if session.exists() else set()
    return {os.getpriority(os.PRIO_PROCESS, number) - os.getpriority(os.PRIO_PROCESS, 0)} | of_session


def test_live_traffic_comes_before_a_tributary(run: Run) -> None:
    """A tributary has what live traffic leaves, also where Linux counts by sessions; a spare starts as any other."""
    run.supervisor.match(WITHOUT, 0.0)
    run.supervisor.look(0.0)
    spare = pid(run, SPARE)
    assert niceness(spare) == {0}
    run.supervisor.match(WITH, 1.0)
    assert pid(run, "stream t2") == spare
    assert niceness(spare) == {BEHIND}
    os.kill(spare, signal.SIGKILL)
    run.look_until("stream t2: killed by signal 9", 1.0)
    run.look_until("stream t2: started", 9.0)
    main, again = pid(run, "stream"), pid(run, "stream t2")
    assert spare != again
    assert niceness(main) == {0}
    assert niceness(again) == {BEHIND}
