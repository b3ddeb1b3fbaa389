"""One stack for a while: in containers where a Docker engine answers, else local; gone afterwards, however it went."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connector.local.stack import Stack
from tests import containers
from tests.secured import SecuredStack

ROOT = Path(__file__).parent.parent


@contextmanager
def running() -> Iterator[Stack | containers.ContainerStack]:
    """The stack while the block runs. Raises SynclineError where it does not come up."""
    if containers.engine_answers():
        with containers.running(ROOT) as contained:
            yield contained
    else:
        with local() as started:
            yield started


@contextmanager
def local() -> Iterator[SecuredStack]:
    """The local stack while the block runs. Raises SynclineError where it does not come up."""
    folder = tempfile.mkdtemp(prefix="syncline-test-")
    reaper = subprocess.Popen(
        [sys.executable, "-m", "tests.reaper", folder], stdin=subprocess.PIPE, cwd=ROOT, start_new_session=True
    )
    try:
        started = SecuredStack(folder)
        started.up()
        yield started
    finally:
        assert reaper.stdin is not None
        reaper.stdin.close()
        reaper.wait(timeout=120)
