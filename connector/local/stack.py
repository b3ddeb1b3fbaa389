"""The local stack: real Kafka, Connect, registry and Postgres, started side by side below one folder.

<project>/syncline.yaml            addresses, for every other command
<project>/.syncline/stack/         ports.json and a folder per part: state, settings, log.txt, process.json
"""

from __future__ import annotations

import fcntl
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TypeVar

import psutil

from connector import settings
from connector.errors import SynclineError
from connector.local import artifacts, connect, kafka, ports, postgres, processes, registry, settings_file
from connector.local.parts import Addresses, Part, addresses

READY_WITHIN = 180.0  # seconds for one part; a quiet machine needs under ten
END_PATIENCE = 8.0
PROBE_EVERY = 0.1
LOCK = "lock"
FREE_DISK = 512 * 1024 * 1024

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part as seen now. `health` is "ready", "not ready", "died" or "stopped"; memory is in bytes."""

    name: str
    health: str
    pid: int | None
    memory: int
    log: Path


class Stack:
    """The stack of one project folder. Any number of these may look at the same stack, from any process."""

    def __init__(self, project: Path | str = ".") -> None:
        self.project = Path(project).resolve()
        self.state = self.project / ".syncline"
        self.folder = self.state / "stack"
        self._ports_file = self.folder / "ports.json"

    # -- the whole stack ------------------------------------------------------------------------------------

    def up(self, wanted_ports: Mapping[str, int] | None = None) -> Addresses:
        """Start every part that does not run, wait until all are ready, write the settings file.

        Harmless where all of it runs. Raises SynclineError for a taken port, a full disk, a failed download or a
        part that does not get ready; what this call started is ended then.
        """
        installed = artifacts.installed()
        with self._alone():
            _with_room(self.project)
            self._refuse_moving(wanted_ports or {})
            chosen = ports.settled(self._ports_file, wanted_ports or {})
            self._bring_up(self._parts(chosen, installed))
            settings_file.write(self.project, addresses(chosen))
        return addresses(chosen)

    def down(self) -> None:
        """End every process of the stack; the state stays."""
        with self._alone():
            self._end_all()

    def reset(self) -> None:
        """End every process and drop all state: topics, schemas, database, ports, stores of the workers."""
        with self._alone():
            self._end_all()
            for entry in self.state.iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry)
                elif entry.name != LOCK:
                    entry.unlink()

    def status(self) -> tuple[PartStatus, ...]:
        """Every part as it is now, asked side by side."""
        return tuple(_side_by_side(_status, self._known_parts()))

    def addresses(self) -> Addresses:
        """Where the servers are. Raises SynclineError where the stack was never started."""
        kept = ports.kept(self._ports_file)
        if kept is None:
            raise SynclineError(
                "there is no local stack here", where=str(self.project), hint="`syncline local up` starts one"
            )
        return addresses(kept)

    def settings(self) -> settings.Settings:
        """The settings file that `up` wrote."""
        return settings.load(str(self.project / settings.FILE_NAME))

    # -- one part, for tests that break things ----------------------------------------------------------------

    def kill(self, name: str) -> None:
        """SIGKILL the part's process and its children; its port is free afterwards."""
        processes.send(self._part(name), signal.SIGKILL)

    def stop(self, name: str) -> None:
        """SIGSTOP: the part keeps its connections and answers nobody."""
        processes.send(self._part(name), signal.SIGSTOP)

    def cont(self, name: str) -> None:
        """SIGCONT: a stopped part goes on."""
        processes.send(self._part(name), signal.SIGCONT)

    def heal(self) -> Addresses:
        """Let every stopped part go on and start every one that died; ready when it returns."""
        for part in self._known_parts():
            if processes.running(part) is not None:
                processes.send(part, signal.SIGCONT)
        return self.up()

    def end(self, name: str) -> None:
        """End the part in its own orderly way."""
        processes.end(self._part(name), END_PATIENCE)

    def restart(self, name: str) -> None:
        """End the part where it runs, start it again and wait until it is ready."""
        self.end(name)
        self._bring_up([self._part(name)])

    # -- inside -----------------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One `up`, `down` or `reset` at a time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.state / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _parts(self, chosen: Mapping[str, int], installed: Path) -> list[Part]:
        return [
            postgres.part(self.folder / "postgres", chosen),
            kafka.part(self.folder / "kafka", chosen, installed),
            registry.part(self.folder / "registry", chosen, installed),
            connect.part(self.folder / "connect", chosen, installed),
        ]

    def _known_parts(self) -> list[Part]:
        kept = ports.kept(self._ports_file)
        return [] if kept is None else self._parts(kept, artifacts.installed())

    def _part(self, name: str) -> Part:
        self.addresses()
        return next(part for part in self._known_parts() if part.name == name)

    def _end_all(self) -> None:
        parts = {part.name: part for part in self._known_parts()}
        if parts:
            processes.end(parts.pop("connect"), END_PATIENCE)  # it says goodbye to all the others
            _side_by_side(lambda part: processes.end(part, END_PATIENCE), list(parts.values()))

    def _refuse_moving(self, wanted: Mapping[str, int]) -> None:
        kept = ports.kept(self._ports_file) or {}
        moves = {name for name, port in wanted.items() if kept.get(name, port) != port}
        if moves and any(processes.running(part) for part in self._known_parts()):
            raise SynclineError(
                f"the stack runs with another port for {', '.join(sorted(moves))}",
                where=str(self._ports_file),
                hint="`syncline local down` first",
            )

    def _bring_up(self, parts: Sequence[Part]) -> None:
        starting = [part for part in parts if processes.running(part) is None]
        for part in starting:
            ports.refuse_taken(part)
        given_up = Event()
        try:
            with ThreadPoolExecutor(len(parts)) as pool:
                tries = [pool.submit(_start_and_wait, part, given_up) for part in parts]
                try:
                    for each in wait(tries, return_when=FIRST_EXCEPTION).done:
                        each.result()
                except BaseException:
                    given_up.set()
                    raise
        except BaseException:
            _side_by_side(lambda part: processes.end(part, END_PATIENCE), starting)
            raise


