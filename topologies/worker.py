"""The supervisor behind `syncline run`: a process per worker, restarted when it dies (law 8).

It decides nothing about the pipeline: which tributaries run is in the catalog, which it only follows.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import IO

from connector.deploy.catalog import Catalog
from connector.settings import Settings
from schemas.codec import Codec
from topologies.exits import FENCED, REWOUND
from topologies.follow import Follower, available, has_begun, has_ended
from topologies.logs import Logs
from topologies.priority import step_back

log = logging.getLogger(__name__)

ROLES: Mapping[str, Sequence[str]] = {
    "sequence": ("topologies.sequence",),
    "stream": ("topologies.stream", "--stream", "main"),
    "merge": ("topologies.merge",),
    "serve": ("topologies.serve",),
}
FIRST_DELAY, LAST_DELAY = 0.2, 5.0  # seconds before a restart
FENCED_DELAY = 5.0
STEADY = 30.0  # seconds that a process runs before its next death counts as the first
GRACE = 8.0  # seconds to end cleanly in
LOOK = 0.05
SPARE = "stream spare"
STREAM_TO_COME = ("topologies.stream", "--stream", "-")
KEPT = (*ROLES, SPARE)  # whatever the catalog lists

Say = Callable[[str], None]


class Worker:
    """One worker: its process, and when to start it again."""

    def __init__(self, name: str, arguments: Sequence[str], settings: Settings, say: Say, logs: Logs) -> None:
        self.name = name
        self._logs = logs
        self._settings = settings
        self._arguments = arguments
        self._say = say
        self._process: subprocess.Popen[str] | None = None
        self._due = 0.0
        self._started = 0.0
        self._delay = FIRST_DELAY
        self._patience = 0.0

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        return self._process.pid if self._process is not None else None

    def become(self, name: str, arguments: Sequence[str], stream: str) -> bool:
        """Give a spare process its stream and name; False where none runs that could take it."""
        if self._process is None or self._process.poll() is not None:
            return False
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{stream}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        self.name, self._arguments = name, arguments
        step_back(self._process.pid)
        self._say(f"{name}: started, pid {self._process.pid}")
        return True

    def look(self, now: float) -> None:
        """Notice a death; start the process when it is due."""
        if self._process is not None:
            code = self._process.poll()
            if code is not None:
                self._forget(self._process)
                self._note_death(code, now)
        elif now >= self._due:
            self._start(now)

    def end(self, now: float) -> None:
        """Ask the process to end within its grace."""
        self._patience = now + GRACE
        if self._process is not None:
            self._process.terminate()

    def has_ended(self, now: float) -> bool:
        """Whether the process that was asked to end has done so; one that was not quick enough is killed."""
        if self._process is None:
            return True
        code = self._process.poll()
        if code is None:
            if now >= self._patience:
                self._process.kill()
            return False
        self._say(f"{self.name}: ended with {code}")
        self._forget(self._process)
        return True

    def _forget(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        self._process = None

    def _start(self, now: float) -> None:
        arguments = (str(os.getpid()), *self._arguments, "--settings", str(self._settings.path))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "topologies.child", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # the terminal's interrupt is for the supervisor alone
        )
        self._started = now
        if self.name not in KEPT:
            step_back(self._process.pid)
        self._say(f"{self.name}: started, pid {self._process.pid}")
        assert self._process.stdout is not None
        threading.Thread(target=self._copy, args=(self._process.stdout,), daemon=True).start()

    def _note_death(self, code: int, now: float) -> None:
        if code == REWOUND:
            self._due = now
            self._say(f"{self.name}: starts again at an earlier batch")
            return
        if now - self._started > STEADY:
            self._delay = FIRST_DELAY
        if code == FENCED:  # another one has its place: two supervisors take turns slowly, and one alone goes on
            self._delay = FENCED_DELAY
        self._due = now + self._delay
        reason = f"killed by signal {-code}" if code < 0 else f"exited with {code}"
        self._say(f"{self.name}: {reason}, again in {self._delay:.1f} s")
        self._delay = min(LAST_DELAY, self._delay * 2)

    def _copy(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                sys.stderr.write(f"{self.name} | {line}")
                self._logs.write(self.name, line)


class Supervisor:
    """The workers of one node, and a tributary's for each the catalog lists."""

    def __init__(self, settings: Settings, roles: Iterable[str], say: Say) -> None:
        self._settings = settings
        self._say = say
        self._stopped = threading.Event()
        self._follower: Follower | None = None
        self._logs = Logs(settings.state / "logs")
        self._workers = {role: self._worker(role, ROLES[role]) for role in ROLES if role in set(roles)}
        self._ending: list[Worker] = []

    @property
    def pids(self) -> dict[str, int | None]:
        """Process by worker name; None for one that waits for its restart."""
        return {name: worker.pid for name, worker in self._workers.items()}

    def run(self) -> None:
        """Keep all workers running until `stop`."""
        if "stream" in self._workers:
            threading.Thread(target=self._follow, daemon=True).start()
        while not self._stopped.wait(LOOK):
            now = time.monotonic()
            if self._follower is not None:
                self.match(self._follower.catalog, now)
            self.look(now)
        self.end()

    def end(self) -> None:
        """End all workers, and wait for it."""
        self._end(list(self._workers), time.monotonic())
        while self._ending:
            time.sleep(LOOK)
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Start what is due and let go of what has ended; waits for nothing."""
        for worker in self._workers.values():
            worker.look(now)
        ended = [worker for worker in self._ending if worker.has_ended(now)]
        self._ending = [worker for worker in self._ending if worker not in ended]
        self._sweep([worker.name.removeprefix("stream ") for worker in ended if worker.name not in KEPT])

    def stop(self) -> None:
        """Let `run` end all workers and return; from any thread or signal."""
        self._stopped.set()

    def _follow(self) -> None:
        codec = Codec(available(self._settings))
        follower = Follower(self._settings, codec, failed=self._follow)
        follower.start()
        self._follower = follower

    def match(self, catalog: Catalog, now: float) -> None:
        """One process for each tributary that has begun and still has something to say."""
        names = [t.name for t in catalog.tributaries]
        running = [name for name in names if has_begun(catalog, name) and not has_ended(catalog, name)]
        wanted = {f"stream {name}": name for name in running}
        for name, stream in wanted.items():
            if name not in self._workers:
                self._workers[name] = self._started(name, stream)
        self._end([name for name in self._workers if name not in KEPT and name not in wanted], now)
        if not wanted and SPARE not in self._workers:
            self._workers[SPARE] = self._worker(SPARE, STREAM_TO_COME)

    def _worker(self, name: str, arguments: Sequence[str]) -> Worker:
        return Worker(name, arguments, self._settings, self._say, self._logs)

    def _started(self, name: str, stream: str) -> Worker:
        """A worker for a tributary: the spare one, so that no deploy waits for a process to start, else a new one."""
        arguments = ("topologies.stream", "--stream", stream)
        spare = self._workers.get(SPARE)
        if spare is not None and spare.become(name, arguments, stream):
            return self._workers.pop(SPARE)
        return self._worker(name, arguments)

    def _sweep(self, streams: Sequence[str]) -> None:
        """Nothing of tributaries that have ended stays in the state folder but the last logs."""
        folder = self._settings.state
        for stream in streams:
            shutil.rmtree(folder / "faust" / stream, ignore_errors=True)
            (folder / f"stuck.{stream}.json").unlink(missing_ok=True)
        if streams:
            self._logs.sweep()

    def _end(self, names: Sequence[str], now: float) -> None:
        for name in names:
            worker = self._workers.pop(name)
            worker.end(now)
            self._ending.append(worker)


def run(settings: Settings, roles: Iterable[str]) -> int:
    """Supervise in the foreground until SIGTERM or SIGINT; 0 then."""
    supervisor = Supervisor(settings, roles, _print)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    supervisor.run()
    return 0


def _print(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
