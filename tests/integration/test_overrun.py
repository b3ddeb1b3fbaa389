"""A replay that must not go on, on real servers: it took too long, or holds a change log back that is too long
(rules T7, M5)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml

import tests.scenarios
from connector.merge.pending import REPLAY_PATIENCE_MS
from connector.merge.retention import OUTGROWN
from tests.integration.pipeline import Pipeline, eventually
from tests.integration.test_cleanup import log_range
from tests.integration.test_pipeline import settled, versions
from tests.integration.world import CHANGED, Writer, deployed
from tests.worlds import Source

pytestmark = [pytest.mark.stack, pytest.mark.soak]
SLOW = ("--max-rate", "20")  # rows/s: 3,000 of them take 150 s
ALLOWED = 300_000  # bytes of the change log
CLOCK = Path(tests.scenarios.__file__).parent / "clock"


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """Where it is written how many seconds the clock of workers and commands is off."""
    return tmp_path / "clock"


@pytest.fixture
def pipeline(source: Source, tmp_path: Path, clock: Path) -> Iterator[Pipeline]:
    wrong_clock = patch.dict(os.environ, {"SCENARIO_CLOCK": str(clock), "PYTHONPATH": str(CLOCK)})
    with wrong_clock, deployed(source, tmp_path, lists=40, todos=3000) as made:
        eventually(lambda: not made.catalog().tributaries, what="main takes over")
        yield made


def slowly(pipeline: Pipeline) -> subprocess.Popen[str]:
    """A deploy that replays slowly, in the background."""
    file = pipeline.folder / "changed.yaml"
    file.write_text(CHANGED)
    command = ["-m", "connector", "--settings", str(pipeline.settings.path), "deploy", str(file), *SLOW]
    return subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def replaying(pipeline: Pipeline, name: str) -> Any:
    """The tributary of this name, once the merge has taken something of its replay."""
    tributary = pipeline.catalog().tributary(name)
    pending = pipeline.status()["pending"] if tributary is not None else None
    return tributary if pending and 0 < pending["replay"]["rows"] < pending["replay"]["of"] else None


def test_a_replay_that_takes_too_long_starts_over_and_the_second_time_fails(
    source: Source, pipeline: Pipeline, clock: Path
) -> None:
    kept = versions(pipeline)
    deploy = slowly(pipeline)
    first = eventually(lambda: replaying(pipeline, "t2"), what="the replay")
    late = REPLAY_PATIENCE_MS // 1000 + 5
    clock.write_text(str(late))
    second = eventually(lambda: replaying(pipeline, "t2r"), what="it starts over")
    assert not set(first.versions) & set(second.versions), "nothing of the first scan is kept"
    assert second.started_at >= first.started_at + REPLAY_PATIENCE_MS
    assert pipeline.catalog().tributary("t2") is None
    assert deploy.poll() is None, "the command goes on waiting"
    clock.write_text(str(2 * late))
    said, told = deploy.communicate(timeout=60)
    assert deploy.returncode == 1, said + told
    assert "generation 2 failed: for the second time its replay took so long" in said
    assert "the active one is as it was" in said
    seen = pipeline.status()
    assert seen["deployment"] == {"generation": 1, "state": "active"}
    assert seen["pending"] is None
    assert versions(pipeline) == kept
    collected = pipeline.ok("gc")
    assert collected["versions"] == []
    assert pipeline.deploy(CHANGED)["deployment"] == {"generation": 3, "state": "active"}
    settled(source, pipeline, CHANGED)
    assert pipeline.ok("verify")["equal"]


def test_a_replay_that_holds_too_long_a_change_log_starts_over_and_the_second_time_fails(
    source: Source, pipeline: Pipeline
) -> None:
    names = yaml.safe_load(source.settings.path.read_text())
    source.settings.path.write_text(yaml.safe_dump(names | {"max_change_log_bytes": ALLOWED}))
    assert pipeline.send("merge", signal.SIGKILL), "it reads its settings when it starts"
    writer = Writer(source.settings.postgres, seed=3)
    writer.start()
    try:
        deploy = slowly(pipeline)
        first = eventually(lambda: replaying(pipeline, "t2"), what="the replay")
        second = eventually(lambda: pipeline.catalog().tributary("t2r"), what="it starts over")
        assert second.start > first.start
        eventually(lambda: log_range(pipeline)[0] > first.start_offset, what="the change log is trimmed")
        said, told = deploy.communicate(timeout=150)
        assert deploy.returncode == 1, said + told
        assert f"for the second time {OUTGROWN}" in said
        seen = pipeline.status()
        assert seen["deployment"] == {"generation": 1, "state": "active"}
        assert seen["let_go"] == [{"generation": 2, "reason": f"for the second time {OUTGROWN}"}]
        assert f"let go       generation 2: for the second time {OUTGROWN}" in pipeline.cli("status").stdout
        first_left = log_range(pipeline)[0]
        eventually(lambda: log_range(pipeline)[0] > first_left, what="the change log is trimmed again")
    finally:
        writer.finish()
    assert pipeline.deploy(CHANGED)["deployment"]["state"] == "active"
    settled(source, pipeline, CHANGED)
