"""The workers' log files do not grow for ever."""

from __future__ import annotations

import os
from pathlib import Path

from topologies.logs import KEPT, Logs


def test_a_log_is_bounded_and_one_older_one_is_kept(tmp_path: Path) -> None:
    logs = Logs(tmp_path / "logs", longest=100)
    for number in range(100):
        logs.write("stream t1", f"line {number}\n")
    files = {file.name: file.read_text() for file in (tmp_path / "logs").iterdir()}
    assert set(files) <= {"stream-t1.log", "stream-t1.log.1"}
    assert all(len(text) < 120 for text in files.values())
    assert "line 99\n" in files.get("stream-t1.log", "") + files["stream-t1.log.1"]
    whole = files["stream-t1.log.1"] + files.get("stream-t1.log", "")
    assert whole == "".join(f"line {n}\n" for n in range(100 - whole.count("\n"), 100)), "nothing between is lost"


def test_old_logs_of_tributaries_go_with_their_older_ones(tmp_path: Path) -> None:
    logs = Logs(tmp_path, longest=5)
    for number in range(KEPT + 3):
        logs.write(f"stream t{number}", "a long line\n")
        logs.write(f"stream t{number}", "x\n")
        for file in tmp_path.glob(f"stream-t{number}.log*"):
            os.utime(file, (number, number))
    logs.write("merge", "a long line\n")
    logs.sweep()
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"merge.log.1"} | {f"stream-t{n + 3}.log{old}" for n in range(KEPT) for old in ("", ".1")}


def test_a_full_disk_stops_no_worker(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    (tmp_path / "merge.log").mkdir()  # as good as full: it cannot be written to
    logs.write("merge", "a line\n")
