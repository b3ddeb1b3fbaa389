"""Measures what one changed definition costs while the source is written to, and prints one table; `--json` an object.

    .venv/bin/python -m benchmarks.reprocess [--rows 200000] [--json]

The largest definition of ten is changed over all rows while 100 transactions/s are committed, then one that shows a
twentieth of them; then all ten are, which is what a rebuild costs; then ten deploys follow one another, and `verify`
compares everything. What is watched meanwhile: checkpoints, latency from commit to checkpoint of an unchanged
definition, the ops of definitions that no write touches, and the consumer group of `main`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import ConsumerGroupTopicPartitions

from benchmarks.latency import Latencies, measure_latency
from benchmarks.pipeline import local_stack, machine
from benchmarks.world import TABLES, config, load, prepare
from connector.local.stack import Stack
from connector.settings import Settings
from tests.integration.pipeline import Pipeline, eventually
from topologies import kafka
from topologies.observe import Watch

DEFINITIONS = 10
PER_SECOND = 100
UNTOUCHED = "items_6"  # the writer changes titles, which it does not show
IN_A_ROW = 10
LARGEST, SMALL = 1, 5  # definitions that show all rows, and one in twenty


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=200_000)
    arguments.add_argument("--json", action="store_true")
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder, local_stack(Path(folder)) as stack:
        figures = measure(stack, Path(folder), args.rows)
    print(json.dumps(figures) if args.json else "\n".join(table(figures)))
    return 0


def measure(stack: Stack, folder: Path, rows: int) -> dict[str, Any]:
    """All figures of one run."""
    settings = stack.settings()
    with psycopg.connect(settings.postgres, autocommit=True) as source:
        source.execute(TABLES)
    load(settings.postgres, 1, rows, 1000)
    pipeline = Pipeline(settings, folder)
    prepare(pipeline)
    pipeline.start()
    try:
        pipeline.deploy(config(DEFINITIONS), timeout=300)
        eventually(lambda: _rows_of(pipeline, "items_2") == rows, what="all rows are in a checkpoint")
        idle = _latency(pipeline, seconds=15)
        one = observed(pipeline, config(DEFINITIONS, changed=(LARGEST,)))
        same = _redeploy(pipeline, config(DEFINITIONS, changed=(LARGEST,)))
        small = observed(pipeline, config(DEFINITIONS, changed=(LARGEST, SMALL)))
        every = observed(pipeline, config(DEFINITIONS, changed=range(1, DEFINITIONS + 1), name="again"))
        with _writing(pipeline):
            in_a_row = [
                _seconds(pipeline, config(DEFINITIONS, changed=(LARGEST,), name=f"n{n}")) for n in range(IN_A_ROW)
            ]
            verified = pipeline.ok("verify", timeout=600)
    finally:
        pipeline.end()
    return {
        "machine": machine(),
        "rows": rows,
        "idle": _quantiles(idle),
        "one": one,
        "small": small,
        "redeploy": same,
        "all": every,
        "all_over_one": round(every["seconds"] / one["seconds"], 1),
        "all_over_small": round(every["seconds"] / small["seconds"], 1),
        "in_a_row": {"seconds": in_a_row, "verify_equal": verified["equal"]},
    }


def observed(pipeline: Pipeline, text: str) -> dict[str, Any]:
    """One deploy under load, and what of it others notice."""
    before = _counted(pipeline)
    kept = _versions(pipeline)
    latencies: Latencies = []
    done = threading.Event()
    writer = threading.Thread(target=lambda: latencies.extend(_latency(pipeline, until=done)))
    with _Checkpoints(pipeline.settings) as checkpoints, _Group(pipeline.settings) as group:
        writer.start()
        time.sleep(2)  # under load before it begins
        seconds = _seconds(pipeline, text)
        time.sleep(2)  # and until main has taken over
        done.set()
        writer.join()
    after, now = _counted(pipeline), _versions(pipeline)
    unchanged = [label for label, version in kept.items() if now.get(label) == version]
    return {
        "seconds": seconds,
        "latency": _quantiles(latencies),
        "longest_between_checkpoints_s": round(checkpoints.longest, 2),
        "main_stood_still_s": round(group.longest, 2),
        "main_rebalanced": group.rebalanced,
        "unchanged_parts": len(unchanged),
        "ops_on_an_untouched_part": sum(
            after[kept[label]]["ops"] - before[kept[label]]["ops"] for label in unchanged if label == UNTOUCHED
        ),
    }


def _seconds(pipeline: Pipeline, text: str) -> float:
    """From the start of the command to its end, which is when clients see the new definitions."""
    started = time.monotonic()
    pipeline.deploy(text, timeout=300)
    return round(time.monotonic() - started, 1)


def _redeploy(pipeline: Pipeline, text: str) -> dict[str, Any]:
    """The same config again, on a quiet source."""
    before = pipeline.catalog().number, _counted(pipeline)
    started = time.monotonic()
    pipeline.deploy(text)
    seconds = round(time.monotonic() - started, 2)
    return {"seconds": seconds, "nothing_written": before == (pipeline.catalog().number, _counted(pipeline))}


class _Thread:
    """Looks again and again beside a block of code."""

    def __enter__(self) -> Any:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(20)

    def _run(self) -> None:
        raise NotImplementedError


class _Checkpoints(_Thread):
    """The longest time between two checkpoints."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.longest = 0.0

    def _run(self) -> None:
        watch = Watch(self._settings)
        seen, number = 0.0, -1
        while not self._stopped.is_set():
            watch.poll(0.05)
            if watch.commit is not None and watch.commit["exposed"] and watch.commit["number"] != number:
                now = time.monotonic()
                self.longest = max(self.longest, now - seen) if seen else 0.0
                seen, number = now, watch.commit["number"]
        watch.close()


