"""A bad row on real servers: its definition alone stops, and goes on in the same buckets once it is mended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.pipeline import Pipeline, eventually, fold, prepared

pytestmark = pytest.mark.stack

CONFIG = """\
bucket_definitions:
  all:
    data:
      - SELECT id, tags FROM notes
  tagged:
    parameters: SELECT request.user_id() AS tag
    data:
      - SELECT id, tags FROM notes WHERE bucket.tag IN tags
"""
ROWS = 300


@pytest.fixture
def pipeline(source: Any, tmp_path: Path) -> Iterator[Pipeline]:
    """All workers running; `tagged` may have no row that cannot be evaluated."""
    with source.connect() as connection:
        connection.execute(
            "CREATE TABLE notes (id int PRIMARY KEY, tags text); ALTER TABLE notes REPLICA IDENTITY FULL"
        )
        connection.execute(
            "INSERT INTO notes SELECT n, '[\"t' || n %% 7 || '\"]' FROM generate_series(1, %s) n", (ROWS,)
        )
    file = source.settings.path
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"on_error": {"tagged": "stop"}}))
    with prepared(source.settings, tmp_path) as made:
        made.start()
        yield made


def tagged(pipeline: Pipeline) -> Any:
    (found,) = [d for d in pipeline.status()["definitions"] if d["name"] == "tagged"]
    (part,) = [p for p in found["parts"] if p["kind"] == "bucket"]
    return part


def test_a_definition_stops_alone_and_is_resumed(source: Any, pipeline: Pipeline) -> None:
    pipeline.deploy(CONFIG)
    version = tagged(pipeline)["version"]
    frozen = fold([op for _, op in pipeline.ops(version)])
    assert sum(len(rows) for rows in frozen.values()) == ROWS
    with source.connect() as connection:
        connection.execute("UPDATE notes SET tags = 'torn' WHERE id = 5")
    part = eventually(lambda: tagged(pipeline) if tagged(pipeline)["stopped"] else None, what="it stops")
    assert "on_error is stop" in part["stopped"]["because"]
    with source.connect() as connection:
        connection.execute("UPDATE notes SET tags = '[\"t9\"]' WHERE id IN (1, 2)")
        connection.execute("DELETE FROM notes WHERE id = 3")
    eventually(lambda: len(pipeline.buckets()["all", "[]"]) == ROWS - 1, what="the others go on")
    assert fold([op for _, op in pipeline.ops(version)]) == frozen
    refused = pipeline.cli("resume", "tagged")
    assert refused.returncode == 1
    assert "it stays as it was" in refused.stderr
    with source.connect() as connection:
        connection.execute("UPDATE notes SET tags = '[\"t5\"]' WHERE id = 5")
    before = len(pipeline.ops(version))

    assert pipeline.ok("resume", "tagged")["outcome"] == "accepted"
    assert tagged(pipeline)["stopped"] is None
    assert tagged(pipeline)["version"] == version
    ops = [op for _, op in pipeline.ops(version)][before:]
    assert {op["object_id"] for op in ops} == {"1", "2", "3"}, "row 5 is again what it was"
    with source.connect() as connection:
        connection.execute("INSERT INTO notes VALUES (1000, '[\"t0\"]')")
    eventually(lambda: ("notes", "1000") in pipeline.buckets()["tagged", '["t0"]'], what="it goes on")
    eventually(lambda: not pipeline.catalog().tributaries, what="main takes over")
    with source.connect() as connection:
        connection.execute("INSERT INTO notes VALUES (1001, '[\"t0\"]')")
    eventually(lambda: ("notes", "1001") in pipeline.buckets()["tagged", '["t0"]'], what="main delivers it")
    assert pipeline.ok("verify")["equal"]

    other = CONFIG.replace("bucket_definitions", "config:\n  edition: 2\nbucket_definitions")
    written = len(pipeline.ops(version))
    parts = pipeline.deploy(other)["parts"]
    assert version in {part["version"] for part in parts}, "the same buckets"
    assert len(pipeline.ops(version)) == written, "no row comes out otherwise"
    with source.connect() as connection:
        connection.execute("INSERT INTO notes VALUES (1002, '[\"t0\"]')")
    eventually(lambda: ("notes", "1002") in pipeline.buckets()["tagged", '["t0"]'], what="it goes on")
