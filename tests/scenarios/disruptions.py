"""The disruptions: what happens to workers, servers, source and topics while a script runs.

Each is a context manager: it begins with the block, and is over, though perhaps not recovered from, when it ends.
Several can come at once, where they do not touch the same.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, ResourceType

from tests.integration.pipeline import WORKERS, eventually
from tests.integration.sequencing import connect_call
from tests.integration.test_set_back import AT_ONCE, KEEP_LOG, is_inside, lsn, offset, set_back
from tests.scenarios.points import ALWAYS, AT_START, OF_A_COMMAND, POINTS
from tests.scenarios.world import PATIENCE, World
from topologies import kafka, topics
from topologies.exits import FENCED

ASLEEP = 14.0  # seconds: past the session time-out (6) and the transaction time-out (12)
FULL = 4096  # bytes: no file of a store may grow beyond it
ROWS = 30_000  # of a large transaction
HUGE = 1_000_000
BATCHES = 20  # that a mark is in, surely more than once
BESIDE = 2.0  # seconds until the writer has committed something beside
FIRST_BESIDE = 2000  # millions: from there on the ids of large transactions that stay open beside others
SLOWEST = 1000  # rows/s that ten definitions take on a machine with other work

PATIENT = {name: topics.snapshot(0)[name] for name in ("min.compaction.lag.ms", "delete.retention.ms")}

VERBS = {"kill": "kill", "stop": "freeze"}  # by the action of a crash point's order

Ends = Mapping[tuple[str, int], int]  # by topic and partition
Apply = Callable[[World, random.Random], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Disruption:
    """`weight`: how often it is drawn. `spares_streams`: main's offsets must not go back meanwhile."""

    apply: Apply
    touches: frozenset[str]
    weight: float = 1.0
    spares_streams: bool = False


# -- processes -------------------------------------------------------------------------------------------------------


@contextmanager
def nothing(world: World, chance: random.Random) -> Iterator[None]:
    yield


@contextmanager
def background(act: Callable[[threading.Event], None]) -> Iterator[None]:
    """Do it beside the block. It ends early when its event is set; what it raises is raised after the block."""
    over, failures = threading.Event(), []

    def run() -> None:
        try:
            act(over)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(8 * PATIENCE)  # what it does has deadlines of its own
    assert not thread.is_alive(), "the disruption does not end"
    if failures:
        raise failures[0]


def killed_at(module: str, point: str) -> Apply:
    @contextmanager
    def apply(world: World, chance: random.Random) -> Iterator[None]:
        with _ordered(world, chance, module, point, "kill"):
            yield

    return apply


def frozen_at(module: str, point: str) -> Apply:
    """Stopped at the point, and let go on when its session and its transaction are over."""

    @contextmanager
    def apply(world: World, chance: random.Random) -> Iterator[None]:
        def asleep() -> list[psutil.Process]:
            return [worker for worker in world.pipeline.workers(module) if _stopped(worker)]

        def wake(over: threading.Event) -> None:
            while not (sleepers := asleep()) and not over.wait(0.1):
                pass
            sleepers = sleepers or asleep()  # one that got there at the very end sleeps as long
            if sleepers:
                time.sleep(ASLEEP)
            for sleeper in sleepers:
                with suppress(psutil.NoSuchProcess):
                    sleeper.send_signal(signal.SIGCONT)

        with background(wake), _ordered(world, chance, module, point, "stop"):
            yield

    return apply


@contextmanager
def _ordered(world: World, chance: random.Random, module: str, point: str, action: str) -> Iterator[None]:
    """The order stands until somebody gets to the point, or the block has ended where that is not sure to happen."""
    certain = point in ALWAYS.get(module, ())
    with ExitStack() as stack:
        if point == "stream.after_announcement":
            stack.enter_context(world.writer.quiet())  # main announces where the source is idle
        order = world.pipeline.order(point, action, chance.randrange(4) if certain else 0)
        if point in AT_START.get(module, ()):
            world.pipeline.send(module, signal.SIGKILL)
        try:
            yield
            if certain:
                eventually(lambda: not order.exists(), within=world.patience, what=f"somebody gets to {point}")
        finally:
            if order.exists():
                world.unmet.add(f"{VERBS[action]}_{point}")
            order.unlink(missing_ok=True)


def _stopped(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() == psutil.STATUS_STOPPED)
    return False


