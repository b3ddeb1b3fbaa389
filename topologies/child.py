"""Runs one worker's module as a child of the supervisor, and never longer than it.

    python -m topologies.child SUPERVISOR_PID MODULE [ARGUMENT ...]

On Linux the kernel ends the child with its supervisor, even one that was killed.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with(supervisor: int) -> None:
    """From now on this process ends when its parent does; it ends at once where that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        sys.exit("the supervisor is gone")


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    module = sys.argv[2]
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
