"""The merge process on real Kafka: kill -9 between any two writes, zombies, switch and clean-up."""

from __future__ import annotations

import random
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from connector.merge.catalog import ReplayEnd, tributary_name
from connector.merge.state import Evaluated
from connector.oplog.fold import fold
from tests.builders import TODOS, evaluated, row, scan, source_key, table_of
from tests.integration.merge_world import ALL, BY_OWNER, MergeWorld, deploy_empty
from tests.integration.pipeline import op_ids
from tests.oracle import compare
from topologies import kafka
from topologies.replica import Replica

pytestmark = pytest.mark.stack


@pytest.fixture
def world(source: Any) -> Iterator[MergeWorld]:
    made = MergeWorld(source.settings)
    made.complete({TODOS: 0})
    yield made
    made.end()


class Main:
    """The stream main, played: random changes of 40 rows under one deployment's evaluators."""

    def __init__(self, world: MergeWorld, generation: int, seed: int = 1) -> None:
        self.evaluators = world.evaluators(generation)
        self.evaluation = world.evaluation(min(self.evaluators))
        self.rows: dict[str, dict[str, str]] = {}
        self.position = 0
        self._random = random.Random(seed)

    def batches(self, count: int, size: int = 20) -> list[Evaluated]:
        return [self._batch(size) for _ in range(count)]

    def _batch(self, size: int) -> Evaluated:
        self.position += 1
        changed: dict[str, Any] = {}
        for number in self._random.sample(range(40), size):
            key = source_key(f"k{number}")
            if self._random.random() < 0.2:
                self.rows.pop(key, None)
                changed[key] = None
            else:
                text = self._random.choice("abc")
                self.rows[key] = changed[key] = row(f"k{number}", f"u{self._random.randrange(4)}", text)
        return self.answer(changed)

    def huge(self, size: int) -> Evaluated:
        """One batch of new rows that no commit holds whole."""
        self.position += 1
        names = [f"huge{self.position}-{n}" for n in range(size)]
        changed: dict[str, Any] = {source_key(name): row(name, "u1") for name in names}
        self.rows |= changed
        return self.answer(changed)

    def answer(self, changed: dict[str, Any], **fields: Any) -> Evaluated:
        table = table_of(changed, self.evaluators)
        return evaluated(self.position, [table], evaluation=self.evaluation, **fields)

    def differences(self, world: MergeWorld) -> list[str]:
        return compare({TODOS: self.rows}, self.evaluators, world.folded(self.evaluators))


def test_a_first_deploy_then_changes(world: MergeWorld) -> None:
    world.start()
    generation = deploy_empty(world, BY_OWNER)
    main = Main(world, generation)
    world.feed(main.batches(30))
    commit = world.wait_position(30)
    assert main.differences(world) == []
    folded = world.folded(main.evaluators)
    (version,) = main.evaluators
    counted = next(v for v in commit["versions"] if v["version"] == version)
    assert counted["buckets"] == len(folded.of_version(version))
    assert counted["rows"] == sum(len(b.rows) for b in folded.of_version(version).values())
    assert counted["ops"] == len(world.ops(version))


def test_a_deploys_first_word_is_true(world: MergeWorld) -> None:
    """Its table has been complete all along, and the commit that answers the request does not say otherwise."""
    world.start()
    world.wait(lambda: world.catalog().number, "a merge")
    assert world.request_deploy(BY_OWNER).outcome == "accepted"
    commits = [c for c in world.commits() if c["waits"]]
    assert [w["reason"] for w in commits[0]["waits"]] == ["t1 is replaying"]


def test_checkpoints_go_on_while_a_large_config_is_parsed(world: MergeWorld) -> None:
    world.start()
    main = Main(world, deploy_empty(world, BY_OWNER))
    many = [f'  d{n}:\n    data: ["SELECT id, text FROM todos WHERE n = {n}"]\n' for n in range(400)]
    text = f"{BY_OWNER}{''.join(many)}"
    planned = world.planned(text)
    world.send("deploy", base=world.catalog().generation, config=text, path="f", planned=planned)
    world.feed(main.batches(1))
    world.wait(lambda: len(world.catalog().deployments) == 2, "an answer")
    asked = max(c["request_offset"] for c in world.commits())
    (first, *_) = [c for c in world.commits() if c["position"] == 1]
    assert first["exposed"]
    assert first["request_offset"] < asked, "a checkpoint before the answer"