def killed(module: str) -> Apply:
    """At some moments."""

    @contextmanager
    def apply(world: World, chance: random.Random) -> Iterator[None]:
        pauses = [chance.uniform(0.1, 3.0) for _ in range(chance.randrange(1, 4))]

        victims: list[int] = []

        def kill(over: threading.Event) -> None:
            for pause in pauses:
                over.wait(pause)
                victims.append(world.pipeline.send(module, signal.SIGKILL))

        with background(kill):
            yield
        if not any(victims):
            world.unmet.add(f"kill_{module}")

    return apply


def frozen(module: str) -> Apply:
    @contextmanager
    def apply(world: World, chance: random.Random) -> Iterator[None]:
        pause = chance.uniform(0.1, 3.0)
        sleepers: list[psutil.Process] = []

        def freeze(over: threading.Event) -> None:
            over.wait(pause)
            sleepers.extend(world.pipeline.workers(module))
            for number in (signal.SIGSTOP, signal.SIGCONT):
                for sleeper in sleepers:
                    with suppress(psutil.NoSuchProcess):
                        sleeper.send_signal(number)
                if number == signal.SIGSTOP:
                    time.sleep(ASLEEP)

        with background(freeze):
            yield
        if not sleepers:
            world.unmet.add(f"freeze_{module}")

    return apply


def zombie(module: str) -> Apply:
    """A worker sleeps, another node's takes its place, then it wakes: fenced, it exits, and comes back."""

    @contextmanager
    def apply(world: World, chance: random.Random) -> Iterator[None]:
        (sleeper,) = eventually(lambda: world.pipeline.workers(module), what=f"{module} runs")
        sleeper.send_signal(signal.SIGSTOP)
        names = yaml.safe_load(world.settings.path.read_text())
        file = world.folder / "other.yaml"
        file.write_text(yaml.safe_dump(names | {"state": str(world.folder / "other")}))
        with (world.folder / f"other-{module}.log").open("ab") as log:
            other = subprocess.Popen(
                [sys.executable, "-m", f"topologies.{module}", "--settings", str(file)], stdout=log, stderr=log
            )
        try:
            number = world.newest_commit()
            eventually(
                lambda: other.poll() is not None or world.newest_commit() > number + 3,
                within=world.patience,
                what="checkpoints go on",
            )
            assert other.poll() is None, f"the other {module} has ended with {other.returncode}"
            yield
            sleeper.send_signal(signal.SIGCONT)
            eventually(lambda: other.poll() is not None, within=world.patience, what=f"the other {module} is fenced")
            assert other.returncode == FENCED, f"the other {module} ended with {other.returncode}, not fenced"
        finally:
            with suppress(psutil.NoSuchProcess):
                sleeper.send_signal(signal.SIGCONT)
            if other.poll() is None:
                other.kill()
            other.wait(10)

    return apply


@contextmanager
def disk_full(world: World, chance: random.Random) -> Iterator[None]:
    """No file of merge and node may grow: as on a full disk their writes fail. A new process may again."""
    modules = ("merge", "serve")
    victims = [worker for module in modules for worker in world.pipeline.workers(module)]
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.rlimit(psutil.RLIMIT_FSIZE, (FULL, FULL))
    yield
    eventually(
        lambda: not any(v.is_running() and not _stopped(v) for v in victims),
        within=world.patience,
        what="merge and node have ended",
    )


# -- servers ---------------------------------------------------------------------------------------------------------


def server(name: str, away: str, seconds: float) -> Apply:
    """A server is killed, ended or frozen for some seconds."""

    @contextmanager
    def apply(world: World, chance: random.Random) -> Iterator[None]:
        pause = chance.uniform(0.0, 2.0)

        def disturb(over: threading.Event) -> None:
            over.wait(pause)
            getattr(world.stack, away)(name)
            time.sleep(seconds)
            world.stack.heal()

        with background(disturb):
            yield
        _connector_runs(world)

    return apply


def _connector_runs(world: World) -> None:
    """A person's part: Connect does not start a failed task again by itself."""

    def running() -> bool:
        status = connect_call(world.settings, "GET", "/status")
        tasks = status["tasks"]
        if any(task["state"] == "FAILED" for task in tasks):
            connect_call(world.settings, "POST", "/restart?includeTasks=true&onlyFailed=true")
        return bool(tasks) and all(task["state"] == "RUNNING" for task in tasks)

    eventually(running, within=world.patience, what="the connector runs")


