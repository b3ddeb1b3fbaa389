"""Measures the whole way on the local stack and prints one table; `--json` prints one object.

    .venv/bin/python -m benchmarks.pipeline [--rows 100000] [--json]

Source rows/s from commit to checkpoint with 1 and with 10 definitions over the same table, replay rows/s, latency from
commit to checkpoint at 10 and 100 transactions/s, CPU per row of each process, and a bare loop that reads and decodes
the same records. Everything runs on one machine, so the figures are of all processes together on its cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import psutil
import psycopg
import yaml
from confluent_kafka import Consumer

from benchmarks.bare_loop import bare_loop
from benchmarks.latency import Latencies, measure_latency
from benchmarks.world import TABLES, config, load, prepare
from connector.local.stack import Stack
from connector.settings import Settings
from schemas.codec import Codec
from tests.integration.pipeline import WORKERS, Pipeline, eventually
from topologies import kafka
from topologies.observe import Watch
from topologies.prepare import own_topics
from topologies.schemas import Schemas
from topologies.topics import Topics

PER_TRANSACTION = 100


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=100_000, help="rows written, and rows replayed")
    arguments.add_argument("--json", action="store_true")
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder, local_stack(Path(folder)) as stack:
        figures = measure(stack, Path(folder), args.rows)
    print(json.dumps(figures) if args.json else "\n".join(table(figures)))
    return 0


@contextmanager
def local_stack(folder: Path) -> Iterator[Stack]:
    stack = Stack(folder)
    stack.up()
    try:
        yield stack
    finally:
        stack.down()


def measure(stack: Stack, folder: Path, rows: int) -> dict[str, Any]:
    """All figures of one run."""
    settings = stack.settings()
    with psycopg.connect(settings.postgres, autocommit=True) as source:
        source.execute(TABLES)
    pipeline = Pipeline(settings, folder)
    prepare(pipeline)
    pipeline.start()
    try:
        pipeline.deploy(config(1))
        one = throughput(pipeline, settings.postgres, rows, first=1)
        pipeline.deploy(config(10))
        ten = throughput(pipeline, settings.postgres, rows, first=1 + rows)
        replay = replay_rate(pipeline, config(10, changed=(1,)), 2 * rows)
        slow = measure_latency(pipeline, settings.postgres, per_second=10, seconds=10)
        fast = measure_latency(pipeline, settings.postgres, per_second=100, seconds=10)
    finally:
        pipeline.end()
    bulk = sequencer_bulk(settings, 2 * rows)
    bare = bare_loop(settings, f"{settings.topic_prefix}.public.items", 2 * rows)
    return {
        "machine": machine(),
        "rows": rows,
        "one_definition": one,
        "ten_definitions": ten,
        "replay": replay,
        "latency_10": _quantiles(slow),
        "latency_100": _quantiles(fast),
        "bare_loop_us_per_row": bare,
        "sequencer_bulk_us_per_row": bulk,
        "sequencer_over_bare_loop": round(bulk / bare, 2),
        "stream_ten_over_one": round(ten["cpu_us_per_row"]["stream"] / one["cpu_us_per_row"]["stream"], 2),
    }


def throughput(pipeline: Pipeline, dsn: str, rows: int, *, first: int) -> dict[str, Any]:
    """Rows/s from the first commit to the checkpoint that shows the last row; CPU of each worker per row."""
    before = cpu(pipeline)
    watch = Watch(pipeline.settings)
    while watch.commit is None:
        watch.poll(0.5)
    target = watch.commit["log_rows"] + rows
    started = time.monotonic()
    load(dsn, first, rows, PER_TRANSACTION)
    written = time.monotonic() - started
    while not watch.commit["exposed"] or watch.commit["log_rows"] < target:
        watch.poll(0.5)
    seconds = time.monotonic() - started
    watch.close()
    after = cpu(pipeline)
    return {
        "rows_per_second": round(rows / seconds),
        "written_per_second": round(rows / written),
        "cpu_us_per_row": {name: round(1e6 * (after[name] - before[name]) / rows, 1) for name in WORKERS},
    }


def replay_rate(pipeline: Pipeline, text: str, rows: int) -> dict[str, Any]:
    """A deploy with one changed definition: rows/s of its replay, from the captured ends to F, and s to the switch."""
    file = pipeline.folder / "replayed.yaml"
    file.write_text(text)
    watch = Watch(pipeline.settings)
    started = time.monotonic()
    asked = threading.Thread(target=lambda: pipeline.cli("deploy", str(file), "--no-wait"))
    asked.start()
    bounded = headed = 0.0
    generation = watch.catalog.generation
    while watch.catalog.generation == generation:
        watch.poll(0.05)
        tributary = next((t for t in watch.catalog.tributaries), None)
        if tributary is not None and tributary.bounded:
            bounded = bounded or time.monotonic()
        if tributary is not None and tributary.head is not None:
            headed = headed or time.monotonic()
    asked.join()
    watch.close()
    return {
        "rows": rows,
        "rows_per_second": round(rows / (headed - bounded)),
        "seconds_to_switch": round(time.monotonic() - started, 1),
    }


def sequencer_bulk(settings: Settings, rows: int) -> float:
    """CPU µs per row of a sequencer that reads the same CDC topics from their beginning under another app name.

    Like the bare loop it is never short of records. Counted from its first batch on: the start is not a cost per row.
    """
    again = replace(settings, app=f"{settings.app}-again", state=settings.state / "again")
    kafka.create_topics(again, own_topics(again))
    file = again.state / "syncline.yaml"
    file.parent.mkdir(parents=True)
    names = ("kafka", "registry", "connect", "postgres", "app", "connector", "topic_prefix")
    file.write_text(yaml.safe_dump({name: getattr(again, name) for name in names}))
    process = psutil.Popen([sys.executable, "-m", "topologies.sequence", "--settings", str(file)], stderr=DEVNULL)
    try:
        reader, codec = kafka.consumer(again), Codec(Schemas(again, patience=10))
        begun = eventually(lambda: _rows_sequenced(reader, codec, again), within=60, what="the first batch")
        at_first = process.cpu_times()
        eventually(lambda: _rows_sequenced(reader, codec, again) >= rows, within=120, what="all rows are sequenced")
        at_end = process.cpu_times()
    finally:
        process.terminate()
        process.wait(20)
        reader.close()
    used = at_end.user + at_end.system - at_first.user - at_first.system
    return round(1e6 * used / (rows - begun), 1)


def _rows_sequenced(reader: Consumer, codec: Codec, settings: Settings) -> int:
    newest = kafka.last_record(reader, Topics(settings.app).changes)
    return int(codec.decode(newest.value() or b"")["rows"]) if newest is not None else 0


def cpu(pipeline: Pipeline) -> dict[str, float]:
    """CPU seconds so far of each worker process, by module."""
    used = {}
    for name in WORKERS:
        running = [p for p in pipeline.workers(name) if name != "stream" or "main" in p.cmdline()]
        times = [process.cpu_times() for process in running]
        used[name] = sum(t.user + t.system for t in times)
    return used


def machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {system}"


def _quantiles(latencies: Latencies) -> dict[str, float]:
    cuts = statistics.quantiles(latencies, n=100)
    return {"p50_ms": round(cuts[49], 1), "p99_ms": round(cuts[98], 1), "transactions": len(latencies)}


def table(figures: dict[str, Any]) -> Iterator[str]:
    """The figures as the README's table."""
    one, ten = figures["one_definition"], figures["ten_definitions"]
    yield f"measured on {figures['machine']}; {figures['rows']:,} rows in transactions of {PER_TRANSACTION}"
    yield ""
    yield "| what | 1 definition | 10 definitions |"
    yield "|---|---|---|"
    yield f"| source rows/s, commit to checkpoint | {one['rows_per_second']:,} | {ten['rows_per_second']:,} |"
    for name in WORKERS:
        left, right = one["cpu_us_per_row"][name], ten["cpu_us_per_row"][name]
        yield f"| CPU µs per row, {name} | {left} | {right} |"
    yield ""
    yield "| what | measured | to reach |"
    yield "|---|---|---|"
    yield f"| replay rows/s, one worker | {figures['replay']['rows_per_second']:,} | 30,000 |"
    yield f"| stream process, 10 definitions over 1 | {figures['stream_ten_over_one']} | 2 |"
    ratio = figures["sequencer_over_bare_loop"]
    both = f"{figures['sequencer_bulk_us_per_row']} over {figures['bare_loop_us_per_row']} µs/row"
    yield f"| sequencer over a bare loop that reads and decodes the same records ({both}) | {ratio} | 1.7 |"
    for rate in (10, 100):
        found = figures[f"latency_{rate}"]
        both = f"p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms"
        yield f"| commit to checkpoint at {rate} transactions/s | {both} | |"


if __name__ == "__main__":
    raise SystemExit(main())
