"""Named places between two writes where a test may kill or freeze the process (law 8).

Each name stands once in the code (tests/test_crash.py lists them). `arm` is called when a worker starts. Where the
environment names nothing a point is a comparison with None, 30 ns. `SYNCLINE_CRASH_POINT=merge.after_ops` kills this
process at the point, after `SYNCLINE_CRASH_SKIP` passes. `SYNCLINE_CRASH_FOLDER` names a folder of orders that may come
and go while the workers run: a file named as its point holds ACTION SKIP, the action `kill` or `stop`. Whoever gets
there removes it first, so that it happens once, however often workers are started again.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}

_reached: Callable[[str], None] | None = None


def crash_point(name: str) -> None:
    """Die or freeze here, if a test has asked for it."""
    if _reached is not None:
        _reached(name)


def arm() -> None:
    """Read what the environment asks of this process."""
    global _reached  # noqa: PLW0603 - set once, when the process starts
    if point := os.environ.get("SYNCLINE_CRASH_POINT"):
        _reached = Once(point, int(os.environ.get("SYNCLINE_CRASH_SKIP", "0")))
    elif folder := os.environ.get("SYNCLINE_CRASH_FOLDER"):
        _reached = OnOrder(Path(folder))


class Once:
    """One point, killed at after some passes."""

    def __init__(self, point: str, skip: int) -> None:
        self._point = point
        self._left = skip

    def __call__(self, name: str) -> None:
        if name == self._point:
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self._left -= 1


class OnOrder:
    """Whatever the folder asks for at the moment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._left: dict[str, int] = {}

    def __call__(self, name: str) -> None:
        order = self._folder / name
        try:
            action, skip = order.read_text().split()
        except FileNotFoundError:
            self._left.pop(name, None)
            return
        left = self._left.setdefault(name, int(skip))
        self._left[name] = left - 1
        if left == 0 and _taken(order):
            del self._left[name]  # whatever is asked for next is another order
            os.kill(os.getpid(), ACTIONS[action])


def _taken(file: Path) -> bool:
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    return True
