"""Processes are detached, recorded, and nobody else's is ever ended."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import psutil
import pytest

from connector.errors import SynclineError
from connector.local import processes
from connector.local.parts import Part
from connector.local.stack import _start_and_wait

WAIT = 10.0

# Says one line, then starts a child that says another; both sleep.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; print('child', flush=True); time.sleep(600)"])
print("parent", flush=True)
time.sleep(600)
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
DIES_TWICE = """
import pathlib, sys, time
file = pathlib.Path(sys.argv[1])
with file.open("a") as log:
    log.write("x")
time.sleep(60 if len(file.read_text()) > 2 else 0)
"""


def a_part(folder: Path, program: str) -> Part:
    return Part(
        name="sleeper",
        folder=folder,
        ports=(),
        command=(sys.executable, "-c", program),
        prepare=lambda: None,
        ready=lambda: True,
        environment={},
    )


@pytest.fixture
def part(tmp_path: Path) -> Iterator[Part]:
    sleeper = a_part(tmp_path, PARENT)
    yield sleeper
    processes.end(sleeper, patience=0)


def until_logged(part: Part, *words: str) -> None:
    deadline = time.monotonic() + WAIT
    while not all(word in part.log.read_text() for word in words):
        assert time.monotonic() < deadline, f"{words} not in {part.log.read_text()!r}"
        time.sleep(0.02)


def test_a_started_part_is_nobodys_child_and_is_found_again(part: Part) -> None:
    record = processes.start(part)
    process = processes.running(part)
    assert process is not None and process.pid == record.pid
    assert psutil.Process().pid not in [parent.pid for parent in process.parents()]


def test_end_takes_the_children_along(part: Part) -> None:
    processes.start(part)
    until_logged(part, "parent", "child")
    process = processes.running(part)
    assert process is not None
    family = processes.family(process)
    assert len(family) == 2
    processes.end(part, patience=5)
    assert [each for each in family if each.is_running()] == []
    assert processes.recorded(part) is None


def test_a_part_deaf_to_its_signal_is_killed_after_its_patience(tmp_path: Path) -> None:
    part = a_part(tmp_path, DEAF)
    processes.start(part)
    until_logged(part, "deaf")
    processes.end(part, patience=0.2)
    assert processes.running(part) is None


def test_a_frozen_part_can_be_ended(part: Part) -> None:
    processes.start(part)
    processes.send(part, signal.SIGSTOP)
    began = time.monotonic()
    processes.end(part, patience=WAIT)
    assert time.monotonic() - began < WAIT, "it was killed, not asked"


def test_a_killed_part_is_seen_as_dead(part: Part) -> None:
    processes.start(part)
    processes.send(part, signal.SIGKILL)
    assert processes.running(part) is None
    assert processes.recorded(part) is not None
    with pytest.raises(SynclineError, match="sleeper does not run"):
        processes.send(part, signal.SIGKILL)


def test_another_process_with_the_recorded_pid_is_left_alone(part: Part) -> None:
    """A pid is given again after a reboot: the start time tells whose it is."""
    record = processes.start(part)
    file = part.folder / processes.RECORD
    file.write_text(json.dumps({"pid": record.pid, "started": record.started - 3600}))
    assert processes.running(part) is None
    processes.end(part, patience=1)
    assert psutil.pid_exists(record.pid)
    file.write_text(json.dumps({"pid": record.pid, "started": record.started}))


def test_a_command_that_is_not_there_says_so_in_the_log(tmp_path: Path) -> None:
    part = replace(a_part(tmp_path, ""), command=("/no/such/program",))
    processes.start(part)
    until_logged(part, "/no/such/program")
    assert "/no/such/program" in processes.last_lines(part)


def test_a_part_that_ended_before_it_was_looked_at_has_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it ended before or after that moment changes no answer."""
    part = replace(a_part(tmp_path, "print('no')"), ready=lambda: False)
    run = processes.subprocess.run

    def run_to_its_end(*args: Any, **more: Any) -> Any:
        shell = run(*args, **more)
        deadline = time.monotonic() + WAIT
        while psutil.pid_exists(int(shell.stdout)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return shell

    monkeypatch.setattr(processes.subprocess, "run", run_to_its_end)
    with pytest.raises(SynclineError, match="sleeper died before it was ready") as caught:
        _start_and_wait(part, Event())
    assert caught.value.where == str(part.log)
    assert str(caught.value.hint).endswith("\n    no")
    assert processes.running(part) is None


@pytest.mark.parametrize(("tries", "starts"), [(3, 3), (2, 2)])
def test_a_part_that_gives_up_on_another_is_started_again(tmp_path: Path, tries: int, starts: int) -> None:
    """It is up at its third start."""
    started = tmp_path / "started"
    part = replace(
        a_part(tmp_path / "part", ""),
        command=(sys.executable, "-c", DIES_TWICE, str(started)),
        ready=lambda: started.exists() and len(started.read_text()) == 3,
        tries=tries,
    )
    try:
        if tries == starts == 3:
            _start_and_wait(part, Event())
        else:
            with pytest.raises(SynclineError, match="sleeper died before it was ready"):
                _start_and_wait(part, Event())
        assert len(started.read_text()) == starts
    finally:
        processes.end(part, 5.0)
