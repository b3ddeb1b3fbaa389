"""A stream that evaluated wrongly, on real servers: `verify` names it, `--repair` mends just that (rule D6)."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.codec import Codec
from tests.integration.pipeline import Pipeline, eventually
from tests.integration.test_pipeline import versions
from tests.integration.world import CONFIG, deployed, expected
from tests.worlds import Source
from topologies import kafka
from topologies.schemas import Schemas

pytestmark = [pytest.mark.stack, pytest.mark.soak]


@pytest.fixture
def pipeline(source: Source, tmp_path: Path) -> Iterator[Pipeline]:
    with deployed(source, tmp_path, lists=5, todos=300) as made:
        yield made


def as_in_the_source(source: Source, pipeline: Pipeline) -> None:
    with source.connect() as connection:
        wanted = expected(connection, CONFIG)
    eventually(lambda: pipeline.buckets() == wanted, what="the rows of the source")


def forge(pipeline: Pipeline, version: int, outputs: dict[str, dict[str, Any]]) -> None:
    """The next record of main, before main writes its own: nothing of the batch but these rows of one version."""
    codec, topic = Codec(Schemas(pipeline.settings, patience=10)), pipeline.topics.evaluated("main")
    reader = kafka.consumer(pipeline.settings)
    try:
        message = kafka.last_record(reader, topic)
        batch = kafka.last_record(reader, pipeline.topics.changes)
    finally:
        reader.close()
    assert message is not None and batch is not None
    last, changes = codec.decode(message.value() or b""), codec.decode(batch.value() or b"")
    rows = [
        {"key": key, "outputs": [{"versions": [version], "bucket": "[]", "type": "todos", "hash": b"w" * 16, **row}]}
        for key, row in outputs.items()
    ]
    table = {"table": "public.todos", "versions": [version], "rows": rows, "empty": []}
    record = last | {
        "position": changes["position"],
        "change_offset": batch.offset(),
        "boundary": changes["boundary"],
        "committed_at": changes["committed_at"],
        "log_rows": changes["rows"],
        "attempt": "forged",
        "part": 0,
        "parts": 1,
        "replay": None,
        "tables": [table],
        "rejected": [],
    }
    writer = kafka.producer(pipeline.settings)
    writer.produce(topic, value=codec.encode("Evaluated", record))
    assert writer.flush(30) == 0


def test_what_was_evaluated_wrongly_is_found_and_mended(source: Source, pipeline: Pipeline) -> None:
    """A wrong row, a row that was missed, a delete that was missed; a lookup's rows are of another version."""
    eventually(lambda: not pipeline.catalog().tributaries, what="main takes over")
    version = versions(pipeline)["open_todos", "open_todos"]
    before = pipeline.status()["position"]
    (main,) = [w for w in pipeline.workers("stream") if "main" in w.cmdline()]
    main.send_signal(signal.SIGSTOP)
    source.sql("UPDATE todos SET title = 'right' WHERE id IN (1, 2); DELETE FROM todos WHERE id = 4")
    eventually(lambda: pipeline.status()["position"] == before + 1, what="the batch")
    forge(pipeline, version, {'["public.todos",1]': {"id": "1", "data": '{"id":1,"title":"wrong"}'}})
    eventually(lambda: pipeline.status()["checkpoint"] == before + 1, what="the forged record is taken")
    main.send_signal(signal.SIGCONT)

    found = pipeline.cli("verify", "--json")
    assert found.returncode == 1, found.stdout + found.stderr
    seen = json.loads(found.stdout)
    assert not seen["equal"]
    mine = {d["object_id"]: d for d in seen["differences"] if d["bucket"].startswith(f"{version}#")}
    assert mine.keys() == {"1", "2", "4"}
    assert {d["bucket"] for d in mine.values()} == {f"{version}#open_todos[]"}
    assert mine["1"]["live_data"] == '{"id":1,"title":"wrong"}'
    assert mine["1"]["rebuilt_data"] == '{"id":1,"title":"right"}'
    assert mine["4"]["live_data"] == '{"id":4,"title":"Todo 4"}'
    assert mine["4"]["rebuilt_data"] is None
    assert seen["different"] == len(seen["differences"]) == 2 * len(mine), "by_list has missed the batch too"

    written = {number: len(pipeline.ops(number)) for number in versions(pipeline).values()}
    mended = pipeline.ok("verify", "--repair", timeout=240)
    assert mended["repaired"] >= before + 1
    assert mended["left"] == 0, "all is compared once more"
    assert set(versions(pipeline).values()) == written.keys(), "the same buckets"
    ops = {number: [op for _, op in pipeline.ops(number)][count:] for number, count in written.items()}
    assert [(op["op"], op["object_id"]) for op in sorted(ops[version], key=lambda op: op["object_id"])] == [
        ("PUT", "1"),
        ("PUT", "2"),
        ("REMOVE", "4"),
    ]
    assert sum(map(len, ops.values())) == seen["different"], "just what differed"
    as_in_the_source(source, pipeline)
    source.sql("UPDATE todos SET title = 'later' WHERE id IN (1, 5); DELETE FROM todos WHERE id = 2")
    as_in_the_source(source, pipeline)
