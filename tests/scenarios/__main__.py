"""Random scenarios under random disruptions until the time is up, or one run again.

python -m tests.scenarios --minutes 60 [--seen build/soak.txt]
python -m tests.scenarios --seed 17 [--steps change_one×kill_merge+broker_killed,…]
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from tests import stacks, worlds
from tests.scenarios.disruptions import DISRUPTIONS
from tests.scenarios.run import Failed, Pair, Step, drawn, pairs, parsed, run
from tests.scenarios.scripts import SCRIPTS


class Ledger:
    """The pairs seen so far, a line each in a file that several soaks may share; without one they end with the soak."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._here: set[Pair] = set()

    def read(self) -> set[Pair]:
        if self._file is None or not self._file.exists():
            return set(self._here)
        return {Pair(*line.split("×")) for line in self._file.read_text().splitlines()}

    def add(self, met: Sequence[Pair]) -> None:
        self._here.update(met)
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a") as file:
                file.write("".join(f"{pair}\n" for pair in met))


class Soak:
    """Runs one after another on one stack, and what came of them."""

    def __init__(self, stack: Any, ledger: Ledger) -> None:
        self._stack = stack
        self._janitor = worlds.Janitor()
        self._ledger = ledger
        self.seen: Counter[Pair] = Counter()
        self.runs = self.steps = 0
        self.failures: list[str] = []

    def run(self, seed: int, steps: Sequence[Step]) -> None:
        """One run in a world of its own; its folder is kept where it failed."""
        folder = Path(tempfile.mkdtemp(prefix=f"syncline-soak-{seed}-"))
        source = worlds.create(self._stack.heal(), folder)
        self.runs += 1
        print(f"seed {seed}", flush=True)
        try:
            with (folder / "report.txt").open("w") as report, redirect_stdout(report):
                run(source, self._stack, folder, seed, steps, say=_say, seen=self._note)
        except Failed as failure:
            (folder / "traceback.txt").write_text(traceback.format_exc())
            self.failures.append(f"{failure}\nlogs: {folder}")
            print(f"FAILED {failure}\nlogs: {folder}", flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
        self._janitor.drop(source, self._stack.heal())

    def _note(self, met: Sequence[Pair]) -> None:
        self.steps += 1
        self.seen.update(met)
        self._ledger.add(met)

    def finish(self) -> None:
        self._stack.heal()
        self._janitor.finish()

    def summary(self) -> str:
        scripts = Counter(pair.script for pair in self.seen.elements())
        disruptions = Counter(pair.disruption for pair in self.seen.elements())
        every, known = set(pairs()), self._ledger.read()
        lines = [
            f"{self.runs} runs, {len(self.failures)} failed",
            f"{self.steps} steps that passed, {self.seen.total()} disruptions met as meant",
            f"{len(self.seen)} pairs of scenario × disruption; {len(every & known)} of {len(every)} are known",
            f"scenarios {len(scripts)} of {len(SCRIPTS)}: {_counted(scripts)}",
            f"disruptions {len(disruptions)} of {len(DISRUPTIONS)}: {_counted(disruptions)}",
            f"not seen: {', '.join(sorted(DISRUPTIONS.keys() - disruptions)) or 'none'}",
        ]
        return "\n".join([*lines, *(f"FAILED {failure}" for failure in self.failures)])


def _counted(found: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(found.items()))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=0.0, help="go on until these are over")
    parser.add_argument("--seed", type=int, help="of the first run; default: a random one")
    parser.add_argument("--steps", type=parsed, help="SCENARIO×DISRUPTION+DISRUPTION,… instead of those drawn")
    parser.add_argument("--seen", type=Path, help="a file of the pairs seen so far, which are drawn last")
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1_000_000)
    until = time.monotonic() + args.minutes * 60
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # in the background too
    with stacks.running() as stack:
        ledger = Ledger(args.seen)
        soak = Soak(stack, ledger)
        with suppress(KeyboardInterrupt):
            while soak.runs == 0 or time.monotonic() < until:
                soak.run(seed, args.steps or drawn(seed, ledger.read()))
                seed += 1
        soak.finish()
    print(soak.summary())
    return 1 if soak.failures else 0


if __name__ == "__main__":
    sys.exit(main())
