"""Remembers, across restarts of a process, which version did not answer at which position (rule T2)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

PATIENCE = 3  # a version that has hung so often at one position is not asked there again


class Stuck:
    """How often each version has hung at one position; kept in a small file of this node."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._position, self._times = _read(file)

    def add(self, position: int, versions: Iterable[int]) -> None:
        """These versions have not answered at `position`."""
        times = self._times if position == self._position else {}
        self._position, self._times = position, times | {v: times.get(v, 0) + 1 for v in versions}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        times_text = {str(version): count for version, count in self._times.items()}
        self._file.write_text(json.dumps({"position": position, "times": times_text}))

    def given_up(self, position: int) -> frozenset[int]:
        """The versions not to be asked at `position`."""
        if position != self._position:
            return frozenset()
        return frozenset(version for version, count in self._times.items() if count >= PATIENCE)


def _read(file: Path) -> tuple[int, dict[int, int]]:
    try:
        content = json.loads(file.read_text())
        return int(content["position"]), {int(version): int(n) for version, n in content["times"].items()}
    except (OSError, ValueError, KeyError):  # none yet, or torn by the exit that wrote it
        return 0, {}
