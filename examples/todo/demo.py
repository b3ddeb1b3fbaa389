"""The whole story on real servers: deploy, write, change one definition of several, prove that nothing else moved.

    make demo            runs it and cleans up
    make demo KEEP=1     leaves everything running and prints what to try next

Exits 0 only if all that it tells was seen to be true.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from connector import settings
from connector.settings import Settings
from examples.todo.connected import Connected, user_id
from examples.todo.traffic import LISTS, TODOS, TRANSACTIONS_PER_SECOND, Writer, fill
from schemas.codec import Codec
from topologies import kafka
from topologies.catalog import read_catalog, read_commit
from topologies.oplogs import ops_in
from topologies.schemas import Schemas
from topologies.topics import Topics

HERE = Path(__file__).parent


class Failed(Exception):
    """Something that the demo tells was not true."""


def main() -> int:
    started = time.monotonic()
    keep = bool(os.environ.get("KEEP"))
    say("Starting Kafka, Connect with Debezium, the schema registry and Postgres")
    syncline("local", "reset")
    syncline("local", "up")
    known = settings.load(str(HERE / settings.FILE_NAME))
    workers: subprocess.Popen[bytes] | None = None
    try:
        fill(known.postgres)
        say("syncline init: connector, topics, checks")
        syncline("init")
        workers = run_workers(known)
        with Connected(known) as clients:
            story(known, clients)
        say(f"Done in {time.monotonic() - started:.0f} s; everything above was checked")
        if keep:
            print(TRY_NEXT.format(pid=workers.pid, user=user_id(2)))
        return 0
    except (Failed, subprocess.CalledProcessError) as error:
        say(f"FAILED: {error}")
        return 1
    finally:
        if not keep:
            if workers is not None:
                workers.send_signal(signal.SIGTERM)
                workers.wait(15)
            syncline("local", "down")


def story(known: Settings, clients: Connected) -> None:
    """First deploy, clients, a writer, one definition changed, the proof."""
    say(f"First deploy: {TODOS:,} todos in {LISTS} lists")
    syncline("deploy", "sync-config.yaml")
    say("Two clients connect: PowerSync's own SDK, each with its own SQLite")
    clients.connect()
    writer, offsets = Writer(known.postgres), GroupOffsets(known)
    writer.start()
    time.sleep(2)
    say(f"A writer commits {TRANSACTIONS_PER_SECOND} transactions/s from here on. One definition of several changes")
    before = Marks(known)
    offsets.start()
    if syncline("plan", "sync-config-v2.yaml", accept=(2,)).returncode != 2:
        raise Failed("plan saw no change")
    changed_at = time.monotonic()
    syncline("deploy", "sync-config-v2.yaml")
    seconds = time.monotonic() - changed_at
    time.sleep(2)
    after = Marks(known)
    moves, committed = offsets.finish(), writer.finish()
    print(f"\n{committed:,} transactions were committed meanwhile")
    told(known, before, after, moves, seconds)
    say("The two clients, connected all the while, beside what a full re-sync costs them: a fresh client of each user")
    if wrong := clients.told(HERE / "sync-config-v2.yaml"):
        raise Failed("; ".join(wrong))
    print("each one's SQLite equals its rows in Postgres; unchanged buckets kept their names and were not mentioned")
    say("syncline verify: every part rebuilt from scratch beside the live ones")
    syncline("verify")
    syncline("status")


def told(known: Settings, before: Marks, after: Marks, moves: list[int], seconds: float) -> None:
    """The table per definition; raises Failed where an unchanged one was touched."""
    print(f"\n{'definition':<16} {'part':<16} {'':<10} {'version':>7} {'rows':>8}  by the deploy")
    touched = 0
    for (definition, label), version in after.parts.items():
        count = after.counts[version]
        if before.parts.get((definition, label)) == version:
            idle = ops_without_change(known, version, before.number)
            touched += idle
            live = count["ops"] - before.counts[version]["ops"]
            said = f"{idle} ops ({live} by the writer)"
            change = "unchanged"
        else:
            said = f"{count['rows']:,} rows replayed, {seconds:.1f} s from request to switch"
            change = "changed"
        print(f"{definition:<16} {label:<16} {change:<10} {version:>7} {count['rows']:>8,}  {said}")
    backwards = sum(b < a for a, b in pairwise(moves))
    print(f"consumer group of main: offset {moves[0]} to {moves[-1]} in {len(moves)} looks, {backwards} steps back")
    if touched:
        raise Failed(f"the deploy wrote {touched} ops to unchanged definitions")
    if backwards or moves[-1] <= moves[0]:
        raise Failed(f"the consumer group's offsets went {moves}")
    if before.parts.keys() == after.parts.keys() and before.parts == after.parts:
        raise Failed("no part got a new version")


class Marks:
    """Versions, their counters and the commit number, as the merge last committed them."""

    def __init__(self, known: Settings) -> None:
        codec = Codec(Schemas(known, patience=10))
        commit, catalog = read_commit(known, codec), read_catalog(known, codec)
        if commit is None or catalog is None or catalog.active is None:
            raise Failed("nothing is deployed")
        self.number: int = commit["number"]
        self.counts: dict[int, dict[str, Any]] = {v["version"]: v for v in commit["versions"]}
        self.parts = {(d.name, p.label): p.version for d in catalog.active.definitions for p in d.parts}


def ops_without_change(known: Settings, version: int, since: int) -> int:
    """Ops after commit `since` that leave their row as it was: what a deploy must not write (law 1)."""
    codec, reader = Codec(Schemas(known, patience=10)), kafka.consumer(known)
    rows: dict[tuple[str, str, str, str], str | None] = {}
    idle = 0
    for _, op in ops_in(codec, kafka.read_all(reader, Topics(known.app).oplog(version))):
        row = (op["bucket"], op["object_type"], op["object_id"], op["subkey"])
        idle += op["op_id"] >> 20 > since and rows.get(row) == op["data"]
        rows[row] = op["data"]
    reader.close()
    return idle


class GroupOffsets(threading.Thread):
    """Looks at the committed offset of main's consumer group, ten times a second."""

    def __init__(self, known: Settings) -> None:
        super().__init__(daemon=True)
        self._admin = kafka.admin(known)
        topics = Topics(known.app)
        self._group = ConsumerGroupTopicPartitions(topics.stream("main"), [TopicPartition(topics.changes, 0)])
        self._seen: list[int] = []
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(0.1):
            found = self._admin.list_consumer_group_offsets([self._group])[self._group.group_id].result(5)
            self._seen.append(found.topic_partitions[0].offset)

    def finish(self) -> list[int]:
        self._end.set()
        self.join(10)
        return self._seen


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def syncline(*arguments: str, accept: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[bytes]:
    """One command, as a user would type it in this folder."""
    print(f"$ syncline {' '.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "connector", *arguments], cwd=HERE, check=False)
    if done.returncode not in accept:
        raise Failed(f"syncline {arguments[0]} ended with {done.returncode}")
    return done


def run_workers(known: Settings) -> subprocess.Popen[bytes]:
    say("syncline run: sequencer, stream, merge, node (their log is .syncline/run.log)")
    log = (known.state / "run.log").open("ab")
    return subprocess.Popen(
        [sys.executable, "-m", "connector", "run"], cwd=HERE, stdout=log, stderr=log, start_new_session=True
    )


TRY_NEXT = """
Everything is left running (workers: pid {pid}). From examples/todo, with .venv/bin on the PATH, try:
  syncline status --watch
  syncline buckets
  syncline tail --from-start --until-now
  edit sync-config-v2.yaml, then: syncline plan sync-config-v2.yaml; syncline deploy sync-config-v2.yaml
  python -m examples.todo.page, from the repository's folder: lists in a browser, changing live
  syncline token --sub {user}   (a token for a client, of User 2)
  psql-like access: the DSN is in syncline.yaml
When done: kill {pid}; syncline local reset
"""


if __name__ == "__main__":
    raise SystemExit(main())
