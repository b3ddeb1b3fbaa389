"""What a scenario acts on: a source with a writer, a pipeline, what is deployed; and the oracle over all of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from unittest.mock import patch

import orjson
import yaml
from confluent_kafka import KafkaException, TopicPartition

from connector import settings as settings_file
from connector.deploy.catalog import Catalog, Deployment
from connector.errors import SynclineError
from connector.settings import Settings
from tests.integration.pipeline import WORKERS, Buckets, Pipeline, eventually, fold, op_ids
from tests.integration.world import TABLES, fill
from tests.scenarios.definitions import Config, Definition, expected, text
from tests.scenarios.logs import Logs
from tests.scenarios.writer import ScenarioWriter
from tests.worlds import Source
from topologies import kafka
from topologies.replica import Replica
from topologies.topics import Topics

LISTS, TODOS = 40, 800
PATIENCE = 240.0  # seconds for what a quiet machine does in a few
SLOWEST_FILL = 10_000  # ops/s that a fresh node takes beside other work
ENDED = ("dropped", "failed", "cancelled")
T = TypeVar("T")
Ops = list[dict[str, Any]]


def answered(look: Callable[[], T]) -> T | None:
    """What `look` gives; None while a server is away."""
    with suppress(SynclineError, KafkaException):
        return look()
    return None


class Parts(NamedTuple):
    """The versions of a definition's parts."""

    buckets: frozenset[int]
    indexes: frozenset[int]


