"""The whole way on real servers: laws 1 to 9 under a running writer, with deploys and with workers killed."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.pipeline import Pipeline, at_each_checkpoint, eventually, prepared
from tests.integration.world import CHANGED, CHANGED_AGAIN, CONFIG, Writer, expected, furnish

pytestmark = pytest.mark.stack
LISTS, TODOS = 40, 3000
EXTRA = "  extra:\n    data:\n      - SELECT id, {column} FROM todos\n"
ALL = ("sequence", "stream", "merge")
VICTIMS = [ALL, *(pytest.param((one,), marks=pytest.mark.soak) for one in ALL)]


@pytest.fixture
def still(source: Any, tmp_path: Path) -> Iterator[Pipeline]:
    """A source with rows; no worker runs yet."""
    furnish(source, LISTS, TODOS)
    with prepared(source.settings, tmp_path) as made:
        yield made


@pytest.fixture
def pipeline(still: Pipeline) -> Pipeline:
    """All workers running."""
    still.start()
    return still


@pytest.fixture
def writer(source: Any, pipeline: Pipeline) -> Iterator[Writer]:
    """Commits all the while; stopped at the latest when the test ends."""
    writer = Writer(source.settings.postgres, seed=7)
    writer.start()
    try:
        yield writer
    finally:
        writer.finish()


def settled(source: Any, pipeline: Pipeline, config: str) -> None:
    """The buckets equal the oracle's, once the source is quiet."""
    with source.connect() as connection:
        wanted = expected(connection, config)
    eventually(lambda: _marks(pipeline) == _marks_of(wanted), what="the last transaction is in a checkpoint")
    found = pipeline.buckets()
    assert found.keys() == wanted.keys()
    for bucket, rows in wanted.items():
        assert found[bucket] == rows, bucket


def _marks(pipeline: Pipeline) -> Any:
    return pipeline.buckets().get(("marks", "[]"))


def _marks_of(wanted: Any) -> Any:
    return wanted[("marks", "[]")]


def versions(pipeline: Pipeline) -> dict[tuple[str, str], int]:
    """(definition, part) → version, of the active deployment."""
    active = pipeline.catalog().active
    assert active is not None
    return {(d.name, p.label): p.version for d in active.definitions for p in d.parts}


def test_first_deploy_gives_every_row(source: Any, pipeline: Pipeline) -> None:
    """Law 9, straight from Postgres."""
    done = pipeline.deploy(CONFIG)
    assert done["deployment"]["state"] == "active"
    settled(source, pipeline, CONFIG)


def test_no_checkpoint_shows_a_split_transaction(source: Any, pipeline: Pipeline, writer: Writer) -> None:
    """Laws 2 and 5: the three marks are one value in every checkpoint."""
    pipeline.deploy(CONFIG)
    version = versions(pipeline)[("marks", "marks")]
    eventually(lambda: len(set(marks_seen(pipeline, version))) > 20, what="20 checkpoints with other marks")
    writer.finish()
    seen = marks_seen(pipeline, version)
    assert seen == sorted(seen)


def marks_seen(pipeline: Pipeline, version: int) -> list[int]:
    """The one value of the three marks at each checkpoint that shows any."""
    seen: list[int] = []
    for checkpoint, buckets in at_each_checkpoint(pipeline, version):
        values = {row["value"] for row in buckets.get("[]", {}).values()}
        assert len(values) <= 1, f"checkpoint {checkpoint['number']} shows the marks at {values}"
        seen.extend(values)
    return seen


def test_deploy_touches_nothing_that_did_not_change(source: Any, pipeline: Pipeline, writer: Writer) -> None:
    """Laws 1, 2, 3, 9: one definition of three changed under a writer."""
    pipeline.deploy(CONFIG)
    before = versions(pipeline)
    number = pipeline.checkpoints()[-1]["number"]
    done = pipeline.deploy(CHANGED)
    after = versions(pipeline)
    assert {part for part in before if before[part] != after[part]} == {("open_todos", "open_todos")}
    assert done["deployment"]["generation"] == 2
    time.sleep(1)
    writer.finish()
    settled(source, pipeline, CHANGED)
    for part, version in before.items():
        if after[part] == version:
            assert idle_ops(pipeline, version, number) == [], f"{part} got ops without a change"


