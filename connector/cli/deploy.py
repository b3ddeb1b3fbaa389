"""`syncline deploy FILE`: asks the merge to deploy, shows the replay, ends when clients see it or when it failed."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from connector import settings
from connector.cli.planning import ConfigFile, plan_of, print_plan, read_config, refuse_too_long
from connector.deploy.catalog import Catalog, Deployment
from connector.deploy.plan import Plan, planned
from connector.deploy.status import replay
from connector.settings import Settings
from topologies.catalog import ask
from topologies.observe import Watch

ENDED = ("failed", "dropped", "cancelled")  # and not active


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the sync config, or a plan that `syncline plan --out` wrote")
    parser.add_argument("--json", action="store_true", help="print one object at the end")
    parser.add_argument(
        "--max-rate", metavar="ROWS_PER_S", type=_positive, default=0, help="replay no more rows a second than this"
    )
    parser.add_argument("--no-wait", action="store_true", help="do not wait for the switch")


def run(args: argparse.Namespace) -> int:
    file = read_config(args.file, args.settings)
    if file is None:
        return 1
    known = settings.load(args.settings)
    return carry_out(known, file, as_json=args.json, wait=not args.no_wait, max_rate=args.max_rate)


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows above 0")
    return int(text)


def carry_out(known: Settings, file: ConfigFile, *, as_json: bool, wait: bool, max_rate: int = 0) -> int:
    """Plan, ask, follow, print; the exit code."""
    plan, _ = plan_of(known, file, max_rate=max_rate)
    if not as_json:
        print_plan(plan, as_json=False)
    refuse_too_long(plan)
    started = time.monotonic()
    watch = Watch(known)
    try:
        generation = request(known, file, plan)
        if wait:
            follow(watch, generation, show=not as_json)
        deployment = watch.catalog.deployment(generation)
        counts = _counts(watch)
    finally:
        watch.close()
    outcome = _outcome(deployment, plan, counts, time.monotonic() - started)
    print(json.dumps(outcome) if as_json else _sentence(outcome))
    return 1 if deployment is not None and deployment.state in ENDED else 0


def request(known: Settings, file: ConfigFile, plan: Plan) -> int:
    """Ask; the generation that came of it. Raises RequestRefused, or Unavailable where no merge answers."""
    return ask(
        known,
        "deploy",
        base=plan.base,
        config=file.text,
        path=file.path,
        planned=planned(plan.changes),
        estimate=json.dumps(plan.estimate()),
        max_rate=plan.max_rate,
    ).generation


def follow(watch: Watch, generation: int, *, show: bool) -> None:
    """Wait until the deployment is active or has ended otherwise; show progress meanwhile."""
    shown = _Progress(show)
    while (deployment := watch.catalog.deployment(generation)) is None or deployment.pending:
        shown.update(watch.catalog, watch.commit, generation)
        watch.poll(0.2)
    shown.end()


class _Progress:
    """One line on stderr: rewritten on a terminal, once a second elsewhere."""

    def __init__(self, show: bool) -> None:
        self._show = show
        self._terminal = sys.stderr.isatty()
        self._printed = time.monotonic()
        self._bounded: float | None = None  # since when the replay runs
        self._line = ""

    def update(self, catalog: Catalog, commit: dict[str, Any] | None, generation: int) -> None:
        tributary = next((t for t in catalog.tributaries if t.generation == generation), None)
        now = time.monotonic()
        if not self._show or tributary is None or (not self._terminal and now - self._printed < 1):
            return
        self._printed = now
        if tributary.bounded and self._bounded is None:
            self._bounded = now
        line = progress_line(tributary.state, replay(tributary, commit), now - (self._bounded or now))
        print(
            f"\r{line:<100}" if self._terminal else line,
            end="" if self._terminal else "\n",
            file=sys.stderr,
            flush=True,
        )

    def end(self) -> None:
        if self._show and self._terminal:
            print(file=sys.stderr)


def progress_line(state: str, done: dict[str, int | None], seconds: float) -> str:
    """`replaying  12,000 of 20,000 records  60 %  31,000/s  0.3 s left`, then how far it catches up."""
    taken, total = done["rows"] or 0, done["of"]
    if total is None:
        return "starting"
    if taken >= total:
        return f"{state.replace('_', ' '):<12} at position {done['position']}, to reach {done['target'] or 'the head'}"
    rate = taken / seconds if seconds > 0 else 0.0
    left = f"{(total - taken) / rate:.1f} s left" if rate else ""
    bar = "█" * int(20 * taken / total)
    return f"{state:<12} {bar:<20} {taken:,} of {total:,} records  {100 * taken // total} %  {rate:,.0f}/s  {left}"


def _counts(watch: Watch) -> dict[int, tuple[int, int]]:
    return {v["version"]: (v["buckets"], v["rows"]) for v in watch.commit["versions"]} if watch.commit else {}


def _outcome(
    deployment: Deployment | None, plan: Plan, counts: dict[int, tuple[int, int]], seconds: float
) -> dict[str, Any]:
    parts = []
    for definition in deployment.definitions if deployment else ():
        for part in definition.parts:
            buckets, rows = counts.get(part.version, (0, 0))
            parts.append(
                {"definition": definition.name, "part": part.label, "kind": part.kind, "version": part.version}
                | {"reason": part.reason, "buckets": buckets, "rows": rows}
            )
    return {
        "deployment": {"generation": deployment.generation, "state": deployment.state} if deployment else None,
        "reason": deployment.reason if deployment else "",
        "parts": parts,
        "replay": plan.as_json()["replay"],
        "seconds": round(seconds, 2),
    }


def _sentence(outcome: dict[str, Any]) -> str:
    deployment = outcome["deployment"]
    if deployment is None:
        return "accepted"
    if deployment["state"] in ENDED:
        how = f"generation {deployment['generation']} {deployment['state']}"
        return f"{how}: {outcome['reason']}; the active one is as it was"
    return f"generation {deployment['generation']} is {deployment['state']} after {outcome['seconds']:.1f} s"
