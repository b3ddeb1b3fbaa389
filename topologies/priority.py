"""Which process gets the processors where all want them (rule M6)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

BEHIND = 10  # niceness: some tenth of what a process of live traffic gets


def step_back(pid: int) -> None:
    """Let a session's leader and what it starts from now on have what live traffic leaves.

    Linux gives each session the same share (sched(7), "The autogroup feature"), whatever the niceness of its
    processes: the session's own is set too.
    """
    with suppress(ProcessLookupError):  # it has ended again
        os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid) + BEHIND)  # never less than it has
    with suppress(OSError):  # no kernel with autogroups, or one whose settings are not to be written in a container
        Path(f"/proc/{pid}/autogroup").write_text(str(BEHIND), encoding="ascii")
