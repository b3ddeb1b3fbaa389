"""What is left behind by deploys, and what goes on from a trimmed change log, on real servers (rules D7, M5, S2)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.pipeline import Pipeline, eventually
from tests.integration.test_pipeline import CONFIG, LISTS, TODOS, settled
from tests.integration.world import CHANGED, CHANGED_AGAIN, TABLES, Writer, fill
from topologies import kafka

pytestmark = pytest.mark.stack
EXTRA = "  extra:\n    data:\n      - SELECT id, {number} AS n FROM lists\n"


@pytest.fixture
def pipeline(source: Any, tmp_path: Path) -> Iterator[Pipeline]:
    """All workers running, on a source with rows; what is removed is kept for a second."""
    with source.connect() as connection:
        connection.execute(TABLES)
        fill(connection, LISTS, TODOS)
    with source.settings.path.open("a") as settings:
        settings.write("retain_removed: 1\n")
    pipeline = Pipeline(source.settings, tmp_path)
    done = pipeline.cli("init")
    assert done.returncode == 0, done.stdout + done.stderr
    pipeline.start()
    try:
        yield pipeline
    finally:
        pipeline.end()


def log_range(pipeline: Pipeline) -> tuple[int, int]:
    reader = kafka.consumer(pipeline.settings)
    try:
        return kafka.watermarks(reader, pipeline.topics.changes)
    finally:
        reader.close()


def test_everything_goes_on_from_a_trimmed_change_log(source: Any, pipeline: Pipeline) -> None:
    """Rules M5, S2: after every worker was killed, and with a replay that begins in what is left."""
    pipeline.deploy(CONFIG)
    writer = Writer(source.settings.postgres, seed=3)
    writer.start()
    try:
        eventually(lambda: log_range(pipeline)[0] > 0, what="the change log is trimmed")
        for module in ("sequence", "stream", "merge", "replica"):
            assert pipeline.send(module, signal.SIGKILL)
        first = log_range(pipeline)[0]
        eventually(lambda: log_range(pipeline)[0] > first, what="it is trimmed again")
        pipeline.deploy(CHANGED)
    finally:
        writer.finish()
    settled(source, pipeline, CHANGED)
    eventually(lambda: log_range(pipeline)[1] - log_range(pipeline)[0] < 10, what="no more than the head is left")
    assert pipeline.status()["position"] > 1
    for module in ("sequence", "stream", "merge", "replica"):
        assert pipeline.send(module, signal.SIGKILL)
    with source.connect() as connection:
        connection.execute("UPDATE mark_a SET value = -1; UPDATE mark_b SET value = -1; UPDATE mark_c SET value = -1")
    settled(source, pipeline, CHANGED)
    pipeline.deploy(CHANGED_AGAIN)
    settled(source, pipeline, CHANGED_AGAIN)


def held(pipeline: Pipeline) -> dict[str, Any]:
    """Topics, groups, and each worker's threads and open files."""
    admin = kafka.admin(pipeline.settings)
    app = pipeline.settings.app
    groups = admin.list_consumer_groups(request_timeout=5).result().valid
    workers = {}
    for module in ("sequence", "stream", "merge", "replica"):
        processes: list[psutil.Process] = pipeline.workers(module)
        workers[module] = [(p.num_threads(), p.num_fds()) for p in processes]
    return {
        "topics": sum(name.startswith(f"{app}.") for name in admin.list_topics(timeout=10).topics),
        "groups": sum(group.group_id.startswith(f"{app}.") for group in groups),
        "workers": workers,
    }


def store_bytes(pipeline: Pipeline) -> int:
    return sum(file.stat().st_size for file in pipeline.settings.state.rglob("*") if file.is_file())


@pytest.mark.parametrize("deploys", [8, pytest.param(100, marks=pytest.mark.soak)])
def test_many_deploys_leave_nothing_behind(pipeline: Pipeline, deploys: int) -> None:
    """Rule D7: of topics, groups, threads, open files and stored bytes there are no more than after two."""
    for number in range(2):
        pipeline.deploy(CONFIG + EXTRA.format(number=number))
    before, stored = clean(pipeline, []), store_bytes(pipeline)
    for number in range(2, deploys):
        pipeline.deploy(CONFIG + EXTRA.format(number=number))
    after = clean(pipeline, [before])
    print(before, stored, after, store_bytes(pipeline))
    assert 0


def clean(pipeline: Pipeline, wanted: list[Any]) -> dict[str, Any]:
    """What is held once nothing is retained any more."""
    eventually(lambda: {v.state for v in pipeline.catalog().versions} == {"exposed"}, what="nothing is retained")
    assert pipeline.ok("gc")["versions"] == []
    return held(pipeline)
