"""Whether anything moves: a command that waits for workers says so where none seems to run, and waits on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

SILENCE = 10.0  # seconds without a commit; what is under way commits several times a second


class Stall:
    """How long the merge has committed nothing, as far as the command has seen."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._number = -1
        self._told = False

    def line(self, commit: Mapping[str, Any] | None) -> str | None:
        """What to show of it now; None where all is well. `commit` is the newest one."""
        number, now = commit["number"] if commit else 0, self._clock()
        if number != self._number:
            self._number, self._since, self._told = number, now, False
        silence = now - self._since
        if silence < SILENCE:
            return None
        return f"nothing was committed for {silence:.0f} s: is `syncline run` running, merge and stream?"

    def tell(self, commit: Mapping[str, Any] | None) -> None:
        """The same on stderr, once for each time that nothing moves."""
        line = self.line(commit)
        if line is not None and not self._told:
            self._told = True
            print(line, file=sys.stderr, flush=True)