@contextmanager
def connect_killed_inside_a_transaction(world: World, chance: random.Random) -> Iterator[None]:
    """The writer commits beside that transaction, so the connector may count its rows anew (decision 57)."""
    first = (FIRST_BESIDE + chance.randrange(100)) * 1_000_000

    def place_of(transaction: str, end: int) -> str | None:
        with suppress(httpx.HTTPError, AssertionError):
            place = offset(world.source)
            if is_inside(place, transaction, "public.todos"):
                return "inside"
            if place.get("lsn", 0) >= end:
                return "past it"
        return None

    def disturb(over: threading.Event) -> None:
        transaction, end = _commit_beside_the_writer(world, first)
        place = eventually(
            lambda: place_of(transaction, end), within=world.patience, what="Connect reads the transaction"
        )
        if place == "inside":
            world.stack.kill("connect")
            world.stack.heal()
        else:
            world.unmet.add("connect_killed_inside_a_transaction")

    with background(disturb):
        yield
    _connector_runs(world)


def _commit_beside_the_writer(world: World, first: int) -> tuple[str, int]:
    """A large transaction that leaves a few rows; its id, and where the log ended after it."""
    with world.source.connect() as connection:
        with connection.transaction():
            for start in range(first, first + 3 * AT_ONCE, AT_ONCE):
                before = world.writer.committed
                connection.execute(_insert(start, AT_ONCE))  # type: ignore[arg-type]
                with suppress(AssertionError):  # a truncate waits for this very transaction
                    eventually(lambda before=before: world.writer.committed > before, within=BESIDE)
            connection.execute(_delete(first, 3 * AT_ONCE))  # type: ignore[arg-type]
            row = connection.execute("SELECT pg_current_xact_id()").fetchone()
        assert row is not None
        return str(row[0]), lsn(connection)


@contextmanager
def task_restarted(world: World, chance: random.Random) -> Iterator[None]:
    connect_call(world.settings, "POST", "/restart?includeTasks=true")
    yield
    _connector_runs(world)


