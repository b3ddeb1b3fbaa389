"""A run: scenarios one after another in one world, each under a disruption, then the oracle; all of it by seed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.scenarios.disruptions import DISRUPTIONS
from tests.scenarios.points import DURING_A_DEPLOY, OF_A_COMMAND, SELDOM
from tests.scenarios.scripts import REPLAYING, SCRIPTS
from tests.scenarios.world import World, world
from tests.worlds import Source

STEPS = 5  # of a drawn run, the first deploy among them
RETAIN = (3600.0, 3600.0, 2.0)  # seconds; the last one makes a way back a replay


class Step(NamedTuple):
    """A scenario and what disturbs it."""

    script: str
    disruption: str

    def __str__(self) -> str:
        return f"{self.script}×{self.disruption}"


class Failed(Exception):
    """A step of a run did not end as it must."""


def drawn(seed: int, seen: Container[str] = ()) -> tuple[Step, ...]:
    """The steps of a seed. Disruptions not seen yet come first, so that an hour meets each of them."""
    chance = random.Random(seed)
    unseen = [name for name in DISRUPTIONS if name not in seen]
    disruptions = chance.sample(unseen, min(STEPS, len(unseen)))
    names, weights = list(DISRUPTIONS), [d.weight for d in DISRUPTIONS.values()]
    disruptions += chance.choices(names, weights, k=STEPS - len(disruptions))
    later = [Step(chance.choice(_fitting(disruption)), disruption) for disruption in disruptions[1:]]
    return (Step("first_deploy", disruptions[0]), *later)


def _fitting(disruption: str) -> list[str]:
    """The scenarios in which a disruption can come to pass."""
    point = disruption.partition("_")[2]
    if point in ("sequence.before_signal", *OF_A_COMMAND["deploy"]):
        return ["new_table"]
    if any(point in points for points in (*DURING_A_DEPLOY.values(), SELDOM["stream"])):
        return list(REPLAYING)
    return [script for script in SCRIPTS if script != "first_deploy"]


def parsed(text: str) -> tuple[Step, ...]:
    """Steps as a command names them: SCENARIO×DISRUPTION,… (an x will do)."""
    steps = [Step(*one.replace("×", " ").split()) for one in text.split(",")]
    for step in steps:
        assert step.script in SCRIPTS, f"no scenario {step.script}: {', '.join(SCRIPTS)}"
        assert step.disruption in DISRUPTIONS, f"no disruption {step.disruption}: {', '.join(DISRUPTIONS)}"
    return tuple(steps)


def run(
    source: Source, stack: Any, folder: Path, seed: int, steps: Sequence[Step], *, say: Callable[[str], object] = print
) -> list[Step]:
    """Do the steps; those whose disruption came to pass. Raises Failed with the command that does them again."""
    met = []
    again = f"python -m tests.scenarios --seed {seed} --steps {','.join(map(str, steps))}"
    step: Step | str = "start"
    try:
        with world(source, stack, folder, seed, retain=random.Random(seed).choice(RETAIN)) as made:
            for number, step in enumerate(steps):
                began = time.monotonic()
                _disturb(made, step, random.Random(f"{seed}.{number}"))
                done = time.monotonic()
                made.check()
                if made.met:
                    met.append(step)
                judged = time.monotonic() - done
                say(f"  {step}{'' if made.met else ' (not met)'}: {done - began:.1f} s, judged in {judged:.1f} s")
            made.check_replica()
    except Exception as error:
        raise Failed(f"{step}: {error}\nagain: {again}") from error
    return met


def _disturb(made: World, step: Step, chance: random.Random) -> None:
    disruption = DISRUPTIONS[step.disruption]
    made.begin()
    with disruption.apply(made, chance):
        SCRIPTS[step.script](made, chance)
    if not disruption.spares_streams:
        made.offsets.forget()
