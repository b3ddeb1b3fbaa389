"""`syncline deploy FILE`: asks the merge to deploy, shows the replay, ends when clients see it or when it failed."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from connector import crash, settings
from connector.cli.outcome_text import outcome_lines
from connector.cli.planning import ConfigFile, plan_of, print_plan, read_config, refuse_too_long
from connector.cli.progress_text import Screen, progress_lines
from connector.cli.stall import Stall
from connector.deploy.outcome import outcome
from connector.deploy.plan import Plan, planned
from connector.deploy.progress import progress
from connector.settings import Settings
from schemas.codec import Codec
from topologies.capture import capture
from topologies.catalog import ask, sequenced_tables
from topologies.kafka import PATIENCE
from topologies.observe import Watch, codec_of

MERGES_PARSING = 4.0  # times as long as here, where it goes on with everything else
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
    crash.arm()
    codec = codec_of(known)
    plan = plan_of(known, file, codec=codec, max_rate=max_rate)
    if not as_json:
        print_plan(plan, as_json=False)
    refuse_too_long(plan)
    started = time.monotonic()
    if plan.reads:
        capture(known, [read.table for read in plan.reads], lambda: sequenced_tables(known), _say)
    watch = Watch(known, codec)
    try:
        before = watch.commit
        generation = request(known, file, plan, codec)
        names = follow(watch, generation, None if as_json else Screen(sys.stderr).draw) if wait else set()
        deployment = watch.catalog.deployment(generation)
        done = outcome(
            plan,
            deployment,
            before=before,
            after=watch.commit,
            replays=[state for name, state in watch.streams.items() if name in names],
            seconds=time.monotonic() - started,
        )
    finally:
        watch.close()
    print(json.dumps(done) if as_json else "\n".join(_told(plan, done)))
    return 1 if deployment is not None and deployment.state in ENDED else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _told(plan: Plan, done: dict[str, Any]) -> Iterator[str]:
    if done["deployment"] is not None and done["deployment"]["state"] == "active" and not plan.nothing_to_do:
        yield ""
        yield from outcome_lines(plan, done)
    yield _closing(done)


def request(known: Settings, file: ConfigFile, plan: Plan, codec: Codec) -> int:
    """Ask; the generation that came of it. Raises RequestRefused, or Unavailable where no merge answers."""
    return ask(
        known,
        "deploy",
        within=PATIENCE + MERGES_PARSING * file.seconds,
        codec=codec,
        base=plan.base,
        pending=plan.pending,
        config=file.text,
        path=file.path,
        planned=planned(plan.changes),
        estimate=json.dumps(plan.estimate()),
        max_rate=plan.max_rate,
    ).generation


def follow(watch: Watch, generation: int, show: Callable[[Sequence[str]], None] | None) -> set[str]:
    """Wait until the deployment is active or has ended otherwise; its tributaries' names. Meanwhile show progress, or,
    where nobody looks at it (--json), only that nothing moves."""
    names: set[str] = set()
    stall = Stall()
    while (deployment := watch.catalog.deployment(generation)) is None or deployment.pending:
        names |= {t.name for t in watch.catalog.tributaries if t.generation == generation}
        if show is None:
            stall.tell(watch.commit)
        elif deployment is not None:
            show(_shown(progress_lines(progress(deployment, watch.catalog, watch.commit)), stall.line(watch.commit)))
        watch.poll(0.2)
    deadline = time.monotonic() + PATIENCE  # catalog and commit are of one transaction, not of one topic
    while (watch.commit or {"catalog": 0})["catalog"] < watch.catalog.number and time.monotonic() < deadline:
        watch.poll(0.2)
    return names


def _shown(lines: Sequence[str], stalled: str | None) -> Sequence[str]:
    return lines if stalled is None else [*lines, f"  waits: {stalled}"]


def _closing(done: dict[str, Any]) -> str:
    deployment = done["deployment"]
    if deployment is None:
        return "accepted"
    if deployment["state"] in ENDED:
        how = f"generation {deployment['generation']} {deployment['state']}"
        return f"{how}: {done['reason']}; the active one is as it was"
    return f"generation {deployment['generation']} is {deployment['state']} after {done['seconds']:.1f} s"
