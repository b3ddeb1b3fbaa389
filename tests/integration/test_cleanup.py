"""What is left behind by deploys, and what goes on from a trimmed change log, on real servers (rules D7, M5, S2)."""

from __future__ import annotations

import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from connector.store.rocks import open_store
from tests.integration.pipeline import WORKERS, Pipeline, eventually, prepared
from tests.integration.test_pipeline import CONFIG, LISTS, TODOS, settled
from tests.integration.world import CHANGED, CHANGED_AGAIN, Writer, furnish
from topologies import kafka
from topologies.changelog import change_log_bytes

pytestmark = pytest.mark.stack
VERSION = struct.Struct(">I")  # after the byte that tells the kind of an entry
SWAYING = 4  # a leak of one a deploy shows in the long run
EXTRA = "  extra:\n    data:\n      - SELECT id, {number} AS n FROM lists\n"


@pytest.fixture
def pipeline(source: Any, tmp_path: Path) -> Iterator[Pipeline]:
    """All workers running, on a source with rows; what is removed is kept for a second."""
    furnish(source, LISTS, TODOS)
    with source.settings.path.open("a") as settings:
        settings.write("retain_removed: 1\n")
    with prepared(source.settings, tmp_path) as made:
        made.start()
        yield made


def log_range(pipeline: Pipeline) -> tuple[int, int]:
    reader = kafka.consumer(pipeline.settings)
    try:
        return kafka.watermarks(reader, pipeline.topics.changes)
    finally:
        reader.close()


def killed(pipeline: Pipeline) -> None:
    for module in WORKERS:
        assert eventually(lambda module=module: pipeline.send(module, signal.SIGKILL), what=f"{module} runs")


@pytest.mark.parametrize("deploys", [5, pytest.param(100, marks=pytest.mark.soak)])
def test_many_deploys_leave_nothing_behind(source: Any, pipeline: Pipeline, deploys: int) -> None:
    """Rules D7, M5: topics, groups, threads and open files are those after two; the stores hold nothing of versions
    that are gone, the change log no more than its head. Everything goes on from that (rule S2)."""
    configs = [CONFIG + EXTRA.format(number=number) for number in range(deploys)]
    for config in configs[:2]:
        pipeline.deploy(config)
    before = clean(pipeline)
    for config in configs[2:]:
        pipeline.deploy(config)
    clean(pipeline)
    eventually(lambda: grown(before, held(pipeline)) == [], what="as much as after two")
    eventually(lambda: 0 < log_range(pipeline)[1] - log_range(pipeline)[0] < 10, what="only the head is left")
    assert log_range(pipeline)[0] > 0
    assert 0 < change_log_bytes(pipeline.settings) < 2 * 1024 * 1024, "a batch or two"
    position = pipeline.status()["position"]
    assert position > 0
    killed(pipeline)
    with source.connect() as connection:
        connection.execute("UPDATE mark_a SET value = 7; UPDATE mark_b SET value = 7; UPDATE mark_c SET value = 7")
    eventually(lambda: pipeline.status()["checkpoint"] > position, what="a checkpoint after the head")
    pipeline.deploy(CHANGED)
    settled(source, pipeline, CHANGED)
    clean(pipeline)
    known = {v.version for v in pipeline.catalog().versions}
    assert pipeline.stop() == 0
    app = pipeline.settings.app
    for folder in ("merge", "buckets"):
        for store in (pipeline.settings.state / folder).glob(f"{app}*"):
            assert versions_in(store) <= known


@pytest.mark.soak
def test_everything_goes_on_from_a_change_log_trimmed_under_load(source: Any, pipeline: Pipeline) -> None:
    """Rule M5: nothing that a restarted worker or a replay needs is trimmed."""
    pipeline.deploy(CONFIG)
    writer = Writer(source.settings.postgres, seed=3)
    writer.start()
    try:
        for config in (CHANGED, CHANGED_AGAIN, CHANGED):
            first = log_range(pipeline)[0]
            eventually(lambda first=first: log_range(pipeline)[0] > first, what="the change log is trimmed")
            killed(pipeline)
            pipeline.deploy(config)
    finally:
        writer.finish()
    settled(source, pipeline, CHANGED)


def clean(pipeline: Pipeline) -> dict[str, int]:
    """What is held once nothing is retained any more."""
    eventually(lambda: {v.state for v in pipeline.catalog().versions} == {"exposed"}, what="nothing is retained")
    assert pipeline.ok("gc")["versions"] == []
    return held(pipeline)


def held(pipeline: Pipeline) -> dict[str, int]:
    """Topics, groups, and each worker's threads and open files."""
    admin, app = kafka.admin(pipeline.settings), f"{pipeline.settings.app}."
    groups = admin.list_consumer_groups(request_timeout=60).result().valid
    found = {
        "topics": sum(name.startswith(app) for name in admin.list_topics(timeout=60).topics),
        "groups": sum(group.group_id.startswith(app) for group in groups),
    }
    for module in WORKERS:
        steady = [p for p in pipeline.workers(module) if module != "stream" or "main" in p.cmdline()]
        found[f"processes of {module}"] = len(steady)
        found[f"threads of {module}"] = sum(process.num_threads() for process in steady)
        found[f"files of {module}"] = sum(process.num_fds() for process in steady)
    return found


def grown(before: dict[str, int], now: dict[str, int]) -> list[str]:
    """What there is more of; of files and threads a few are let pass: stores, connections and pools come and go."""
    allowed = {name: then + SWAYING * name.startswith(("files", "threads")) for name, then in before.items()}
    return [f"{name}: {before[name]} then, {count} now" for name, count in now.items() if count > allowed[name]]


def versions_in(folder: Path) -> set[int]:
    """The versions that a store has any entry of; nobody else has it open."""
    store = open_store(folder)
    try:
        return {VERSION.unpack_from(cast(bytes, key), 1)[0] for key, _ in store.items() if len(cast(bytes, key)) > 4}
    finally:
        store.close()
