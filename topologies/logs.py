"""What workers print, a file each in the state folder; what is long past goes."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

LONGEST = 10 * 1024 * 1024  # bytes of a file before it makes room for the next; one older one is kept
OLDER = ".1"
KEPT = 10  # of tributaries, which come and go


class Logs:
    """Written to by a thread per process; a worker's next process may begin before the last one's lines are through."""

    def __init__(self, folder: Path, *, longest: int = LONGEST) -> None:
        self._folder = folder
        self._longest = longest
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, worker: str, line: str) -> None:
        """Append a line. A disk that is full loses it: the worker goes on, and its output is on stderr too."""
        file = self._folder / f"{worker.replace(' ', '-')}.log"
        with self._lock, suppress(OSError):
            with file.open("a") as log:
                log.write(line)
                size = log.tell()
            if size >= self._longest:
                file.replace(file.with_name(f"{file.name}{OLDER}"))

    def sweep(self) -> None:
        """Of tributaries keep the newest."""
        with self._lock:
            written = {file: file.stat().st_mtime for file in self._folder.glob("stream-t*.log*")}
            names = {file.name.removesuffix(OLDER): at for file, at in sorted(written.items(), key=lambda one: one[1])}
            kept = sorted(names, key=names.__getitem__)[-KEPT:]
            for file in written:
                if file.name.removesuffix(OLDER) not in kept:
                    file.unlink(missing_ok=True)
