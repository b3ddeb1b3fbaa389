"""Places between two writes where a test may kill the process (law 8); without the variable they do nothing.

`SYNCLINE_CRASH_POINT=merge.after_ops` kills this process with SIGKILL when it reaches that point;
`SYNCLINE_CRASH_SKIP=n` lets the first n pass. Both are read once, when the process starts.
"""

from __future__ import annotations

import os
import signal

_POINT = os.environ.get("SYNCLINE_CRASH_POINT")
_left = int(os.environ.get("SYNCLINE_CRASH_SKIP", "0"))


def crash_point(name: str) -> None:
    """Die here, as `kill -9` would, if the environment names this point."""
    global _left  # noqa: PLW0603 - a countdown of the whole process
    if name != _POINT:
        return
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    _left -= 1
