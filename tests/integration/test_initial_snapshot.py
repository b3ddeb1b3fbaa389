"""The first deploy while Debezium still reads the tables: exposed only when all of them is there (rule D3)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.deploy.capture import publication
from connector.deploy.connector import fresh
from tests.integration.pipeline import Buckets, Pipeline, at_each_checkpoint, eventually, prepared
from tests.integration.sequencing import Output, connect_call, sequencer
from tests.integration.test_pipeline import versions
from tests.integration.world import CONFIG, expected, furnish
from tests.worlds import Source
from topologies.database import publish

pytestmark = pytest.mark.stack
LISTS, TODOS = 40, 60_000
NAMES = ["public.lists", "public.todos", "public.mark_a", "public.mark_b", "public.mark_c"]
LATER = {"snapshot.delay.ms": "3600000"}  # the deploy is asked for before the first row; then the task begins anew


@pytest.fixture
def pipeline(source: Source, tmp_path: Path) -> Iterator[Pipeline]:
    """A prepared source whose snapshot is still to come, and all workers but the sequencer."""
    furnish(source, LISTS, TODOS)
    config = fresh(source.settings, NAMES, partitions=4) | LATER
    publish(source.settings, publication(config), NAMES)
    connect_call(source.settings, "PUT", "/config", json=config)
    with prepared(source.settings, tmp_path) as made:
        made.start(only="stream,merge")
        yield made


def first_shown(pipeline: Pipeline) -> Buckets:
    """The buckets at the first checkpoint that the deployment was exposed at."""
    shown: Buckets = {}
    for (definition, part), version in versions(pipeline).items():
        if part == definition:
            _, buckets = next(at_each_checkpoint(pipeline, version))
            shown |= {(definition, bucket): rows for bucket, rows in buckets.items()}
    return shown


def test_first_deploy_during_the_initial_snapshot(source: Source, pipeline: Pipeline) -> None:
    """Asked for before the sequencer's first start, so the catalog is there before any position (rule S2)."""
    file = pipeline.folder / "sync-config.yaml"
    file.write_text(CONFIG)
    asked = pipeline.cli("deploy", str(file), "--no-wait")
    assert asked.returncode == 0, asked.stdout + asked.stderr
    now = connect_call(source.settings, "GET", "/config")
    del now["snapshot.delay.ms"]
    connect_call(source.settings, "PUT", "/config", json=now)
    with sequencer(source.settings) as process:
        assert not snapshot_done(source), "the snapshot was over before the deploy: the test proves nothing"
        eventually(lambda: pipeline.catalog().active, what="the switch")
        assert process.code is None, process.said()
        assert snapshot_done(source)
        with source.connect() as connection:
            wanted = expected(connection, CONFIG)
        shown = first_shown(pipeline)
        assert {bucket: len(rows) for bucket, rows in shown.items()} == {b: len(rows) for b, rows in wanted.items()}
        assert shown == wanted
        tables = Output(source.settings).progress()["state"]["tables"]
        assert all(table["complete"] for table in tables.values())


def snapshot_done(source: Source) -> bool:
    """Whether Connect has committed an offset that is past the initial snapshot."""
    found = connect_call(source.settings, "GET", "/offsets")["offsets"]
    return bool(found) and not found[0]["offset"].get("snapshot")
