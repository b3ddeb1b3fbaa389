"""How often a worker looks for garbage that refers to itself."""

from __future__ import annotations

import gc


def collect_seldom() -> None:
    """A batch, a commit and a read of ops make many containers that live a moment, and hardly a cycle."""
    gc.set_threshold(100_000, 20, 20)