@pytest.mark.parametrize("point", ["after_ops", "after_commit_record", "after_commit", "after_store"])
def test_killed_between_two_writes(world: MergeWorld, point: str) -> None:
    """Law 8: what was committed is kept, what was not is done again, and nothing twice."""
    first = world.start()
    generation = deploy_empty(world, BY_OWNER)
    main = Main(world, generation)
    world.feed(main.batches(5))
    world.wait_position(5)
    first.kill()
    first.wait()
    for skip in ("0", "1"):
        crashing = world.start(SYNCLINE_CRASH_POINT=f"merge.{point}", SYNCLINE_CRASH_SKIP=skip)

        def died(process: subprocess.Popen[bytes] = crashing) -> bool:
            world.feed(main.batches(1))
            return process.poll() is not None

        world.wait(died, "crash")
        assert crashing.wait() == -signal.SIGKILL
        world.feed(main.batches(5))
    world.start()
    world.wait_position(main.position)
    assert main.differences(world) == []
    (version,) = main.evaluators
    op_ids = [op["op_id"] for op in world.ops(version)]
    assert op_ids == sorted(set(op_ids))


def test_a_store_that_is_gone_is_made_again_from_the_op_logs(world: MergeWorld) -> None:
    """Trimmed requests take nothing away from it."""
    first = world.start()
    main = Main(world, deploy_empty(world, BY_OWNER))
    world.feed(main.batches(10))
    world.wait_position(10)
    first.send_signal(signal.SIGTERM)
    assert first.wait(10) == 0
    (folder,) = (world.settings.state / "merge").iterdir()
    for file in folder.iterdir():
        file.unlink()
    last = world.commit()
    assert last is not None and last["request_offset"] > 0
    answered = TopicPartition(world.topics.requests, 0, last["request_offset"])
    admin = kafka.admin(world.settings)  # must outlive its answers
    for trimmed in admin.delete_records([answered]).values():
        trimmed.result(30)
    world.start()
    world.feed(main.batches(10))
    world.wait_position(20)
    assert main.differences(world) == []
    assert world.ask("gc").outcome == "unchanged"


def test_a_zombie_is_fenced(world: MergeWorld) -> None:
    """Law 7: the one that was stopped wakes up beside its successor, and exits at its first write."""
    zombie = world.start()
    main = Main(world, deploy_empty(world, BY_OWNER))
    world.feed(main.batches(5))
    world.wait_position(5)
    zombie.send_signal(signal.SIGSTOP)
    world.start()
    world.feed(main.batches(5))
    world.wait_position(10)
    zombie.send_signal(signal.SIGCONT)
    world.feed(main.batches(5))
    assert zombie.wait(120) == 3
    world.wait_position(15)
    assert main.differences(world) == []


def test_a_deploy_replays_switches_and_is_taken_over(world: MergeWorld) -> None:
    """Laws 1, 2: the new version appears at one boundary with main, the unchanged one has not one op more."""
    world.start()
    main = Main(world, deploy_empty(world, BY_OWNER))
    world.feed(main.batches(10))
    world.wait_position(10)
    (old,) = main.evaluators
    ops_before = len(world.ops(old))

    text = BY_OWNER + ALL.removeprefix("bucket_definitions:\n")
    generation = world.request_deploy(text).generation
    (entry,) = world.catalog().tributaries
    assert entry.start == 10
    new = {v: e for v, e in world.evaluators(generation).items() if v in entry.versions}
    (number,) = new
    world.bound(generation, [ReplayEnd(TODOS, 0, 100), ReplayEnd(TODOS, 1, 0)])
    fields: dict[str, Any] = {"stream": entry.name, "evaluation": world.evaluation(number)}
    replayed = [table_of(dict(list(main.rows.items())[i::2]), new) for i in (0, 1)]
    world.feed([evaluated(0, [replayed[0]], replay=scan(0, 50), **fields)])
    world.feed([evaluated(0, [replayed[1]], replay=scan(50, 100, done=True), **fields)])
    world.ask("head", tributary=tributary_name(generation), head=10)
    world.wait(lambda: world.catalog().generation == generation, "switch")
    assert len(world.ops(old)) == ops_before
    both = {**main.evaluators, **new}
    assert compare({TODOS: main.rows}, both, world.folded(both)) == []

    main.evaluators = both  # main has seen the catalog and answers for both
    world.feed(main.batches(3))
    world.wait_position(13)
    assert world.catalog().tributaries == ()
    assert main.differences(world) == []
    topic = world.topics.evaluated(entry.name)
    world.wait(lambda: not kafka.topic_exists(world.settings, topic), "clean-up of the tributary's topic")


