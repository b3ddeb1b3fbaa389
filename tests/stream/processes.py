"""Worker processes under test, and waiting for what they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from connector.settings import Settings

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 90.0

_T = TypeVar("_T")


def until(look: Callable[[], _T], *, timeout: float = PATIENCE) -> _T:
    """What `look` gives as soon as it is true."""
    deadline = time.monotonic() + timeout
    while not (found := look()):
        assert time.monotonic() < deadline, f"not seen within {timeout} s; last: {found!r}"
        time.sleep(0.05)
    return found


class StreamProcess:
    """One `topologies.stream` process; its log is beside the settings file."""

    def __init__(self, settings: Settings, stream: str = "main", **environment: str) -> None:
        self._log = settings.path.parent / f"{stream}.{time.monotonic_ns()}.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "topologies.stream", "--settings", str(settings.path), "--stream", stream],
                cwd=ROOT,
                stderr=log,
                env=os.environ | environment,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def exited(self) -> int:
        """The exit code, once it has ended by itself."""
        return self.process.wait(PATIENCE)


@contextmanager
def running(settings: Settings, stream: str = "main", **environment: str) -> Iterator[StreamProcess]:
    """A stream process that does not outlive the test."""
    worker = StreamProcess(settings, stream, **environment)
    try:
        yield worker
    except BaseException:
        print(worker.log)
        raise
    finally:
        if worker.process.poll() is None:
            worker.resume()
            worker.kill()