def _with_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < FREE_DISK:
        raise SynclineError(
            f"the disk is full: {free // 2**20} MB are free, the local stack needs {FREE_DISK // 2**20} MB",
            where=str(folder),
            hint="free some space, or drop the stack's state with `syncline local reset`",
        )


def _start_and_wait(part: Part, given_up: Event) -> None:
    """Bring one part up; returns early where another part's failure has ended it all."""
    tries = part.tries
    if processes.running(part) is None:
        _prepare(part)
        if not given_up.is_set():
            processes.start(part)
    deadline = time.monotonic() + READY_WITHIN
    while not given_up.is_set() and not part.ready():
        if processes.running(part) is None:
            tries -= 1
            if tries == 0:
                raise _unready(part, "died before it was ready")
            processes.start(part)
        if time.monotonic() > deadline:
            raise _unready(part, f"was not ready within {READY_WITHIN:.0f} s")
        given_up.wait(PROBE_EVERY)


def _prepare(part: Part) -> None:
    try:
        part.folder.mkdir(parents=True, exist_ok=True)
        part.prepare()
    except OSError as error:
        raise SynclineError(
            f"{part.name} cannot be started: {error.strerror or error}", where=str(error.filename or part.folder)
        ) from error


def _unready(part: Part, fact: str) -> SynclineError:
    return SynclineError(f"{part.name} {fact}", where=str(part.log), hint=processes.last_lines(part))


def _status(part: Part) -> PartStatus:
    process = processes.running(part)
    if process is None:
        health = "stopped" if processes.recorded(part) is None else "died"
        return PartStatus(part.name, health, None, 0, part.log)
    health = "ready" if part.ready() else "not ready"
    return PartStatus(part.name, health, process.pid, _memory(process), part.log)


def _memory(process: psutil.Process) -> int:
    total = 0
    for each in processes.family(process):
        try:
            full = each.memory_full_info()
            total += getattr(full, "pss", full.rss)  # Postgres's sessions share most of theirs
        except psutil.Error:  # a session that ended while we looked
            continue
    return total


def _side_by_side(act: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Do one thing with every part at once; the first error is raised when all are done."""
    with ThreadPoolExecutor(max(1, len(parts))) as pool:
        return list(pool.map(act, parts))