@contextmanager
def set_back_inside_a_transaction(world: World, chance: random.Random) -> Iterator[None]:
    """A large transaction passes; then the connector is set back to an offset that it committed inside it."""
    config = connect_call(world.settings, "GET", "/config")
    if config.get("lsn.flush.mode") != "manual":
        connect_call(world.settings, "PUT", "/config", json=config | KEEP_LOG)
        _connector_runs(world)
    places: list[dict[str, Any]] = []

    def watch(over: threading.Event) -> None:
        while not over.wait(0.05):
            with suppress(httpx.HTTPError, AssertionError):
                place = offset(world.source)
                if place and "snapshot" not in place and place not in places:
                    places.append(place)

    with background(watch):
        world.writer.alone(_large(chance, ROWS // 3), _large(chance, ROWS // 3))
        yield
    inside = [place for place in places if "transaction_id" in place]
    if inside:
        set_back(world.source, chance.choice(inside))
        _connector_runs(world)
    else:
        world.unmet.add("set_back_inside_a_transaction")


def _large(chance: random.Random, rows: int) -> str:
    first = chance.randrange(1, FIRST_BESIDE) * 1_000_000
    return f"{_insert(first, rows)}; {_delete(first, rows)}"


def _insert(first: int, rows: int) -> str:
    return (
        f"INSERT INTO todos SELECT {first} + n, 'l' || 1 + n % 40, 'Large ' || n, n % 2 = 0, n / 8.0, '{{}}'"
        f" FROM generate_series(1, {rows}) n ON CONFLICT DO NOTHING"
    )


def _delete(first: int, rows: int) -> str:
    """All but a tenth."""
    return f"DELETE FROM todos WHERE id BETWEEN {first + rows // 10} AND {first + rows}"


def transaction_of(rows: int) -> Apply:
    """Inserted and nearly all deleted again, in one transaction."""

    @contextmanager
    def apply(world: World, chance: random.Random) -> Iterator[None]:
        world.patience += rows / SLOWEST
        world.writer.alone(_large(chance, rows // 2))
        yield

    return apply


# -- topics and source -----------------------------------------------------------------------------------------------


def cleaner(name: str, **config: str) -> Apply:
    """The log cleaner takes from the snapshot topics what it may, as soon as it can."""
    eager = {
        "delete.retention.ms": PATIENT["delete.retention.ms"],
        "segment.ms": "1000",
        "min.compaction.lag.ms": "0",
        "min.cleanable.dirty.ratio": "0.001",
    } | config

    @contextmanager
    def apply(world: World, chance: random.Random) -> Iterator[None]:
        eventually(lambda: _superseded(world), within=world.patience, what="the cleaner has something to take")
        ends, before = _snapshot_records(world)
        _configure(world, eager, AlterConfigOpType.SET)
        try:
            yield
            if _snapshot_records(world, ends)[1] == before:
                world.unmet.add(name)
        finally:
            _configure(world, eager, AlterConfigOpType.DELETE)
            _configure(world, PATIENT, AlterConfigOpType.SET)

    return apply


@contextmanager
def tombstones_expired(world: World, chance: random.Random) -> Iterator[None]:
    """Deletes of long ago are gone from the snapshot topics when a replay begins."""
    world.writer.alone("DELETE FROM todos WHERE id % 3 = 0")
    with cleaner("tombstones_expired", **{"delete.retention.ms": "0"})(world, chance):
        time.sleep(5.0)  # the cleaner's pace; how far it comes is the input
    yield


def _configure(world: World, config: dict[str, str], how: AlterConfigOpType) -> None:
    admin = kafka.admin(world.settings)
    names = _snapshot_topics(world)
    entries = [ConfigEntry(name, value, incremental_operation=how) for name, value in config.items()]
    resources = [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries) for topic in names]
    for done in admin.incremental_alter_configs(resources).values():
        done.result(20)


def _snapshot_topics(world: World) -> dict[str, int]:
    """Their partitions."""
    topics_now = kafka.admin(world.settings).list_topics(timeout=20).topics
    prefix = f"{world.settings.app}.snapshot."
    return {name: len(topic.partitions) for name, topic in topics_now.items() if name.startswith(prefix)}


def _snapshot_records(world: World, ends: Ends | None = None) -> tuple[Ends, int]:
    """How many records the snapshot topics have below these ends, or below those of now."""
    reader = kafka.consumer(world.settings)
    try:
        places = [(name, number) for name, count in _snapshot_topics(world).items() for number in range(count)]
        known = ends if ends is not None else {place: kafka.watermarks(reader, *place)[1] for place in places}
        return known, sum(
            1
            for (name, number), end in known.items()
            for _ in kafka.read_range(reader, name, number, kafka.watermarks(reader, name, number)[0], end)
        )
    finally:
        reader.close()


def _superseded(world: World) -> bool:
    """Whether a snapshot topic has more records than its table has rows: before a first deploy it may have none."""
    topic = topics.Topics(world.settings.app).snapshot("public.mark_a")
    partitions = range(_snapshot_topics(world).get(topic, 0))
    return any(end > BATCHES for end in kafka.uncommitted_ends(world.settings, topic, partitions).values())


@contextmanager
def partitions_added(world: World, chance: random.Random) -> Iterator[None]:
    admin = kafka.admin(world.settings)
    topic = f"{world.settings.topic_prefix}.public.{chance.choice(('todos', 'lists', 'mark_a'))}"
    count = len(admin.list_topics(topic, timeout=20).topics[topic].partitions)
    for done in admin.create_partitions([NewPartitions(topic, count + 1)]).values():
        done.result(20)
    connect_call(world.settings, "POST", "/restart?includeTasks=true")  # its producer learns of them
    yield
    _connector_runs(world)


@contextmanager
def topic_recreated(world: World, chance: random.Random) -> Iterator[None]:
    """Of a table that no definition reads: it alone is stopped."""
    topic = f"{world.settings.topic_prefix}.public.side"
    admin = kafka.admin(world.settings)
    with world.writer.quiet():
        world.rows_are_those_of_the_source()
        admin.delete_topics([topic])[topic].result(60)
        eventually(lambda: not kafka.topic_exists(world.settings, topic), what="the topic is gone")
        world.ask("init", enough=lambda catalog: False)
    yield


@contextmanager
def key_widened(world: World, chance: random.Random) -> Iterator[None]:
    table = f"mark_{chance.choice('abc')}"
    ((now,),) = world.source.sql(
        "SELECT data_type FROM information_schema.columns WHERE (table_name, column_name) = (%s, 'id')", table
    )
    world.source.sql(f"ALTER TABLE {table} ALTER COLUMN id TYPE {'int' if now == 'bigint' else 'bigint'}")
    yield


@contextmanager
def clock_jumps(world: World, chance: random.Random) -> Iterator[None]:
    """The wall clock of all workers and commands goes back five minutes, then two ahead, then it is right."""

    def jump(over: threading.Event) -> None:
        for seconds in (-300, 120):
            _set_clock(world.clock, seconds)
            over.wait(chance.uniform(1.0, 4.0))
        _set_clock(world.clock, 0)

    with background(jump):
        yield


def _set_clock(file: Path, seconds: float) -> None:
    unfinished = file.with_suffix(".new")
    unfinished.write_text(str(seconds))
    unfinished.rename(file)


SERVERS = frozenset({"servers"})
SOURCE = frozenset({"source"})
# nobody writes meanwhile, and nobody comes to where changes are needed
QUIET = SOURCE | {point for points in ALWAYS.values() for point in points}
EACH_WORKER = frozenset({*WORKERS, *(f"sleep of {module}" for module in WORKERS), *(point for _, point in POINTS)})


def _points() -> Iterator[tuple[str, Disruption]]:
    """Each point twice: killed and frozen there. All of them together are drawn as often as all the rest."""
    for module, point in POINTS:
        touched = frozenset({point, *(QUIET if point == "stream.after_announcement" else ())})
        yield f"kill_{point}", Disruption(killed_at(module, point), touched, 0.6)
        if module not in OF_A_COMMAND:  # nobody wakes a command
            yield f"freeze_{point}", Disruption(frozen_at(module, point), touched | {f"sleep of {module}"}, 0.2)


def _moments() -> Iterator[tuple[str, Disruption]]:
    for module in WORKERS:
        yield f"kill_{module}", Disruption(killed(module), frozenset({module}))
        yield f"freeze_{module}", Disruption(frozen(module), frozenset({module, f"sleep of {module}"}), 0.5)


DISRUPTIONS: dict[str, Disruption] = {
    "nothing": Disruption(nothing, EACH_WORKER | SERVERS | SOURCE, spares_streams=True),
    **dict(_points()),
    **dict(_moments()),
    "zombie_sequence": Disruption(zombie("sequence"), EACH_WORKER | SERVERS, 0.5),
    "zombie_merge": Disruption(zombie("merge"), EACH_WORKER | SERVERS, 0.5),
    "disk_full": Disruption(disk_full, frozenset({"merge", "serve"})),
    "broker_killed": Disruption(server("kafka", "kill", 0.5), SERVERS),
    "broker_restarted": Disruption(server("kafka", "end", 0.5), SERVERS),
    "connect_killed": Disruption(server("connect", "kill", 0.5), SERVERS, 0.5),
    "broker_away": Disruption(server("kafka", "kill", ASLEEP), SERVERS, 0.5),
    "connect_killed_inside_a_transaction": Disruption(
        connect_killed_inside_a_transaction, SERVERS | SOURCE, 0.5, spares_streams=True
    ),
    "registry_away": Disruption(server("registry", "stop", 8.0), SERVERS),
    "task_restarted": Disruption(task_restarted, SERVERS, spares_streams=True),
    "set_back_inside_a_transaction": Disruption(set_back_inside_a_transaction, SERVERS | SOURCE, spares_streams=True),
    "large_transaction": Disruption(transaction_of(ROWS), SOURCE, spares_streams=True),
    "huge_transaction": Disruption(transaction_of(HUGE), SOURCE | SERVERS, 0.1, spares_streams=True),
    "forced_cleaner": Disruption(cleaner("forced_cleaner"), SOURCE | SERVERS, spares_streams=True),
    "tombstones_expired": Disruption(tombstones_expired, SOURCE | SERVERS, spares_streams=True),
    "partitions_added": Disruption(partitions_added, SERVERS, spares_streams=True),
    "topic_recreated": Disruption(topic_recreated, SERVERS | SOURCE, 0.5),
    "key_widened": Disruption(key_widened, SOURCE, spares_streams=True),
    "clock_jumps": Disruption(clock_jumps, SOURCE, spares_streams=True),
}
