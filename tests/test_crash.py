"""Crash points: each named once in the code and known to the scenarios; nothing without the environment's word."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil
import pytest

from connector import crash
from tests.integration.pipeline import eventually
from tests.scenarios.points import POINTS
from tests.test_structure import modules

PASSES = (
    "from connector.crash import arm, crash_point; arm()\nfor n in range(3):\n  print(n, flush=True); crash_point('a')"
)


def named() -> Counter[str]:
    """How often each point stands in the code."""
    calls = (node for file in modules().values() for node in ast.walk(ast.parse(file.read_text())))
    return Counter(
        str(ast.literal_eval(call.args[0]))
        for call in calls
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "crash_point"
    )


def test_every_point_is_named_once_and_known_to_the_scenarios() -> None:
    assert named() == Counter(point for _, point in POINTS)


def started(**environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PASSES], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


def test_nothing_happens_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYNCLINE_CRASH_POINT", raising=False)
    monkeypatch.delenv("SYNCLINE_CRASH_FOLDER", raising=False)
    crash.arm()
    assert crash._reached is None
    crash.crash_point("merge.after_ops")


def test_a_point_is_passed_as_often_as_asked() -> None:
    out, _ = (process := started(SYNCLINE_CRASH_POINT="a", SYNCLINE_CRASH_SKIP="1")).communicate()
    assert (process.returncode, out.split()) == (-signal.SIGKILL, ["0", "1"])


def test_an_order_is_carried_out_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("kill 2")
    (tmp_path / "b").write_text("kill 0")
    for wanted in ((-signal.SIGKILL, ["0", "1", "2"]), (0, ["0", "1", "2"])):
        out, _ = (process := started(SYNCLINE_CRASH_FOLDER=str(tmp_path))).communicate()
        assert (process.returncode, out.split()) == wanted
        assert [order.name for order in tmp_path.iterdir()] == ["b"]


def test_a_process_can_be_frozen_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("stop 0")
    process = started(SYNCLINE_CRASH_FOLDER=str(tmp_path))
    eventually(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate()
    assert (process.returncode, out.split()) == (0, ["0", "1", "2"])


def test_a_process_is_frozen_as_often_as_asked(tmp_path: Path) -> None:
    """Also where the next order is there before it goes on."""
    order = tmp_path / "a"
    order.write_text("stop 0")
    process = started(SYNCLINE_CRASH_FOLDER=str(tmp_path))
    for _ in range(2):
        eventually(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
        assert not order.exists()
        order.write_text("stop 0")
        process.send_signal(signal.SIGCONT)
    eventually(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate()
    assert (process.returncode, out.split()) == (0, ["0", "1", "2"])