class World:
    """One source, one pipeline, one writer; `now` is the config whose rows clients are to see."""

    def __init__(self, source: Source, stack: Any, folder: Path, seed: int, *, retain: float) -> None:
        self.source = source
        self.stack = stack
        self.settings = _retaining(source.settings, retain)
        self.folder = folder
        self.clock = folder / "clock"  # seconds that the clock is off, see clock/sitecustomize.py
        self.pipeline = Pipeline(self.settings, folder)
        self.now: Config = ()
        self.unmet: set[str] = set()  # disruptions of this step that did not come to pass
        self.patience = PATIENCE
        self.edition = 1
        self._asked: dict[str, tuple[Config, int]] = {}
        self._kept: dict[Definition, Parts] = {}
        self._had: frozenset[int] = frozenset()  # all versions of that deployment
        self._followed = 0  # the commit of the deployment whose versions these are
        self._since = 0
        self._exposed_at = 0  # the commit of the first switch: what was before it no client has seen
        with source.connect() as connection:
            connection.execute(TABLES)
            connection.execute("CREATE TABLE side (id int PRIMARY KEY, n int)")
            fill(connection, LISTS, TODOS)
        self.writer = ScenarioWriter(self.settings.postgres, seed, per_second=20.0)
        self.offsets = Offsets(self.settings)

    def start(self) -> None:
        """Everything runs, nothing is deployed."""
        prepared = self.pipeline.cli("init")
        assert prepared.returncode == 0, prepared.stdout + prepared.stderr
        self.logs = Logs(self.settings)
        self.pipeline.start()
        for module in WORKERS:
            eventually(lambda module=module: self.pipeline.workers(module), what=f"{module} runs")
        eventually(lambda: (answered(self.newest_commit) or -1) > 0, what="the merge has begun")
        self.writer.start()
        self.offsets.start()

    def end(self) -> None:
        """Leave nothing behind."""
        try:
            self.offsets.finish()
            self.writer.finish()
            self.logs.close()
        finally:
            self.pipeline.end()

    # -- what scripts do ---------------------------------------------------------------------------------------------

    def ask(self, *arguments: str, enough: Callable[[Catalog], bool]) -> None:
        """Run a command until it succeeds, or until the catalog shows that an earlier try did."""
        deadline = time.monotonic() + self.patience
        while True:
            done = self.pipeline.cli(*arguments)
            if done.returncode == 0:
                return
            catalog = answered(self.logs.catalog)
            if catalog is not None and enough(catalog):
                return
            assert time.monotonic() < deadline, f"syncline {' '.join(arguments)}: {done.stdout}{done.stderr}"
            time.sleep(0.3)  # the pace of a person who tries again

    def request(self, config: Config) -> None:
        """Have a config deployed; return when it is accepted."""
        wanted = text(config, self.edition)
        self._asked[wanted] = config, self.edition
        file = self.folder / "sync-config.yaml"
        file.write_text(wanted)
        asked_for = ("replaying", "catching_up", "active", "queued")
        self.ask(
            "deploy",
            str(file),
            "--no-wait",
            enough=lambda c: any(d.config == wanted and d.state in asked_for for d in c.deployments),
        )

    def deploy(self, config: Config) -> None:
        """Have a config deployed; return when clients see it, or an equal one."""
        self.request(config)
        self.at_rest()
        assert self.now == config, f"active is\n{text(self.now)}instead of\n{text(config)}{self.told()}"

    def at_rest(self) -> Catalog:
        """Wait until nothing is pending; what is active is then `now`."""
        catalog = eventually(
            lambda: _resting(answered(self.logs.catalog)), within=self.patience, what="nothing is pending"
        )
        active = catalog.active
        if active is not None:
            self.now, self.edition = self._asked[active.config]
            self._exposed_at = self._exposed_at or active.commit
        self._same_versions(catalog)
        return catalog

    def _same_versions(self, catalog: Catalog) -> None:
        """Law 1: from one deployment that was active to the next, nothing is built for what is in both, and its buckets
        keep their names. Its index may be another one of the same text: two definitions may each have had one."""
        fresh = [d for d in catalog.deployments if d.commit > self._followed and d.config in self._asked]
        for deployment in sorted((d for d in fresh if d.kind == "deploy"), key=lambda d: d.commit):
            now = _versions(deployment, self._asked[deployment.config][0])
            for definition in now.keys() & self._kept.keys():
                had, has = self._kept[definition], now[definition]
                assert has.buckets == had.buckets, f"{definition} had {had}, now {has} (law 1)"
                assert has.indexes <= self._had, f"{definition} had {had}, now {has}, which was built (law 1)"
            self._kept, self._had, self._followed = now, deployment.versions(), deployment.commit

    def told(self) -> str:
        """How the deployments went."""
        catalog = answered(self.logs.catalog) or Catalog()
        return "".join(f"\n  generation {d.generation} {d.state} {d.reason}" for d in catalog.deployments)

    # -- the oracle --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Remember what a step must not touch."""
        self.unmet = set()
        self.patience = PATIENCE
        self._since = self.logs.checkpoints()[-1]["number"] if self.now else 0

    def check(self) -> None:
        """Everything that must hold between two steps (laws 1, 2, 4, 5, 9)."""
        self.at_rest()
        with self.writer.quiet():
            self.rows_are_those_of_the_source()
        ops = {v.version: self.logs.ops(v.version) for v in self.logs.catalog().exposed()}
        for version, found in ops.items():
            idle = idle_ops(found, self._since)
            assert not idle, f"version {version} got ops without a change (law 4): {idle[:3]}"
            _checksums_are_right(found)
        self._no_transaction_is_split()
        self.offsets.check()

    def check_replica(self) -> None:
        """A fresh node's store, of one checkpoint, has the sums of what the op logs hold up to it (rules V1, M3)."""
        replica = Replica(replace(self.settings, state=self.folder / "fresh"))
        try:
            with self.writer.quiet():
                self.rows_are_those_of_the_source()
                checkpoint = self.logs.checkpoints()[-1]
                eventually(
                    lambda: _reaches(replica, checkpoint["number"]),
                    within=self.patience + sum(part["ops"] for part in checkpoint["versions"]) / SLOWEST_FILL,
                    what="a fresh node has all ops",
                )
            view = replica.store.view()
            for version in (p.version for d in self._active().definitions for p in d.parts if p.kind == "bucket"):
                for bucket, ops in _by_bucket(self.logs.ops(version, view.exposed.offsets[version])).items():
                    total = sum(op["checksum"] for op in ops)
                    sums = view.sums(version, bucket)
                    assert (sums.checksum - total) % 2**32 == 0, f"version {version} {bucket}: another checksum"
                    assert op_ids(view, version, bucket) == [op["op_id"] for op in ops]
        finally:
            replica.close()

    def versions(self) -> dict[Definition, Parts]:
        """The active definitions by what they mean, with the versions of their parts."""
        if not self.now:
            return {}
        return _versions(self._active(), self.now)

    def all_versions(self) -> frozenset[int]:
        """Those of the active deployment, whoever has them."""
        return self._active().versions()

    def newest_commit(self) -> int:
        """Its number, exposed or not."""
        return max((commit["number"] for commit in self.logs.commits()), default=-1)

    def catalog(self) -> Catalog:
        """The one in force, once the broker is there."""
        return eventually(lambda: answered(self.logs.catalog), within=self.patience, what="the catalog")

    def _active(self) -> Deployment:
        active = self.catalog().active
        assert active is not None
        return active

    def rows_are_those_of_the_source(self) -> None:
        """Law 9, while the writer is quiet."""
        with self.source.connect() as connection:
            wanted = expected(connection, self.now)
        marks = wanted["marks", "[]"]
        eventually(
            lambda: (answered(lambda: self._buckets("marks")) or {}).get(("marks", "[]")) == marks,
            within=self.patience,
            what=f"the last transaction in a checkpoint: {marks}",
        )
        found = self._buckets()
        wrong = [b for b in wanted.keys() | found.keys() if wanted.get(b) != found.get(b)]
        assert not wrong, "\n".join(_difference(b, wanted.get(b, {}), found.get(b, {})) for b in sorted(wrong)[:5])

    def _buckets(self, only: str = "") -> Buckets:
        """The rows that clients see now, by the definitions' names of now."""
        ends = _ends(self.logs.checkpoints()[-1])
        found: Buckets = {}
        for definition in self._active().definitions:
            for part in definition.parts:
                if part.kind == "bucket" and only in ("", definition.name):
                    ops = self.logs.ops(part.version, ends[part.version])
                    found |= {(definition.name, bucket): rows for bucket, rows in fold(ops).items() if rows}
        return found

    def _no_transaction_is_split(self) -> None:
        """Law 2: at every checkpoint the three marks are one value, and it only rises."""
        (version,) = next(parts.buckets for definition, parts in self.versions().items() if definition.shape == "marks")
        checkpoints = self.logs.checkpoints()  # first, and then their ops: others come meanwhile
        ops = self.logs.ops(version, _ends(checkpoints[-1])[version])
        values: dict[tuple[str, str], int | None] = {}
        last, taken = -1, 0
        for checkpoint in checkpoints:
            while taken < len(ops) and ops[taken]["op_id"] >> 20 <= checkpoint["number"]:
                op = ops[taken]
                values[op["object_type"], op["object_id"]] = orjson.loads(op["data"])["value"] if op["data"] else None
                taken += 1
            if checkpoint["number"] < self._exposed_at:
                continue
            seen = set(values.values())
            assert len(seen) <= 1, f"checkpoint {checkpoint['number']} shows the marks at {values} (law 2)"
            now = max(seen, default=-1)
            assert now >= last, f"checkpoint {checkpoint['number']} shows {now} after {last} (law 3)"
            last = now


