"""A merge process on real Kafka, fed with evaluated records; the test plays source, streams and tributaries."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import orjson

from connector.definitions.check import check
from connector.definitions.evaluate import Evaluator, compile_part
from connector.definitions.model import SyncConfig
from connector.deploy.catalog import Catalog, tributary_name
from connector.deploy.diff import diff
from connector.deploy.known import deployed
from connector.deploy.plan import planned
from connector.merge.catalog import ReplayEnd
from connector.merge.state import Evaluated
from connector.oplog.fold import Fold
from connector.oplog.ops import Op
from connector.settings import Settings
from schemas.codec import Codec
from tests.builders import TODOS
from topologies import kafka
from topologies.catalog import WITHOUT_FIELDS, Answer, ask, read_catalog, read_commit
from topologies.oplogs import ops_in
from topologies.schemas import Schemas
from topologies.topics import Topics, compacted, retained

ROOT = Path(__file__).parents[2]
DEADLINE = 120.0

BY_OWNER = """\
bucket_definitions:
  mine:
    parameters: SELECT request.user_id() AS u
    data:
      - SELECT id, owner, text FROM todos WHERE owner = bucket.u
"""
ALL = """\
bucket_definitions:
  everything:
    data:
      - SELECT id, text FROM todos
"""


class MergeWorld:
    """Topics as `init` makes them, and as many merges as the test starts."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topics = Topics(settings.app)
        kafka.create_topics(
            settings,
            [
                kafka.TopicPlan(self.topics.schemas, 1, compacted(settings.max_request_size)),
                kafka.TopicPlan(self.topics.sequence, 1, compacted(settings.max_request_size)),
                kafka.TopicPlan(self.topics.evaluated("main"), 1, retained(settings.max_request_size)),
            ],
        )
        self.codec = Codec(Schemas(settings))
        self.codec.prepare("Evaluated", "Progress", "Request", "Op", "Commit", "Catalog", "Answer", "Rejected")
        self._producer = kafka.producer(settings)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """One more merge process."""
        return self._start("topologies.merge", environment)

    def start_replica(self) -> subprocess.Popen[bytes]:
        return self._start("topologies.serve", {})

    def _start(self, module: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", module, "--settings", str(self.settings.path)],
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        self.processes.append(process)
        return process

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    def feed(self, records: Iterable[Evaluated]) -> None:
        """Write records to the evaluated topics of their streams."""
        for record in records:
            value = self.codec.encode("Evaluated", cast(dict[str, Any], record))
            self._producer.produce(self.topics.evaluated(record["stream"]), value=value)
        assert self._producer.flush(30) == 0

    def complete(self, tables: Mapping[str, int | None]) -> None:
        """The sequencer says from which position on each table is complete."""
        state = {"tables": {name: {"holes": [], "complete": at, "refused": None} for name, at in tables.items()}}
        record = {"position": 0, "change_offset": 0, "rows": 0, "state": orjson.dumps(state).decode()}
        self._producer.produce(self.topics.sequence, key="progress", value=self.codec.encode("Progress", record))
        assert self._producer.flush(30) == 0

    def catalog(self) -> Catalog:
        return read_catalog(self.settings, self.codec)

    def commit(self) -> dict[str, Any] | None:
        return read_commit(self.settings, self.codec)

    def commits(self) -> list[dict[str, Any]]:
        """Those that the cleaner has left."""
        reader = kafka.consumer(self.settings)
        try:
            messages = kafka.read_all(reader, self.topics.checkpoints)
            return [self.codec.decode(m.value() or b"") for m in messages]
        finally:
            reader.close()

    def wait(self, met: Callable[[], Any], what: str) -> Any:
        """Ask until the condition is met; its value."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            if value := met():
                return value
            time.sleep(0.05)
        raise AssertionError(f"{what} not seen within {DEADLINE:.0f} s; last commit {self.commit()}")

    def wait_position(self, position: int) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            commit = self.commit()
            return commit if commit and commit["exposed"] and commit["position"] >= position else None

        return cast(dict[str, Any], self.wait(reached, f"checkpoint at {position}"))

    def ask(self, kind: str, **fields: Any) -> Answer:
        return ask(self.settings, kind, within=30.0, codec=self.codec, **fields)

    def send(self, kind: str, **fields: Any) -> None:
        """A request that no merge need be there for."""
        request = {"id": kind, "kind": kind, "requested_at": 0, **WITHOUT_FIELDS} | fields
        self._producer.produce(self.topics.requests, key=kind, value=self.codec.encode("Request", request))
        assert self._producer.flush(30) == 0

    def request_deploy(self, text: str) -> Answer:
        generation, plan = self.catalog().generation, self.planned(text)
        return self.ask("deploy", base=generation, config=text, path="sync-config.yaml", planned=plan)

    def planned(self, text: str) -> str:
        """What a deploy of the config asks for."""
        return planned(diff(deployed(self.catalog()), config_of(text)))

    def bound(self, generation: int, ends: Iterable[ReplayEnd]) -> Answer:
        records = [{"table": e.table, "partition": e.partition, "end": e.end} for e in ends]
        return self.ask("bounds", tributary=tributary_name(generation), ends=records)

    def evaluators(self, generation: int) -> dict[int, Evaluator]:
        """The compiled parts of a deployment, by version."""
        catalog = self.catalog()
        deployment = catalog.deployment(generation)
        assert deployment is not None
        wanted = deployment.versions() or {c.version for c in deployment.comparisons}
        return {v.version: compile_part(orjson.loads(v.plan)) for v in catalog.versions if v.version in wanted}

    def evaluation(self, version: int) -> str:
        found = self.catalog().version(version)
        assert found is not None
        return found.evaluation

    def ops(self, version: int) -> list[Op]:
        """All of a version's op log, as committed."""
        reader = kafka.consumer(self.settings)
        try:
            messages = kafka.read_all(reader, self.topics.oplog(version))
            return [op for _, op in ops_in(self.codec, messages)]
        finally:
            reader.close()

    def ops_until(self, version: int, end: int) -> list[Op]:
        """A version's op log up to, not including, an offset."""
        reader = kafka.consumer(self.settings)
        try:
            messages = kafka.read_range(reader, self.topics.oplog(version), 0, 0, end)
            return [op for _, op in ops_in(self.codec, messages)]
        finally:
            reader.close()

    def folded(self, versions: Iterable[int]) -> Fold:
        folded = Fold()
        for version in versions:
            folded.apply(self.ops(version))
        return folded


def config_of(text: str) -> SyncConfig:
    checked = check(text)
    assert checked.config is not None, checked.diagnostics
    return checked.config


def deploy_empty(world: MergeWorld, text: str) -> int:
    """Deploy before there are any rows: the replay is empty, the switch is at position 0 or where main stands."""
    world.wait(lambda: world.catalog().number, "a merge")
    answer = world.request_deploy(text)
    assert answer.outcome == "accepted"
    world.bound(answer.generation, [ReplayEnd(TODOS, 0, 0)])
    world.ask("head", tributary=tributary_name(answer.generation), head=0)
    world.wait(lambda: world.catalog().generation == answer.generation, "switch")
    return answer.generation
