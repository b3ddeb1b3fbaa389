"""Processes that outlive the command that starts them, recorded so that only these are ever ended.

A record is pid and start time: a pid alone may meanwhile be another process.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from connector.errors import SynclineError
from connector.local.parts import Part

RECORD = "process.json"
START_TOLERANCE = 2.0  # seconds that a corrected system clock may move a start time
LOG_LIMIT = 20 * 1024 * 1024

# The shell leaves the server to init and tells its pid: no zombie stays with us when it dies.
DETACH = '"$@" 1>&2 & echo $!'


@dataclass(frozen=True, slots=True)
class Record:
    """A process as it was started."""

    pid: int
    started: float  # seconds since 1970


def start(part: Part) -> Record:
    """Start the part in a session of its own, its output appended to its log. Returns once it is recorded.

    One that has ended meanwhile is recorded too, as started at no time: `running` tells.
    """
    _rotate(part)
    user = {} if part.user is None else {"user": part.user, "group": pwd.getpwnam(part.user).pw_gid}
    with part.log.open("ab") as log:
        shell = subprocess.run(
            ["/bin/sh", "-c", DETACH, "sh", *part.command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=dict(part.environment),
            cwd=part.folder,
            start_new_session=True,
            extra_groups=None if part.user is None else [],
            check=True,
            **user,  # type: ignore[call-overload]
        )
    pid = int(shell.stdout)
    try:
        record = Record(pid, psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        record = Record(pid, 0.0)
    _write(part, record)
    return record


def running(part: Part) -> psutil.Process | None:
    """The part's process, where the one recorded still runs."""
    record = recorded(part)
    if record is None:
        return None
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.started) < START_TOLERANCE
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def recorded(part: Part) -> Record | None:
    """What `start` last recorded; None where the part was never started or was ended by `end`."""
    try:
        return Record(**json.loads((part.folder / RECORD).read_text()))
    except FileNotFoundError:
        return None


def end(part: Part, patience: float) -> None:
    """End the part's process and its children: kindly, then after `patience` seconds by SIGKILL."""
    process = running(part)
    if process is not None:
        tree = family(process)
        _send(tree[-1:], signal.SIGCONT)  # a stopped process would never see the kind signal
        _send([process], part.end_signal)
        _, alive = psutil.wait_procs([process], timeout=patience)
        if alive:
            tree = family(process)
        _send(tree, signal.SIGKILL)
        psutil.wait_procs(tree, timeout=10)
    (part.folder / RECORD).unlink(missing_ok=True)


def send(part: Part, signum: signal.Signals) -> None:
    """Send a signal to the part's process and all its children. Raises SynclineError where it does not run."""
    process = running(part)
    if process is None:
        raise SynclineError(f"{part.name} does not run", hint="start it with `syncline local up`")
    tree = family(process)
    _send(tree, signum)
    if signum == signal.SIGKILL:
        psutil.wait_procs(tree, timeout=10)


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and all below it; the eldest first, so that nobody replaces a child that was ended."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def last_lines(part: Part, count: int = 12) -> str:
    """The end of the part's log, for an error's hint."""
    try:
        lines = part.log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    return "\n    ".join([f"last lines of {part.log}:", *lines[-count:]])


def _send(processes: Iterable[psutil.Process], signum: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(signum)
        except psutil.NoSuchProcess:  # it ended by itself meanwhile, which is what was wanted
            continue


def _rotate(part: Part) -> None:
    if part.log.is_file() and part.log.stat().st_size > LOG_LIMIT:
        part.log.replace(part.log.with_suffix(".old.txt"))


def _write(part: Part, record: Record) -> None:
    file = part.folder / RECORD
    unfinished = file.with_suffix(".new")
    unfinished.write_text(json.dumps({"pid": record.pid, "started": record.started}))
    os.replace(unfinished, file)