class _Group(_Thread):
    """How long the committed offset of main's consumer group stood still, and whether its members changed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._group = f"{settings.app}.stream.main"
        self.longest = 0.0
        self.rebalanced = False

    def _run(self) -> None:
        admin = kafka.admin(self._settings)
        asked = ConsumerGroupTopicPartitions(self._group)
        members, offset, since = None, -1, time.monotonic()
        while not self._stopped.wait(0.1):
            (found,) = admin.list_consumer_group_offsets([asked])[self._group].result(10).topic_partitions
            if found.offset != offset:
                offset, since = found.offset, time.monotonic()
            self.longest = max(self.longest, time.monotonic() - since)
            described = admin.describe_consumer_groups([self._group])[self._group].result(10)
            now = sorted(member.member_id for member in described.members)
            self.rebalanced |= members is not None and now != members
            members = now


@contextmanager
def _writing(pipeline: Pipeline) -> Iterator[None]:
    done = threading.Event()
    writer = threading.Thread(target=lambda: _write(pipeline.settings.postgres, done))
    writer.start()
    try:
        yield
    finally:
        done.set()
        writer.join()


def _write(dsn: str, done: threading.Event) -> None:
    with psycopg.connect(dsn, autocommit=True) as source:
        n = 0
        while not done.wait(1 / PER_SECOND):
            n += 1
            source.execute("UPDATE items SET title = %s WHERE id = %s", (f"written {n}", 1 + n % 1000))


def _latency(pipeline: Pipeline, *, seconds: float = 300, until: threading.Event | None = None) -> Latencies:
    dsn = pipeline.settings.postgres
    return measure_latency(
        pipeline, dsn, per_second=PER_SECOND, seconds=seconds, definition="items_2", until=until or threading.Event()
    )


def _versions(pipeline: Pipeline) -> dict[str, int]:
    active = pipeline.catalog().active
    assert active is not None
    return {part.label: part.version for definition in active.definitions for part in definition.parts}


def _counted(pipeline: Pipeline) -> dict[int, Any]:
    return {v["version"]: v for v in pipeline.checkpoints()[-1]["versions"]}


def _rows_of(pipeline: Pipeline, label: str) -> int:
    return int(_counted(pipeline)[_versions(pipeline)[label]]["rows"])


def _quantiles(latencies: Latencies) -> dict[str, float]:
    cuts = statistics.quantiles(latencies, n=100)
    return {"p50_ms": round(cuts[49], 1), "p99_ms": round(cuts[98], 1), "transactions": len(latencies)}


def table(figures: dict[str, Any]) -> Iterator[str]:
    """The figures as the README's table."""
    one, every, idle = figures["one"], figures["all"], figures["idle"]
    yield f"measured on {figures['machine']}; {figures['rows']:,} rows, {PER_SECOND} transactions/s"
    yield ""
    yield "| what | measured | to reach |"
    yield "|---|---|---|"
    yield f"| the largest definition of {DEFINITIONS} changed: command to active | {one['seconds']} s | 8 s |"
    yield f"| one that shows a twentieth of the rows | {figures['small']['seconds']} s | 8 s |"
    times = f"{figures['all_over_one']} and {figures['all_over_small']} times as long"
    yield f"| all {DEFINITIONS} changed, which is a rebuild | {every['seconds']} s, {times} | 5 times |"
    yield f"| ops on an unchanged part that no write touches | {one['ops_on_an_untouched_part']} | 0 |"
    yield f"| longest time between two checkpoints | {one['longest_between_checkpoints_s']} s | 1 s |"
    stood = f"{one['main_stood_still_s']} s; {'rebalanced' if one['main_rebalanced'] else 'no rebalance'}"
    yield f"| main's committed offset stood still | {stood} | 1 s; none |"
    both = f"p50 {one['latency']['p50_ms']} ms, p99 {one['latency']['p99_ms']} ms"
    quiet = f"idle: p50 {idle['p50_ms']} ms, p99 {idle['p99_ms']} ms"
    yield f"| commit to checkpoint meanwhile ({quiet}) | {both} | p99 twice idle |"
    same = figures["redeploy"]
    wrote = "nothing written" if same["nothing_written"] else "something was written"
    yield f"| the same config again | {same['seconds']} s, {wrote} | 1 s |"
    row = figures["in_a_row"]
    equal = "verify equal" if row["verify_equal"] else "verify differs"
    yield f"| {IN_A_ROW} deploys in a row | {min(row['seconds'])} to {max(row['seconds'])} s each, {equal} | equal |"


if __name__ == "__main__":
    raise SystemExit(main())
