"""The supervisor, with the stream as its worker, on a real broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from connector.settings import Settings
from tests.stream.feed import Feeder, Merged, stream_state, todo, tributary, versions
from tests.stream.processes import ROOT, until
from tests.stream.test_replay import CONFIG, offset_after, pending

pytestmark = pytest.mark.stack


class Run:
    """`syncline run --only stream` and what it prints."""

    def __init__(self, settings: Settings) -> None:
        self._out = settings.path.parent / "run.out"
        with self._out.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "connector", "--settings", str(settings.path), "run", "--only", "stream"],
                cwd=ROOT,
                stdout=out,
                stderr=out,
            )

    @property
    def output(self) -> str:
        return self._out.read_text()

    def pids(self, name: str) -> list[int]:
        """Process ids that the supervisor has printed for a worker, the newest last."""
        lines = [line for line in self.output.splitlines() if f" {name}: started, pid " in line]
        return [int(line.rpartition(" ")[2]) for line in lines]


@contextmanager
def supervised(settings: Settings) -> Iterator[Run]:
    run = Run(settings)
    try:
        yield run
    except BaseException:
        print(run.output)
        raise
    finally:
        run.process.kill()
        run.process.wait()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] != "Z"


def test_a_killed_worker_comes_back_and_sigterm_ends_all_of_it(feeder: Feeder) -> None:
    merged = Merged(feeder)
    merged.expose(*versions(CONFIG))
    with supervised(feeder.settings) as run:
        feeder.batch(todo("a"))
        until(merged.evaluated)
        os.kill(run.pids("stream")[0], signal.SIGKILL)
        feeder.batch(todo("b"))
        until(lambda: merged.evaluated()[-1]["position"] == 2)
        assert "stream: killed by signal 9, again in 0.2 s" in run.output
        first, second = run.pids("stream")
        began = time.monotonic()
        run.process.terminate()
        assert run.process.wait(20) == 0
        assert time.monotonic() - began < 10
        assert not alive(first)
        assert not alive(second)
        assert "stream: ended with 0" in run.output
    assert "starts at offset" in (feeder.settings.state / "logs" / "stream.log").read_text()


def test_no_worker_outlives_a_killed_supervisor(feeder: Feeder) -> None:
    merged = Merged(feeder)
    feeder.batch(todo("a"))
    with supervised(feeder.settings) as run:
        until(merged.evaluated)
        [pid] = run.pids("stream")
        run.process.kill()
        run.process.wait()
        until(lambda: not alive(pid))


def test_a_rewind_is_followed_at_once(feeder: Feeder) -> None:
    merged = Merged(feeder)
    merged.expose(*versions(CONFIG))
    with supervised(feeder.settings) as run:
        feeder.batches([[todo(str(n))] for n in range(4)])
        until(lambda: len(merged.evaluated()) == 4)
        merged.commit(stream_state(position=1, change_offset=merged.evaluated()[0]["change_offset"] + 1))
        merged.publish(replace(merged.catalog, rewinds={"main": 1}))
        until(lambda: len(merged.evaluated()) == 7)
        assert "stream: starts again at an earlier batch" in run.output


def test_tributaries_run_as_long_as_the_catalog_lists_them(feeder: Feeder) -> None:
    """Rules D2, D5: a process of its own, beside main, until the take-over is done."""
    merged = Merged(feeder)
    s0 = feeder.batch(todo("a"))
    with supervised(feeder.settings) as run:
        until(merged.evaluated)
        new = pending()
        merged.begin(tributary(new, start=s0, start_offset=offset_after(feeder, s0)), *new)
        merged.answer("bounds")
        merged.answer("head")
        feeder.batch(todo("b"))
        until(lambda: [r for r in merged.evaluated("t1") if r["position"] == 2])
        taken_over = tuple(replace(v, state="exposed") for v in new)  # type: ignore[arg-type]
        merged.publish(replace(merged.catalog, versions=taken_over))
        position = feeder.batch(todo("c"))
        newest = until(lambda: [r for r in merged.evaluated() if r["position"] == position])[-1]
        assert [v["version"] for v in newest["versions"]] == [1]
        [main], [tributary_pid] = run.pids("stream"), run.pids("stream t1")
        merged.publish(replace(merged.catalog, tributaries=()))
        until(lambda: not alive(tributary_pid))
        until(lambda: "stream t1: ended" in run.output)
        assert alive(main)