def idle_ops(pipeline: Pipeline, version: int, since: int) -> list[Any]:
    """Ops written after commit `since` that change nothing in their row (law 4)."""
    rows: dict[Any, Any] = {}
    idle = []
    for _, op in pipeline.ops(version):
        identity = (op["bucket"], op["object_type"], op["object_id"], op["subkey"])
        content = op["data"] if op["op"] == "PUT" else None
        if rows.get(identity) == content and op["op_id"] >> 20 > since:
            idle.append(op)
        rows[identity] = content
    return idle


def test_two_deploys_in_a_row(source: Any, pipeline: Pipeline, writer: Writer) -> None:
    """Versions rise and are never reused; the last definition set is what buckets show."""
    pipeline.deploy(CONFIG)
    first = versions(pipeline)
    pipeline.deploy(CHANGED)
    second = versions(pipeline)
    pipeline.deploy(CHANGED_AGAIN)
    third = versions(pipeline)
    changed = ("open_todos", "open_todos")
    assert max(first.values()) < second[changed] < third[changed]
    writer.finish()
    settled(source, pipeline, CHANGED_AGAIN)
    verified = pipeline.ok("verify")
    assert verified["equal"] is True
    assert verified["buckets"] > LISTS


def test_rollback_is_instant_and_a_cancel_costs_nothing(source: Any, pipeline: Pipeline, writer: Writer) -> None:
    """A retained version was evaluated all the while, so it comes back at main's position without a replay."""
    pipeline.deploy(CONFIG)
    first = versions(pipeline)
    pipeline.deploy(CHANGED)
    assert versions(pipeline) != first
    rolled = pipeline.ok("rollback")
    assert (rolled["deployment"]["state"], rolled["replay"]["rows"]) == ("active", 0)
    assert versions(pipeline) == first
    (pipeline.folder / "again.yaml").write_text(CHANGED_AGAIN)
    pipeline.freeze_at("replay.after_bounds")
    pending = pipeline.ok("deploy", str(pipeline.folder / "again.yaml"), "--no-wait")
    pipeline.await_frozen()
    assert pipeline.ok("cancel")["outcome"] == "accepted"
    pipeline.send("stream", signal.SIGCONT)
    states = {one["generation"]: one["state"] for one in pipeline.ok("history")["deployments"]}
    assert states[rolled["deployment"]["generation"]] == "active"
    assert "cancelled" in states.values(), pending
    assert versions(pipeline) == first
    gone = pipeline.ok("gc")
    assert [(v["definition"], pipeline.topics.oplog(v["version"]) in gone["topics"]) for v in gone["versions"]] == [
        ("open_todos", True)
    ]
    assert gone["deployments"] == [2], "the first one's parts are the active ones"
    writer.finish()
    settled(source, pipeline, CONFIG)
    assert pipeline.ok("verify")["equal"] is True


