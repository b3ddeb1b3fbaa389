"""A deploy that needs a table which the connector does not capture yet (rules D3, S6)."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connector.deploy.connector import signal_topic
from tests.integration.pipeline import Pipeline, at_each_checkpoint, eventually
from tests.integration.sequencing import connect_call
from tests.integration.test_pipeline import versions
from tests.integration.world import CONFIG, deployed, expected
from tests.worlds import Source
from topologies import kafka

pytestmark = pytest.mark.stack
ROWS = 20_000  # as ANALYZE counts them; an autovacuum in between would estimate
NOTES = f"""
CREATE TABLE notes (id bigint PRIMARY KEY, body varchar(40), n int NOT NULL) WITH (autovacuum_enabled = false);
ALTER TABLE notes REPLICA IDENTITY FULL;
INSERT INTO notes SELECT g, 'note ' || g, 0 FROM generate_series(1, {ROWS}) g;
ANALYZE notes
"""
WANTED = CONFIG + "  notes:\n    data:\n      - SELECT id, body, n FROM notes\n"
STEPS = ("deploy.after_topics", "deploy.after_list", "deploy.after_publication")
IN_FLIGHT = 900_000

Deploying = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def pipeline(source: Source, tmp_path: Path) -> Iterator[Pipeline]:
    """Everything but the notes is deployed."""
    with deployed(source, tmp_path, lists=5, todos=50) as made:
        yield made


class NotesWriter(threading.Thread):
    """Changes notes all the while, a few of many and new ones."""

    def __init__(self, source: Source) -> None:
        super().__init__(daemon=True)
        self._source = source
        self._random = random.Random(11)
        self._end = threading.Event()

    def run(self) -> None:
        with self._source.connect(autocommit=True) as connection:
            while not self._end.wait(0.02):
                self._change(connection)

    def finish(self) -> None:
        self._end.set()
        self.join(20)

    def _change(self, connection: psycopg.Connection[Any]) -> None:
        row = self._random.randrange(1, ROWS + 500)
        match self._random.randrange(4):
            case 0:
                connection.execute("DELETE FROM notes WHERE id = %s", (row,))
            case 1:
                connection.execute(
                    "INSERT INTO notes VALUES (%s, 'new', 1) ON CONFLICT (id) DO UPDATE SET n = notes.n + 1", (row,)
                )
            case 2:
                other = self._random.randrange(1_000_000, 1_000_000_000)
                connection.execute("UPDATE notes SET id = %s, n = n + 1 WHERE id = %s", (other, row))
            case 3:
                connection.execute("UPDATE notes SET n = n + 1 WHERE id %% 400 = %s", (row % 400,))


@pytest.fixture
def deploying(pipeline: Pipeline) -> Iterator[Deploying]:
    """`syncline deploy` of the config with the notes, in the background; one that still waits in the end is killed."""
    with ExitStack() as started:

        def start(**environment: str) -> subprocess.Popen[str]:
            command = ["-m", "connector", "--settings", str(pipeline.settings.path), "deploy", str(_file(pipeline))]
            deploy = started.enter_context(
                subprocess.Popen(
                    [sys.executable, *command],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**os.environ, **environment},
                )
            )
            started.callback(deploy.kill)
            return deploy

        yield start


def reads(pipeline: Pipeline) -> dict[str, str]:
    return dict(pipeline.status()["source"]["reads"])


def notes_of(source: Source) -> dict[tuple[str, str], dict[str, Any]]:
    rows = source.sql("SELECT id, body, n FROM notes")
    return {("notes", str(key)): {"id": key, "body": body, "n": n} for key, body, n in rows}


def test_where_nobody_writes_a_new_table_is_read_all_the_same(source: Source, pipeline: Pipeline) -> None:
    """The connector, which a new table starts again, has nothing in its log to go on by (decision 15)."""
    source.sql(NOTES)
    pipeline.ok("deploy", str(_file(pipeline)))
    eventually(lambda: pipeline.buckets()[("notes", "[]")] == notes_of(source), what="the notes as in the database")


def test_rows_in_flight_while_the_table_is_captured(source: Source, pipeline: Pipeline, deploying: Deploying) -> None:
    """A writer, a transaction that began before the capture and ends after it, and a command killed at every step."""
    source.sql(NOTES)
    written = {part: len(pipeline.ops(version)) for part, version in versions(pipeline).items()}
    writer = NotesWriter(source)
    writer.start()
    with source.connect() as flying:
        flying.execute("INSERT INTO notes VALUES (%s, 'in flight', 0)", (IN_FLIGHT,))
        planned = pipeline.cli("plan", str(_file(pipeline)))
        assert f"captures public.notes, which is new, and reads it (about {ROWS:,} rows, " in planned.stdout
        assert planned.returncode == 2
        for step in STEPS:
            killed = deploying(SYNCLINE_CRASH_POINT=step)
            _, said = killed.communicate(timeout=120)
            assert killed.returncode == -signal.SIGKILL, said
        deploy = deploying()
        eventually(
            lambda: "older than its capture" in reads(pipeline).get("public.notes", ""), what="the open transaction"
        )
        flying.commit()
    eventually(lambda: "being read" in reads(pipeline).get("public.notes", "being read"), what="the read")
    assert pipeline.send("sequence", signal.SIGKILL)
    _, said = deploy.communicate(timeout=180)
    assert deploy.returncode == 0, said
    writer.finish()
    wanted = notes_of(source)
    assert ("notes", str(IN_FLIGHT)) in wanted
    eventually(lambda: pipeline.buckets()[("notes", "[]")] == wanted, what="the notes as in the database")
    with source.connect() as connection:
        others = expected(connection, CONFIG)
    assert {bucket: rows for bucket, rows in pipeline.buckets().items() if bucket[0] != "notes"} == others
    after = versions(pipeline)
    assert {part: len(pipeline.ops(after[part])) for part in written} == written, "law 1: not one op"
    first, shown = next(at_each_checkpoint(pipeline, after["notes", "notes"]))
    assert len(shown["[]"]) > ROWS * 0.9, f"exposed at {first['position']} before it was complete"
    assert pipeline.ok("verify")["equal"]


def arrived(pipeline: Pipeline) -> int:
    """Records of the notes that the connector has written."""
    topic = f"{pipeline.settings.topic_prefix}.public.notes"
    if not kafka.topic_exists(pipeline.settings, topic):
        return 0
    return sum(kafka.uncommitted_ends(pipeline.settings, topic, range(4)).values())


def pause(pipeline: Pipeline) -> None:
    """Nothing more is heard of the read, until the sequencer has the connector go on."""
    value = json.dumps({"id": "pause", "type": "pause-snapshot", "data": {"type": "INCREMENTAL"}})
    writer = kafka.producer(pipeline.settings)
    writer.produce(signal_topic(pipeline.settings), value.encode(), pipeline.settings.topic_prefix, 0)
    assert writer.flush(30) == 0


@pytest.mark.soak
@pytest.mark.parametrize("victim", ["connect", "task", "silence", "sequence", "merge", "stream"])
def test_disturbed_in_the_middle_of_the_read(
    source: Source, stack: Any, pipeline: Pipeline, deploying: Deploying, victim: str
) -> None:
    """Whoever is killed while the connector reads the table: in the end it is whole, and exposed whole."""
    source.sql(NOTES)
    source.sql("INSERT INTO notes SELECT g, 'note ' || g, 0 FROM generate_series(10000001, 10030000) g; ANALYZE notes")
    writer = NotesWriter(source)
    writer.start()
    deploy = deploying()
    try:
        assert eventually(lambda: arrived(pipeline) > ROWS / 2 and arrived(pipeline)) < ROWS * 2, "not in the middle"
        if victim == "connect":
            stack.kill("connect")
        elif victim == "task":
            connect_call(source.settings, "POST", "/restart?includeTasks=true")
        elif victim == "silence":
            pause(pipeline)
        else:
            assert pipeline.send(victim, signal.SIGKILL)
        stack.heal()
        _, said = deploy.communicate(timeout=300)
    finally:
        writer.finish()
    assert deploy.returncode == 0, said
    wanted = notes_of(source)
    eventually(lambda: pipeline.buckets()[("notes", "[]")] == wanted, what="the notes as in the database")
    first, shown = next(at_each_checkpoint(pipeline, versions(pipeline)["notes", "notes"]))
    assert len(shown["[]"]) > ROWS * 2, f"exposed at {first['position']} before it was complete"
    assert pipeline.ok("verify")["equal"]


def _file(pipeline: Pipeline) -> Path:
    file = pipeline.folder / "wanted.yaml"
    file.write_text(WANTED)
    return file


def test_captured_by_hand_and_dropped_before_it_is_complete(
    source: Source, pipeline: Pipeline, deploying: Deploying
) -> None:
    """`manage_connector: false`; a table that is gone is named, and the deploy can be given up."""
    with source.settings.path.open("a") as file:
        file.write("manage_connector: false\n")
    source.sql("CREATE TABLE notes (id bigint PRIMARY KEY, body varchar(40), n int NOT NULL)")
    with source.connect() as older:
        older.execute("SELECT pg_current_xact_id()")  # keeps the table from being read
        deploy = deploying()
        assert deploy.stderr is not None
        said = next(line for line in deploy.stderr if line.startswith("waiting for you"))
        wanted = said.rpartition(" ")[2].strip()
        config = connect_call(source.settings, "GET", "/config")
        listed = f"{config['table.include.list']},{wanted}"
        connect_call(source.settings, "PUT", "/config", json={**config, "table.include.list": listed})
        said = next(line for line in deploy.stderr if line.startswith("waiting for you"))
        source.sql(said.removeprefix("waiting for you: "))
        eventually(lambda: "older than its capture" in reads(pipeline).get("public.notes", ""), what="the capture")
        eventually(lambda: pipeline.status()["pending"], what="the deployment")
        source.sql("DROP TABLE notes")
        eventually(lambda: "dropped or renamed" in reads(pipeline).get("public.notes", ""), what="the missing table")
        pipeline.ok("cancel")
        _, rest = deploy.communicate(timeout=60)
    assert deploy.returncode == 1, rest
    seen = pipeline.status()
    assert seen["deployment"] == {"generation": 1, "state": "active"}
    assert seen["pending"] is None
