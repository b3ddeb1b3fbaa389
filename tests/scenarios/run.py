"""A run: scenarios one after another in one world, each under disruptions, then the oracle; all of it by seed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from tests.scenarios.disruptions import DISRUPTIONS
from tests.scenarios.points import DURING_A_DEPLOY, OF_A_COMMAND, SELDOM
from tests.scenarios.scripts import REPLAYING, SCRIPTS
from tests.scenarios.world import World, world
from tests.worlds import Source

STEPS = 5  # of a drawn run, the first deploy among them
TOGETHER = 12  # disruptions of a drawn step, at most
RETAIN = (3600.0, 3600.0, 2.0)  # seconds; the last one makes a way back a replay


class Pair(NamedTuple):
    """A scenario and one of the things that disturbed it."""

    script: str
    disruption: str

    def __str__(self) -> str:
        return f"{self.script}×{self.disruption}"


class Step(NamedTuple):
    """A scenario and what disturbs it, all at once."""

    script: str
    disruptions: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.script}×{'+'.join(self.disruptions)}"


class Failed(Exception):
    """A step of a run did not end as it must."""


def drawn(seed: int, seen: Container[Pair] = ()) -> tuple[Step, ...]:
    """The steps of a seed. Pairs not seen yet come first, so that hours meet each of them."""
    chance = random.Random(seed)
    unseen = [pair for pair in pairs() if pair not in seen]
    later = [script for script in SCRIPTS if script != "first_deploy"]
    left = [sum(pair.script == script for pair in unseen) + 0.01 for script in later]
    scripts = ["first_deploy", *chance.choices(later, left, k=STEPS - 1)]
    return tuple(Step(script, _together(chance, script, seen)) for script in scripts)


def _together(chance: random.Random, script: str, seen: Container[Pair]) -> tuple[str, ...]:
    """Disruptions that fit a scenario and do not touch the same, those not seen with it first."""

    def rank(disruption: str) -> tuple[bool, float]:
        return Pair(script, disruption) in seen, -(chance.random() ** (1 / DISRUPTIONS[disruption].weight))

    found: list[str] = []
    touched: frozenset[str] = frozenset()
    for name in sorted((pair.disruption for pair in pairs() if pair.script == script), key=rank):
        if len(found) < TOGETHER and not touched & DISRUPTIONS[name].touches:
            found.append(name)
            touched |= DISRUPTIONS[name].touches
    return tuple(found)


def pairs() -> Iterator[Pair]:
    """Every scenario with every disruption that can come to pass in it."""
    for disruption in DISRUPTIONS:
        for script in _fitting(disruption):
            yield Pair(script, disruption)


def _fitting(disruption: str) -> list[str]:
    """The scenarios in which a disruption can come to pass."""
    point = disruption.partition("_")[2]
    if point in ("sequence.before_signal", *OF_A_COMMAND["deploy"]):
        return ["new_table"]
    if any(point in points for points in (*DURING_A_DEPLOY.values(), SELDOM["stream"])):
        return list(REPLAYING)
    if disruption == "topic_recreated":  # its oracle needs the rows of before
        return [script for script in SCRIPTS if script != "first_deploy"]
    return list(SCRIPTS)


def parsed(text: str) -> tuple[Step, ...]:
    """Steps as a command names them: SCENARIO×DISRUPTION+DISRUPTION,…"""
    halves = [one.partition("×") for one in text.split(",")]
    steps = tuple(Step(script, tuple(disruptions.split("+"))) for script, _, disruptions in halves)
    for step in steps:
        assert step.script in SCRIPTS, f"no scenario {step.script}: {', '.join(SCRIPTS)}"
        for disruption in step.disruptions:
            assert disruption in DISRUPTIONS, f"no disruption {disruption}: {', '.join(DISRUPTIONS)}"
    return steps


def run(
    source: Source,
    stack: Any,
    folder: Path,
    seed: int,
    steps: Sequence[Step],
    *,
    say: Callable[[str], object] = print,
    seen: Callable[[Sequence[Pair]], object] = bool,
) -> None:
    """Do the steps; after each `seen` is told the pairs that came to pass.

    Raises Failed with the command that does them again.
    """
    again = f"python -m tests.scenarios --seed {seed} --steps {','.join(map(str, steps))}"
    step: Step | str = "start"
    try:
        with world(source, stack, folder, seed, retain=random.Random(seed).choice(RETAIN)) as made:
            for number, step in enumerate(steps):
                began = time.monotonic()
                _disturb(made, step, random.Random(f"{seed}.{number}"))
                done = time.monotonic()
                made.check()
                seen([Pair(step.script, name) for name in step.disruptions if name not in made.unmet])
                judged = time.monotonic() - done
                unmet = f" (not met: {', '.join(sorted(made.unmet))})" if made.unmet else ""
                say(f"  {step}{unmet}: {done - began:.1f} s, judged in {judged:.1f} s")
            made.check_replica()
    except Exception as error:
        raise Failed(f"{step}: {error}\nagain: {again}") from error


def _disturb(made: World, step: Step, chance: random.Random) -> None:
    disruptions = [DISRUPTIONS[name] for name in step.disruptions]
    made.begin()
    with ExitStack() as stack:
        for disruption in disruptions:
            stack.enter_context(disruption.apply(made, chance))
        SCRIPTS[step.script](made, chance)
    if not all(disruption.spares_streams for disruption in disruptions):
        made.offsets.forget()
