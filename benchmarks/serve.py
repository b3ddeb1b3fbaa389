"""Measures what clients get from a serving node on the local stack, and prints one table; `--json` an object.

    .venv/bin/python -m benchmarks.serve [--rows 100000] [--clients 5000] [--json]

One bucket of all rows to one reader, as JSON, as BSON, which SDKs ask for, and as BSON over WebSocket; four readers of
one node, then of two, which take what comes from their sockets and do no more: in the field they are other machines;
latency from a commit in Postgres to the client's complete checkpoint at 100 transactions/s under ten definitions; idle
clients: the node's memory, and what a change for one of them costs the others; 100 clients connected while one
definition of ten changes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

from benchmarks.latency import Latencies
from benchmarks.pipeline import local_stack, machine
from benchmarks.readers import Readers, Way, raise_open_files
from benchmarks.world import TABLES, load, prepare
from connector.local.stack import Stack
from connector.settings import Settings
from connector.sync import development
from tests.integration.nodes import another_node
from tests.integration.pipeline import Pipeline, eventually

USERS = 50
CONNECTED = 100
UNSURE = 64 * 1024  # bytes at the end of a download, which are read
EACH = 5  # downloads at once by each of four readers
EVERYTHING = {"streams": {"include_defaults": False, "subscriptions": [
    {"stream": "everything", "parameters": {}, "override_priority": None}]}}  # fmt: skip
OWN = (
    "SELECT id, list_id, title, done, rank FROM items AS i1 WHERE owner_id = auth.user_id()",
    "SELECT id, title, changed_at FROM items AS i2 WHERE owner_id = auth.user_id() AND rank = 1",
    "SELECT id, rank FROM items AS i3 WHERE owner_id = auth.user_id() AND rank = 3",
    "SELECT id, title FROM items AS i4 WHERE owner_id = auth.user_id() AND title = 'never'",
    "SELECT id, list_id, rank FROM items AS i5 WHERE owner_id = auth.user_id() AND rank = 5",
    "SELECT id, title FROM items AS i6 WHERE list_id = auth.user_id() AND done = 1",
    "SELECT id, list_id, title FROM items AS i7 WHERE list_id = auth.user_id() AND rank = 2",
    "SELECT id, done FROM items AS i8 WHERE list_id = auth.user_id() AND rank = 4",
    "SELECT id, title FROM items AS i9 WHERE list_id = auth.user_id() AND owner_id = 'u1'",
)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=100_000)
    arguments.add_argument("--clients", type=int, default=5_000, help="idle ones")
    arguments.add_argument("--json", action="store_true")
    args = arguments.parse_args()
    raise_open_files()
    with tempfile.TemporaryDirectory() as folder, local_stack(Path(folder)) as stack:
        figures = measure(stack, Path(folder), args.rows, args.clients)
    print(json.dumps(figures) if args.json else "\n".join(table(figures)))
    return 0


def config(*, changed: bool = False) -> str:
    """Ten sync streams; `changed` gives the largest that clients have by default a column more."""
    queries = [OWN[0].replace("SELECT id,", "SELECT id, changed_at,") if changed else OWN[0], *OWN[1:]]
    lines = ["config: {edition: 3}", "streams:"]
    lines += ["  everything:", "    query: SELECT id, list_id, title, done, rank FROM items"]
    for number, query in enumerate(queries, 1):
        lines += [f"  own_{number}:", "    auto_subscribe: true", f"    query: {query}"]
    return "\n".join(lines) + "\n"


def measure(stack: Stack, folder: Path, rows: int, clients: int) -> dict[str, Any]:
    """All figures of one run."""
    settings = stack.settings()
    with psycopg.connect(settings.postgres, autocommit=True) as source:
        source.execute(TABLES)
    load(settings.postgres, 1, rows, 1000)
    pipeline = Pipeline(settings, folder)
    prepare(pipeline)
    pipeline.start()
    try:
        pipeline.deploy(config(), timeout=300)
        one, bson, websocket = (_one_reader(settings, rows, way) for way in ("json", "bson", "websocket"))
        figures: dict[str, Any] = {
            "machine": machine(),
            "rows": rows,
            "one_reader": one,
            "one_reader_bson": bson,
            "one_reader_websocket": websocket,
            "four_readers": _four_readers(settings, folder, rows, one["bytes"] - UNSURE),
            "latency": _quantiles(_latency(settings, rows // USERS, seconds=20)),
            "idle": _idle(pipeline, clients),
            "switch": _switch(pipeline),
        }
    finally:
        pipeline.end()
    return figures


def _token(settings: Settings, user: str) -> str:
    return development.issue(settings, {"sub": user}, now=time.time(), seconds=3600)


def _one_reader(settings: Settings, rows: int, way: Way) -> dict[str, Any]:
    """The median of three downloads."""
    return sorted((_download(settings, rows, way) for _ in range(3)), key=lambda each: each["seconds"])[1]


def _download(settings: Settings, rows: int, way: Way) -> dict[str, Any]:
    """One reader without anything gets every row in one bucket."""
    with Readers(settings.endpoint, [_token(settings, "u1")], EVERYTHING, way=way) as readers:
        readers.go().wait(bool)
        at, size = readers.complete[0][0]
    seconds = at - readers.opened
    figures = {"ops_s": round(rows / seconds), "mb_s": round(size / seconds / 1e6, 1)}
    return {"seconds": round(seconds, 3), "bytes": size, **figures}


def _four_readers(settings: Settings, folder: Path, rows: int, discard: int) -> dict[str, Any]:
    """Of one node, then two of each."""
    alone = _together([settings.endpoint] * 4, settings, discard)
    with another_node(settings, folder) as other:
        both = _together([settings.endpoint, other] * 2, settings, discard)
    ops = 4 * EACH * rows
    return {"one_node_ops_s": round(ops / alone), "two_nodes_ops_s": round(ops / both)}


def _together(urls: list[str], settings: Settings, discard: int) -> float:
    """Seconds until the last of several readers, each a process of its own, has all; the median of five."""
    return statistics.median(_once(urls, settings, discard) for _ in range(5))


def _once(urls: list[str], settings: Settings, discard: int) -> float:
    with ExitStack() as stack:
        tokens = [_token(settings, "u1")] * EACH
        all_readers = [stack.enter_context(Readers(url, tokens, EVERYTHING, discard=discard)) for url in urls]
        for readers in all_readers:
            readers.go()
        for readers in all_readers:
            readers.wait(bool)
    ends = [found[0][0] for readers in all_readers for found in readers.complete.values()]
    return max(ends) - min(readers.opened for readers in all_readers)


def _latency(settings: Settings, own: int, *, seconds: float, per_second: int = 100) -> Latencies:
    """One of a user's `own` rows per transaction; when the user's client has each in a complete checkpoint."""
    shown: dict[str, float] = {}
    committed: dict[str, float] = {}
    connected = threading.Event()
    threading.Thread(target=_watch, args=(settings, shown, connected), daemon=True).start()
    connected.wait(30)
    with psycopg.connect(settings.postgres, autocommit=True) as source:
        for n in range(int(seconds * per_second)):
            started = time.monotonic()
            title = f"at {started:.3f} {n}"
            source.execute("UPDATE items SET title = %s WHERE id = %s", (title, 1 + USERS * (n % min(own, 1000))))
            committed[title] = time.monotonic()
            time.sleep(max(0.0, 1 / per_second - (time.monotonic() - started)))
    eventually(lambda: committed.keys() <= shown.keys(), within=30, what="the client has every update")
    return [1000 * (shown[title] - at) for title, at in committed.items()]


def _watch(settings: Settings, shown: dict[str, float], connected: threading.Event) -> None:
    """Note when each title is in a complete checkpoint of user u1."""
    waiting: list[str] = []
    headers = {"authorization": f"Token {_token(settings, 'u1')}", "accept-encoding": "identity"}
    with (
        httpx.Client(timeout=60, trust_env=False) as client,
        client.stream("POST", f"{settings.endpoint}/sync/stream", json={}, headers=headers) as response,
    ):
        for line in response.iter_lines():
            if line.startswith('{"data"'):
                told = json.loads(line)["data"]["data"]
                waiting += [op["data"]["title"] for op in told if "title" in (op.get("data") or {})]
            elif line.startswith('{"checkpoint_complete"'):
                now = time.monotonic()
                shown.update({title: now for title in waiting if title not in shown})
                waiting.clear()
                connected.set()


def _idle(pipeline: Pipeline, clients: int) -> dict[str, Any]:
    """Clients whose buckets hold no row, and one change for one of them."""
    (node,) = pipeline.workers("serve")
    settings = pipeline.settings
    before = node.memory_info().rss
    tokens = [_token(settings, f"nobody{number}") for number in range(clients - 1)]
    with Readers(settings.endpoint, [*tokens, _token(settings, "u0")], {}) as readers:
        readers.go().wait(bool, within=300)
        time.sleep(3)
        used = node.memory_info().rss
        started = _cpu(node)
        time.sleep(10)
        idle = _cpu(node) - started
        counts = {number: len(found) for number, found in readers.complete.items()}
        with psycopg.connect(settings.postgres, autocommit=True) as source:
            source.execute("UPDATE items SET title = 'for one' WHERE id = %s", (USERS,))
        eventually(lambda: len(readers.complete[clients - 1]) > counts[clients - 1], what="the one has its change")
        time.sleep(1)
        woken = sum(len(found) > counts[number] for number, found in readers.complete.items())
    return {
        "clients": clients,
        "mb": round(used / 1e6),
        "mb_before": round(before / 1e6),
        "cpu_s_of_10": round(idle, 2),
        "told_of_a_change_for_one": woken,
    }


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _switch(pipeline: Pipeline) -> dict[str, Any]:
    """One definition of ten changes under connected clients; seconds from the switch until all are current."""
    settings = pipeline.settings
    tokens = [_token(settings, f"u{number % USERS}") for number in range(CONNECTED)]
    with Readers(settings.endpoint, tokens, {}) as readers:
        readers.go().wait(bool)
        first = {number: found[-1] for number, found in readers.complete.items()}
        pipeline.deploy(config(changed=True))
        readers.wait(lambda found: len(found) > 1 and found[-1][1] - found[0][1] > 1000)
        last = {number: found[-1] for number, found in readers.complete.items()}
    switched = _switched_at(pipeline)
    again = [last[number][1] - first[number][1] for number in last]
    return {
        "clients": CONNECTED,
        "seconds": round(max(at for at, _ in last.values()) - switched, 2),
        "first_mb": round(sum(size for _, size in first.values()) / 1e6, 1),
        "again_mb": round(sum(again) / 1e6, 1),
    }


def _switched_at(pipeline: Pipeline) -> float:
    """When the active deployment was switched to, by the monotonic clock."""
    active = pipeline.catalog().active
    assert active is not None
    return time.monotonic() - (time.time() - active.switched_at / 1000)


def _quantiles(latencies: Latencies) -> dict[str, float]:
    cuts = statistics.quantiles(latencies, n=100)
    return {"p50_ms": round(cuts[49], 1), "p99_ms": round(cuts[98], 1)}


def table(figures: dict[str, Any]) -> Iterator[str]:
    """The figures for people."""
    one, bson, websocket = figures["one_reader"], figures["one_reader_bson"], figures["one_reader_websocket"]
    four = figures["four_readers"]
    latency = figures["latency"]
    idle, switch = figures["idle"], figures["switch"]
    alone, both = four["one_node_ops_s"], four["two_nodes_ops_s"]
    yield figures["machine"]
    yield f"one bucket of {figures['rows']:,} rows, one reader   {one['ops_s']:,} ops/s, {one['mb_s']} MB/s"
    yield f"the same as BSON                {bson['ops_s']:,} ops/s, {bson['mb_s']} MB/s"
    yield f"the same over WebSocket         {websocket['ops_s']:,} ops/s, {websocket['mb_s']} MB/s"
    yield f"four readers                    one node {alone:,} ops/s, two {both:,} ({both / alone:.1f} times)"
    yield f"commit to client, 100 tx/s      p50 {latency['p50_ms']} ms, p99 {latency['p99_ms']} ms"
    yield f"{idle['clients']:,} idle clients              {idle['mb']} MB ({idle['mb_before']} before)"
    yield f"                                {idle['cpu_s_of_10']} s of CPU in 10 s"
    yield f"a change for one of them        is told to {idle['told_of_a_change_for_one']}"
    yield f"one definition of ten changed   {switch['clients']} clients current after {switch['seconds']} s"
    yield f"                                {switch['again_mb']} MB again, {switch['first_mb']} MB at first"


if __name__ == "__main__":
    raise SystemExit(main())