def test_an_unknown_request_and_a_stale_one(world: MergeWorld) -> None:
    world.start()
    deploy_empty(world, BY_OWNER)
    with pytest.raises(Exception, match="refused"):
        world.ask("dance")
    with pytest.raises(Exception, match="stale"):
        world.ask("deploy", base=0, config=BY_OWNER, planned="[]")
    assert world.request_deploy(BY_OWNER).outcome == "unchanged"


def test_a_replica_holds_what_the_checkpoints_expose(world: MergeWorld) -> None:
    """Rule V1: buckets and sums of a fresh replica, and of one killed meanwhile, are those of the op logs."""
    world.start()
    replica = world.start_replica()
    main = Main(world, deploy_empty(world, BY_OWNER))
    world.feed(main.batches(10))
    world.wait_position(10)
    replica.kill()
    replica.wait()
    world.feed(main.batches(10))
    commit = world.wait_position(20)
    (version,) = main.evaluators
    again = Replica(world.settings)

    def caught_up() -> bool:
        again.step()
        return again.store.exposed.commit >= commit["number"]

    world.wait(caught_up, "the replica at the checkpoint")
    view, folded = again.store.view(), world.folded([version])
    assert view.exposed.position == 20
    assert {n: s.rows for n, s in view.buckets(version) if s.rows} == {
        n: len(b.rows) for n, b in folded.of_version(version).items()
    }
    for name, bucket in folded.of_version(version).items():
        assert view.sums(version, name) == (bucket.checksum, bucket.count, len(bucket.rows), bucket.last_op)
        assert op_ids(view, version, name) == bucket.op_ids
    again.close()


def test_a_verify_aligns_beside_a_running_main(world: MergeWorld) -> None:
    world.start()
    main = Main(world, deploy_empty(world, BY_OWNER))
    world.feed(main.batches(10))
    world.wait_position(10)
    generation = world.ask("verify").generation
    (entry,) = world.catalog().tributaries
    copies = world.evaluators(generation)
    (original,) = main.evaluators
    fields: dict[str, Any] = {"stream": entry.name, "evaluation": world.evaluation(min(copies))}
    world.bound(generation, [ReplayEnd(TODOS, 0, 50)])
    world.feed([evaluated(0, [table_of(main.rows, copies)], replay=scan(0, 50, done=True), **fields)])
    world.ask("head", tributary=tributary_name(generation), head=10)

    def aligned() -> Any:
        verify = world.catalog().deployment(generation)
        return verify if verify is not None and verify.state == "aligned" else None

    (comparison,) = world.wait(aligned, "alignment").comparisons
    world.feed(main.batches(5))
    world.wait_position(15)
    kept = world.ops_until(comparison.original, comparison.original_offset)
    anew = world.ops_until(comparison.version, comparison.offset)
    assert comparison.original == original
    rows = {name: b.rows for name, b in fold(kept).of_version(comparison.original).items()}
    assert rows == {name: b.rows for name, b in fold(anew).of_version(comparison.version).items()}
    world.ask("drop", generation=generation)
    assert [v.version for v in world.catalog().versions] == [original]
    topic = world.topics.oplog(comparison.version)
    world.wait(lambda: not kafka.topic_exists(world.settings, topic), "clean-up of the throw-away op log")


@pytest.mark.parametrize("point", ["after_ops", "after_commit"])
def test_killed_between_chunks_then_compacted_a_fresh_replica_is_equal(world: MergeWorld, point: str) -> None:
    """Rules M2, M3, M4: a batch of more than one commit, torn by a kill; then MOVE and CLEAR, also torn."""
    first = world.start()
    main = Main(world, deploy_empty(world, BY_OWNER))
    world.feed(main.batches(30))
    world.wait_position(30)
    first.kill()
    first.wait()
    for skip in ("1", "0"):
        crashing = world.start(SYNCLINE_CRASH_POINT=f"merge.{point}", SYNCLINE_CRASH_SKIP=skip)
        world.feed([main.huge(25_000)])
        assert crashing.wait(120) == -signal.SIGKILL
    last = world.start()
    world.wait_position(main.position)
    (version,) = main.evaluators
    before = world.folded([version]).of_version(version)
    for process in (last, None):
        if process is not None:
            process.kill()
            process.wait()
            world.start()
        assert world.ask("compact").outcome == "accepted"
        world.wait(lambda: any(op["op"] == "CLEAR" for op in world.ops(version)), "compaction")
    after = world.folded([version]).of_version(version)
    assert sum(b.count for b in after.values()) < sum(b.count for b in before.values())
    world.feed(main.batches(3))
    world.wait_position(main.position)
    assert main.differences(world) == []

    replica = Replica(world.settings)
    commit = world.wait_position(main.position)

    steps = 0

    def caught_up() -> bool:
        nonlocal steps
        replica.step()
        steps += 1
        return replica.store.exposed.commit >= commit["number"]

    world.wait(caught_up, "a fresh replica at the checkpoint")
    assert steps > 2, "a node that fills its store looks in between whether it is to end"
    view = replica.store.view()
    for name, bucket in world.folded([version]).of_version(version).items():
        assert view.sums(version, name) == (bucket.checksum, bucket.count, len(bucket.rows), bucket.last_op)
    replica.close()


