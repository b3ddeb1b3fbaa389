"""The settings of topics that replays depend on (rule T7)."""

from __future__ import annotations

import pytest

from topologies.topic_settings import differing_settings
from topologies.topics import HEADROOM, snapshot

SIZE = 16 * 1024 * 1024
MINUTES = 60_000


def test_what_a_replay_reads_twice_is_bounded() -> None:
    """The newest segment is never cleaned, and what is older only where it is worth it."""
    config = snapshot(SIZE)
    assert int(config["min.compaction.lag.ms"]) == 10 * MINUTES
    assert int(config["segment.ms"]) <= 10 * MINUTES
    assert SIZE + HEADROOM < int(config["segment.bytes"]) <= 64 * 1024 * 1024
    assert float(config["min.cleanable.dirty.ratio"]) <= 0.1


@pytest.mark.parametrize(
    ("found", "set_anew"),
    [
        ({}, {}),
        ({"min.compaction.lag.ms": str(60 * MINUTES)}, {}),
        ({"min.compaction.lag.ms": "0"}, {"min.compaction.lag.ms": str(10 * MINUTES)}),
        ({"segment.ms": str(60 * MINUTES)}, {"segment.ms": str(10 * MINUTES)}),
    ],
)
def test_init_leaves_a_longer_compaction_lag_as_it_is(found: dict[str, str], set_anew: dict[str, str]) -> None:
    """Whoever has raised it for long replays does not lose it with the next `init`."""
    assert differing_settings(snapshot(SIZE), snapshot(SIZE) | found) == set_anew