class Offsets(threading.Thread):
    """Watches what main's consumer group has committed."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(daemon=True)
        self._group = Topics(settings.app).stream("main")
        self._changes = TopicPartition(Topics(settings.app).changes, 0)
        # a consumer that never joins: the admin client's question can abort the whole process while a broker dies
        self._reader = kafka.consumer(settings, **{"group.id": self._group})
        self._ended = threading.Event()
        self._seen: list[int] = []

    def run(self) -> None:
        while not self._ended.wait(0.3):
            with suppress(KafkaException):
                self._look()

    def _look(self) -> None:
        (place,) = self._reader.committed([self._changes], timeout=5)
        if place.error is None and place.offset >= 0:
            self._seen.append(place.offset)

    def check(self) -> None:
        """Law 1: they never go back. What was seen is forgotten."""
        seen, self._seen = self._seen, self._seen[-1:]
        back = [(a, b) for a, b in pairwise(seen) if b < a]
        assert not back, f"offsets of {self._group} went back: {back}"

    def forget(self) -> None:
        self._seen = []

    def finish(self) -> None:
        self._ended.set()
        self.join(20)
        self._reader.close()


def _reaches(replica: Replica, number: int) -> bool:
    """Whether it has come to the commit after a second of steps: each takes few ops, and none is to wait."""
    until = time.monotonic() + 1.0
    while replica.store.exposed.commit < number and time.monotonic() < until:
        replica.step()
    return replica.store.exposed.commit >= number


def _retaining(settings: Settings, seconds: float) -> Settings:
    """The same settings file with another `retain_removed`."""
    names = yaml.safe_load(settings.path.read_text())
    settings.path.write_text(yaml.safe_dump(names | {"retain_removed": seconds}, sort_keys=False))
    return settings_file.load(str(settings.path))


def _ends(commit: Mapping[str, Any]) -> dict[int, int]:
    """Per version the op-log offset behind its last op."""
    return {v["version"]: v["oplog_offset"] for v in commit["versions"]}


def _versions(deployment: Deployment, config: Config) -> dict[Definition, Parts]:
    by_name = {
        definition.name: Parts(
            frozenset(part.version for part in definition.parts if part.kind == "bucket"),
            frozenset(part.version for part in definition.parts if part.kind == "index"),
        )
        for definition in deployment.definitions
    }
    return {definition.plan: by_name[definition.name] for definition in config}


def _resting(catalog: Catalog | None) -> Catalog | None:
    """The catalog, once nothing is under way in it."""
    if catalog is None or catalog.tributaries:
        return None
    over = all(d.state in ("active", "retained", "aligned", *ENDED) for d in catalog.deployments)
    return catalog if over else None


def idle_ops(ops: Ops, since: int) -> Ops:
    """Ops written after commit `since` that change nothing in their row (law 4)."""
    rows: dict[Any, Any] = {}
    idle = []
    for op in ops:
        identity = (op["bucket"], op["object_type"], op["object_id"], op["subkey"])
        content = op["data"] if op["op"] == "PUT" else None
        if rows.get(identity) == content and op["op_id"] >> 20 > since:
            idle.append(op)
        rows[identity] = content
    return idle


def _checksums_are_right(ops: Ops) -> None:
    """A REMOVE's is that of its row alone; a PUT's is its hash's, the same for the same content."""
    contents: dict[tuple[str, str, str, str], int] = {}
    for op in ops:
        if op["op"] == "REMOVE":
            wanted = int.from_bytes(sha256(b"delete." + op["subkey"].encode()).digest()[:4], "little")
        elif op["op"] == "PUT":
            content = (op["object_type"], op["object_id"], op["subkey"], op["data"])
            wanted = contents.setdefault(content, int.from_bytes(op["hash"][:4], "little"))
        else:
            continue
        assert op["checksum"] == wanted, f"checksum {op['checksum']} instead of {wanted}: {op}"


def _by_bucket(ops: Ops) -> dict[str, Ops]:
    """No scenario compacts, so each op still stands."""
    found: dict[str, Ops] = {}
    for op in ops:
        found.setdefault(op["bucket"], []).append(op)
    return found


def _difference(bucket: tuple[str, str], wanted: Mapping[Any, Any], found: Mapping[Any, Any]) -> str:
    """The first rows that differ."""
    wrong = [k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k)]
    rows = "".join(f"\n    {k}: {wanted.get(k)} in the source, {found.get(k)} here" for k in sorted(wrong)[:3])
    return f"{bucket}: {len(wrong)} rows differ (law 9){rows}"


@contextmanager
def world(source: Source, stack: Any, folder: Path, seed: int, *, retain: float) -> Iterator[World]:
    """A world in which all workers run, while the block does."""
    made = World(source, stack, folder, seed, retain=retain)
    environment = {
        "SYNCLINE_CRASH_FOLDER": str(made.pipeline.orders),
        "SCENARIO_CLOCK": str(made.clock),
        "PYTHONPATH": str(Path(__file__).parent / "clock"),
    }
    with patch.dict(os.environ, environment):
        try:
            made.start()
            yield made
        finally:
            made.end()