def test_a_lost_record_is_asked_for_and_taken_in_its_place(world: MergeWorld) -> None:
    """Rule M1, law 5."""
    world.start()
    main = Main(world, deploy_empty(world, BY_OWNER))
    records = main.batches(6)
    world.feed([*records[:2], *records[3:5]])
    world.wait(lambda: world.catalog().rewinds.get("main"), "a rewind")
    assert world.catalog().rewinds == {"main": 1}
    commit = world.commit()
    assert commit is not None
    (stream,) = commit["streams"]
    assert stream["position"] == stream["change_offset"] == 2
    world.feed(records[2:])
    world.wait_position(6)
    assert main.differences(world) == []
    assert world.catalog().rewinds == {"main": 1}


def test_what_a_crash_left_behind_is_deleted_at_the_next_start(world: MergeWorld) -> None:
    """Rule D7: topics of numbers that were given and are gone, and only of exactly this app."""
    app = world.settings.app
    left, others = [f"{app}.oplog.0", f"{app}.evaluated.t0"], f"{app}x.oplog.0"
    kafka.create_topics(world.settings, [kafka.TopicPlan(name, 1, {}) for name in (*left, others)])
    world.start()
    world.wait(lambda: not any(kafka.topic_exists(world.settings, name) for name in left), "clean-up")
    assert kafka.topic_exists(world.settings, others)
    assert kafka.topic_exists(world.settings, world.topics.evaluated("main"))
    admin = kafka.admin(world.settings)
    admin.delete_topics([others])[others].result(60)


def test_killed_again_and_again_while_an_overlay_is_laid(world: MergeWorld) -> None:
    """Rule D6: a stopped version gets 25,000 other rows, in several commits, each of them the last of its process."""
    first = world.start()
    main = Main(world, deploy_empty(world, BY_OWNER))
    (version,) = main.evaluators
    world.feed([main.huge(25_000)])
    main.position += 1
    world.feed([{**main.answer({}), "hung": [version]}])  # type: ignore[typeddict-item]
    world.wait(lambda: world.catalog().versions[0].stopped_at, "it stops")
    main.position += 1
    gone = list(main.rows)[:100]
    main.rows = {key: {**content, "text": "new"} for key, content in main.rows.items() if key not in gone}
    world.feed([evaluated(main.position)])
    world.wait_position(main.position)

    world.ask("resume", definition="mine")
    (entry,) = world.catalog().tributaries
    shadows = {entry.versions[0]: main.evaluators[version]}
    fields: dict[str, Any] = {"stream": entry.name, "evaluation": main.evaluation}
    world.ask("bounds", tributary=entry.name, ends=[{"table": TODOS, "partition": 0, "end": 50}])
    world.feed([evaluated(0, [table_of(main.rows, shadows)], replay=scan(0, 50, done=True), **fields)])
    world.wait(lambda: _rows_of(world, entry.versions[0]) == len(main.rows), "the replay is taken")
    first.kill()
    first.wait()
    world.send("head", tributary=entry.name, head=main.position)
    for _ in range(3):
        assert world.start(SYNCLINE_CRASH_POINT="merge.after_commit").wait(60) == -signal.SIGKILL
    world.start()
    world.wait(lambda: not world.catalog().versions[0].stopped_at, "it goes on")
    ops = world.ops(version)[25_000:]
    assert {kind: [op["op"] for op in ops].count(kind) for kind in ("PUT", "REMOVE")} == {"PUT": 24_900, "REMOVE": 100}
    assert main.differences(world) == []
    for _ in range(2):
        world.feed(main.batches(1))
    world.wait_position(main.position)
    assert world.catalog().tributaries == ()
    assert main.differences(world) == []


def _rows_of(world: MergeWorld, version: int) -> int:
    commit = world.commit()
    return next((v["rows"] for v in commit["versions"] if v["version"] == version), 0) if commit else 0
