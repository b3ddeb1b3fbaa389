"""What a killed command leaves in the state folder goes with the next one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from connector.store.scratch import scratch

HOLD = """
import os, sys
from pathlib import Path
from connector.store.scratch import scratch
with scratch(Path(sys.argv[1]), "verify-") as folder:
    (folder / "rows").write_text("many")
    print(folder.name, flush=True)
    sys.stdin.read(1)
    os._exit(9)
"""


def test_leftovers_of_dead_processes_go_and_those_of_live_ones_stay(tmp_path: Path) -> None:
    (tmp_path / "merge").mkdir()
    (tmp_path / "verify-old").mkdir()
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin is not None and other.stdout is not None
    held = other.stdout.readline().strip()
    with scratch(tmp_path, "verify-") as mine:
        assert {path.name for path in tmp_path.iterdir()} == {"merge", held, mine.name}
    assert not mine.exists()
    other.communicate("x")
    assert (tmp_path / held / "rows").exists(), "it was killed"
    with scratch(tmp_path / "not" / "yet", "verify-"):
        pass
    with scratch(tmp_path, "verify-") as mine:
        assert {path.name for path in tmp_path.iterdir()} == {"merge", "not", mine.name}