def test_a_deploy_adopts_what_the_pending_one_replays(source: Any, pipeline: Pipeline) -> None:
    """Rule D2: the replay that both want goes on, frozen meanwhile; the other one is given up; only the rest is new."""
    pipeline.deploy(CONFIG)
    pipeline.freeze_at("replay.after_bounds")
    first, second = (pipeline.folder / name for name in ("first.yaml", "second.yaml"))
    first.write_text(CHANGED + EXTRA.format(column="title"))
    second.write_text(CHANGED + EXTRA.format(column="score"))
    earlier = str(pipeline.folder / "plan.json")
    assert pipeline.cli("plan", str(second), "--out", earlier).returncode == 2
    assert pipeline.cli("deploy", str(first), "--no-wait").returncode == 0
    pipeline.await_frozen()
    unseen = pipeline.cli("deploy", earlier, "--no-wait")
    assert unseen.returncode == 1
    assert "planned while no deploy was pending, now generation 2 is pending" in unseen.stderr
    plan = json.loads(pipeline.cli("plan", str(second), "--json").stdout)
    changes = {part["definition"]: part["change"] for part in plan["parts"] if part["change"] != "removed"}
    assert (plan["supersedes"], changes["open_todos"], changes["extra"]) == (2, "adopted", "new")
    assert plan["replay"]["adopted_rows"] == pytest.approx(TODOS, rel=0.1), "nothing of it is taken yet"
    assert pipeline.cli("deploy", str(second), "--no-wait").returncode == 0
    adopted = eventually(lambda: [t for t in pipeline.catalog().tributaries if t.generation == 3], what="the adoption")
    assert {t.name: len(t.versions) for t in adopted} == {"t2": 1, "t3": 1}
    pipeline.send("stream", signal.SIGCONT)
    eventually(lambda: pipeline.status()["deployment"]["generation"] == 3, within=90, what="the switch")
    assert {d.generation: d.state for d in pipeline.catalog().deployments}[2] == "dropped"
    assert pipeline.ok("verify")["equal"] is True
    pipeline.deploy(CHANGED)
    settled(source, pipeline, CHANGED)


def test_same_config_again_writes_nothing(source: Any, pipeline: Pipeline) -> None:
    """Law 1: comments and whitespace are no change, and `plan` says so before and after."""
    pipeline.deploy(CONFIG)
    before = versions(pipeline)
    ends = pipeline.checkpoints()[-1]["versions"]
    again = pipeline.folder / "again.yaml"
    again.write_text(CONFIG.replace("SELECT id, title", "select  id,  title") + "# a comment\n")
    assert pipeline.cli("plan", str(again)).returncode == 0
    pipeline.ok("deploy", str(again))
    assert pipeline.cli("plan", str(again)).returncode == 0
    assert versions(pipeline) == before
    now = {v["version"]: v["ops"] for v in pipeline.checkpoints()[-1]["versions"]}
    assert {v["version"]: v["ops"] for v in ends} == now


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 12))])
def test_workers_killed_at_random(source: Any, pipeline: Pipeline, writer: Writer, seed: int) -> None:
    """Law 8: kill -9 of any worker at any moment changes nothing but time."""
    chance = random.Random(seed)
    pipeline.deploy(CONFIG)
    for _ in range(8):
        victim = chance.choice(("sequence", "stream", "merge", "serve"))
        eventually(lambda victim=victim: pipeline.send(victim, signal.SIGKILL), what=f"{victim} runs")
        time.sleep(chance.uniform(0.1, 1.5))
    writer.finish()
    settled(source, pipeline, CONFIG)
    for version in versions(pipeline).values():
        assert idle_ops(pipeline, version, 0) == []


@pytest.mark.parametrize("victims", VICTIMS, ids=" ".join)
def test_workers_killed_during_a_deploy(
    source: Any, pipeline: Pipeline, writer: Writer, victims: tuple[str, ...]
) -> None:
    """Laws 8 and 9 while a replay, a switch and a take-over are under way."""
    pipeline.deploy(CONFIG)
    file = pipeline.folder / "changed.yaml"
    file.write_text(CHANGED)
    assert pipeline.cli("deploy", str(file), "--no-wait").returncode == 0
    for victim in victims * (2 if len(victims) == 1 else 1):
        time.sleep(0.3)
        eventually(lambda victim=victim: pipeline.send(victim, signal.SIGKILL), what=f"{victim} runs")
    eventually(lambda: pipeline.status()["deployment"]["generation"] == 2, what="the switch")
    writer.finish()
    settled(source, pipeline, CHANGED)


