"""A marker's checkpoint holds the write before it, on real servers (rule V4)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.sync.write_checkpoints import Client
from schemas.codec import Codec
from tests.integration.pipeline import Pipeline, at_each_checkpoint, eventually, prepared
from tests.integration.sequencing import connect_call
from tests.integration.test_pipeline import versions
from tests.integration.test_set_back import KEEP_LOG, offset, set_back
from tests.worlds import Source
from topologies.markers import Emitter, Markers
from topologies.schemas import Schemas

pytestmark = pytest.mark.stack
CONFIG = "bucket_definitions:\n  all:\n    data:\n      - SELECT id FROM notes\n"
CLIENTS = (Client("ü1", "a"), Client("ü1", None), Client("u2", 'b"\0'))


@pytest.fixture
def pipeline(source: Source, tmp_path: Path) -> Iterator[Pipeline]:
    """All workers running, one definition, and a connector that can be set back."""
    source.sql("CREATE TABLE notes (id int PRIMARY KEY); INSERT INTO notes VALUES (0)")
    with prepared(source.settings, tmp_path) as made:
        made.start()
        made.deploy(CONFIG)
        config = connect_call(source.settings, "GET", "/config")
        connect_call(source.settings, "PUT", "/config", json=config | KEEP_LOG)
        yield made


class Node:
    """What a node knows of markers, and what clients have written before they asked."""

    def __init__(self, source: Source, pipeline: Pipeline) -> None:
        self._source = source
        self._pipeline = pipeline
        self.markers = Markers(source.settings, Codec(Schemas(source.settings, patience=10)))
        self.written: dict[tuple[Client, int], int] = {}  # client and id -> the row written before

    def write(self, rows: range) -> None:
        """Each row by a client that then asks for a write checkpoint."""
        asyncio.run(self._write(rows))

    async def _write(self, rows: range) -> None:
        emitter = Emitter(self._source.settings, self.markers.checkpoints.known)
        for row in rows:
            client = CLIENTS[row % len(CLIENTS)]
            self._source.sql(f"INSERT INTO notes VALUES ({row})")
            self.written[client, await emitter.write_checkpoint(client)] = row
        await emitter.close()

    def ask_at_once(self, row: int) -> None:
        """One client through two nodes, many times at once."""
        asyncio.run(self._ask_at_once(row))

    async def _ask_at_once(self, row: int) -> None:
        self._source.sql(f"INSERT INTO notes VALUES ({row})")
        emitters = [Emitter(self._source.settings, self.markers.checkpoints.known) for _ in range(2)]
        ids = await asyncio.gather(*(each.write_checkpoint(CLIENTS[0]) for each in emitters for _ in range(10)))
        self.written |= {(CLIENTS[0], number): row for number in sorted(ids)}
        for each in emitters:
            await each.close()

    def await_answers(self) -> None:
        """Until every client's newest id is acknowledged."""
        newest = {client: number for client, number in self.written}
        eventually(lambda: self.acknowledged() == newest, what=f"{newest} acknowledged")

    def acknowledged(self) -> dict[Client, int | None]:
        self.markers.poll()
        position = self._pipeline.checkpoints()[-1]["position"]
        return {client: self.markers.checkpoints.acknowledged(client, position) for client in CLIENTS}

    def records(self) -> list[tuple[Client, int, int]]:
        """(client, id, position) of all there are."""
        found = self._pipeline._records(self._pipeline.topics.markers)
        return [(Client(each["user"], each["client"]), each["id"], each["position"]) for each in found]


def check_every_checkpoint(pipeline: Pipeline, node: Node) -> None:
    """At a marker's position or beyond, the row written before it is there."""
    records, seen = node.records(), 0
    for checkpoint, buckets in at_each_checkpoint(pipeline, versions(pipeline)["all", "all"]):
        rows = {int(row) for bucket in buckets.values() for _, row in bucket}
        for client, number, position in records:
            if position <= checkpoint["position"]:
                assert node.written[client, number] in rows
                seen += 1
    assert seen >= len(node.written)


def test_a_marker_follows_the_write_before_it(source: Source, pipeline: Pipeline) -> None:
    """On an idle source, with the sequencer killed between two transactions, and with a connector that comes again."""
    app = source.settings.app
    node = Node(source, pipeline)
    source.sql(f"SELECT pg_logical_emit_message(true, 'syncline.{app}', 'no marker')")
    node.write(range(1, 4))
    node.ask_at_once(100)
    node.await_answers()
    of_one = [number for client, number, _ in node.records() if client == CLIENTS[0]]
    assert of_one == sorted(of_one), "the newest marker has the highest id"
    before: Any = eventually(lambda: offset(source), what="an offset")
    pipeline.freeze_at("sequence.before_commit")
    node.write(range(4, 10))
    pipeline.await_frozen()
    node.write(range(10, 13))
    pipeline.send("sequence", signal.SIGKILL)
    node.await_answers()
    records = node.records()
    set_back(source, before)
    node.write(range(13, 16))
    node.await_answers()
    assert node.records()[: len(records)] == records, "no marker moves, none comes twice"
    assert len(node.records()) == len(node.written)
    check_every_checkpoint(pipeline, node)


def test_ids_rise_and_a_lost_connection_is_made_again(source: Source) -> None:
    """Also beyond what the client knows from elsewhere, and as recorded where the client brings the id (cr.stale)."""
    known: dict[Client, int] = {CLIENTS[1]: 2**60}
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"

    async def ask() -> tuple[list[int], list[int]]:
        emitter = Emitter(source.settings, known.get)
        first = await emitter.write_checkpoint(CLIENTS[0])
        source.sql(f"{others} AND pid <> pg_backend_pid()")
        rising = [first, await emitter.write_checkpoint(CLIENTS[0])]
        rising += [await emitter.write_checkpoint(CLIENTS[1]) for _ in range(2)]
        given = [await emitter.checkpoint_request(CLIENTS[2], wanted) for wanted in (5, 3, 7)]
        await emitter.renew(CLIENTS[2])
        given.append(await emitter.checkpoint_request(CLIENTS[2], 1))
        await emitter.close()
        return rising, given

    rising, given = asyncio.run(ask())
    assert 2**48 < rising[0] < rising[1] < 2**60
    assert rising[2:] == [2**60 + 1, 2**60 + 2]
    assert given == [5, 5, 7, 7]
