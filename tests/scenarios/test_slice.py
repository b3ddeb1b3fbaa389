"""The slice of the soak that is in `make test`: a few scenarios under disruptions that differ as much as they can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.disruptions import DISRUPTIONS
from tests.scenarios.points import POINTS
from tests.scenarios.run import STEPS, Pair, drawn, pairs, parsed, run
from tests.scenarios.scripts import SCRIPTS
from tests.test_structure import ROOT
from tests.worlds import Source

SLICES = (
    "first_deploy×kill_sequence.before_commit,change_one×kill_replay.after_chunk,rollback×kill_merge.after_catalog",
    "first_deploy×kill_merge.after_commit,swap_names×nothing,several_in_a_row×kill_stream.after_write",
)


@pytest.mark.stack
@pytest.mark.parametrize("steps", SLICES, ids=("replay", "switch"))
def test_scenarios_under_disruptions(source: Source, stack: Any, tmp_path: Path, steps: str) -> None:
    """Laws 1 to 5 and 8 to 10, judged straight from Postgres after each step."""
    run(source, stack, tmp_path, 1, parsed(steps))


def test_a_seed_always_draws_the_same() -> None:
    runs = [drawn(seed) for seed in range(100)]
    assert runs == [drawn(seed) for seed in range(100)]
    assert {len(steps) for steps in runs} == {STEPS}
    assert {step.script for steps in runs for step in steps} == SCRIPTS.keys()
    assert all(parsed(",".join(map(str, steps))) == steps for steps in runs)


def test_what_comes_at_once_does_not_touch_the_same() -> None:
    for step in (step for seed in range(100) for step in drawn(seed)):
        touched = [name for disruption in step.disruptions for name in DISRUPTIONS[disruption].touches]
        assert len(touched) == len(set(touched)), step


def test_each_pair_is_drawn_before_one_is_drawn_again() -> None:
    seen: set[Pair] = set()
    for seed in range(400):
        seen |= {Pair(step.script, name) for step in drawn(seed, seen) for name in step.disruptions}
    assert seen == set(pairs())


def test_every_disruption_is_explained() -> None:
    page = (ROOT / "docs" / "failures.md").read_text()
    at_points = tuple(f"{action}_{point}" for action in ("kill", "freeze") for _, point in POINTS)
    assert not [name for name in DISRUPTIONS if name not in (*at_points, "nothing") and f"`{name}`" not in page]