@pytest.mark.parametrize("victims", VICTIMS, ids=" ".join)
def test_workers_asleep_wake_late(source: Any, pipeline: Pipeline, writer: Writer, victims: tuple[str, ...]) -> None:
    """Laws 7 and 8: SIGSTOP past the session and transaction time-outs, then SIGCONT."""
    pipeline.deploy(CONFIG)
    for victim in victims:
        assert pipeline.send(victim, signal.SIGSTOP)
    time.sleep(15)
    for victim in victims:
        assert pipeline.send(victim, signal.SIGCONT)
    writer.finish()
    settled(source, pipeline, CONFIG)


def test_truncate_key_change_and_delete(source: Any, pipeline: Pipeline) -> None:
    """The traps that change whole tables or identities, one after another."""
    pipeline.deploy(CONFIG)
    with source.connect() as connection:
        connection.execute("UPDATE todos SET id = id + 1000000 WHERE id % 10 = 0")
        connection.execute("DELETE FROM todos WHERE id % 10 = 1")
        connection.execute("UPDATE mark_a SET value = 1; UPDATE mark_b SET value = 1; UPDATE mark_c SET value = 1")
    settled(source, pipeline, CONFIG)
    with source.connect() as connection, connection.transaction():
        connection.execute("INSERT INTO todos VALUES (77000001, 'l1', 'before', false, 1, null)")
        connection.execute("TRUNCATE todos")
        connection.execute("INSERT INTO todos VALUES (77000002, 'l1', 'after', false, 1, null)")
        connection.execute("UPDATE mark_a SET value = 2; UPDATE mark_b SET value = 2; UPDATE mark_c SET value = 2")
    settled(source, pipeline, CONFIG)
    pipeline.deploy(CHANGED)
    settled(source, pipeline, CHANGED)


def test_deploy_before_the_first_batch(source: Any, still: Pipeline) -> None:
    """Rule S2: a catalog that names no position yet does not keep the sequencer from its first start."""
    file = still.folder / "early.yaml"
    file.write_text(CONFIG)
    still.start("merge,stream")
    eventually(lambda: still.cli("deploy", str(file), "--no-wait").returncode == 0, what="the deploy is accepted")
    eventually(lambda: still.catalog().tributaries[0].bounded, what="its replay has begun")
    assert still.stop() == 0
    still.start()
    settled(source, still, CONFIG)


def test_sigterm_ends_within_ten_seconds(pipeline: Pipeline) -> None:
    pipeline.deploy(CONFIG)
    started = time.monotonic()
    assert pipeline.stop() == 0
    assert time.monotonic() - started < 10


def test_a_plan_is_carried_out_as_it_was_made_or_refused(pipeline: Pipeline) -> None:
    """And the same config again writes nothing but the answer."""
    pipeline.deploy(CONFIG)
    config, plan = pipeline.folder / "sync-config.yaml", pipeline.folder / "plan.json"
    config.write_text(CHANGED)
    made = pipeline.cli("plan", str(config), "--out", str(plan))
    assert made.returncode == 2, made.stderr
    config.write_text("edited since: and not in the plan")
    done = pipeline.cli("deploy", str(plan), "--max-rate", "1000")
    assert done.returncode == 0, done.stderr
    eventually(lambda: not pipeline.catalog().tributaries, what="the take-over")
    active = pipeline.catalog()
    assert active.active is not None and active.active.config == CHANGED
    assert active.active.replayed_rows / active.active.replay_ms < 2, "slower than 2,000 rows/s"
    refused = pipeline.cli("deploy", str(plan))
    assert refused.returncode == 1 and "planned against generation 1, active is 2 now" in refused.stderr
    again = pipeline.deploy(CHANGED)
    assert again["deployment"]["generation"] == 2 and again["happened"]["rows"] == 0
    assert pipeline.catalog() == active
    print(made.stdout, done.stdout, done.stderr, refused.stderr, json.dumps(again))
