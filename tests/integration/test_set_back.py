"""Debezium's offsets set back to a place inside a transaction: what comes again has no effect (rules S3, S4, law 5)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from connector.local.stack import Stack
from connector.source.decode import Decoder
from connector.source.records import End
from tests.integration import sequencing
from tests.integration.pipeline import Pipeline, eventually
from tests.integration.sequencing import Output, connect_call, ready, sequencer
from tests.integration.test_pipeline import idle_ops, settled, versions
from tests.integration.world import CONFIG, deployed
from tests.worlds import Source
from topologies.captured import transaction_topic
from topologies.schemas import Schemas

pytestmark = pytest.mark.stack
CHUNKS, ROWS = 100, 400  # of the big transaction; after each chunk the marks change
# the slot keeps what was confirmed, so that Postgres can send it again
KEEP_LOG = {"lsn.flush.mode": "manual"}
BIG = f"""
DO $$ BEGIN FOR chunk IN 1..{CHUNKS} LOOP
  UPDATE mark_a SET value = chunk;
  INSERT INTO todos SELECT 1000 * chunk + n, 'l' || 1 + n % 10, 'Big ' || n, n % 2 = 0, n, '{{}}'
    FROM generate_series(1, {ROWS}) n;
  UPDATE mark_b SET value = chunk;
  UPDATE todos SET done = NOT done WHERE id = 1;
  UPDATE mark_c SET value = chunk;
END LOOP; END $$
"""
EVENTS = CHUNKS * (ROWS + 4)
PATIENCE = 45.0  # seconds until a small transaction after the set-back is in a checkpoint; waiting it out takes longer


@pytest.fixture
def pipeline(source: Source, tmp_path: Path) -> Iterator[Pipeline]:
    with deployed(source, tmp_path, lists=10, todos=100) as made:
        yield made


def offset(source: Source) -> dict[str, Any]:
    """What Connect has committed of the connector."""
    found = connect_call(source.settings, "GET", "/offsets")["offsets"]
    return found[0]["offset"] if found else {}


def inside(place: dict[str, Any], first: int, last: int) -> bool:
    """Whether an offset lies between two LSNs of one transaction that Connect has in part."""
    events = sum(count for name, count in place.items() if name.startswith("transaction_data_collection_order_"))
    return (
        "transaction_id" in place and 1 < events < EVENTS and place.get("lsn_commit", 0) <= first < place["lsn"] < last
    )


def commit_big(source: Source) -> list[dict[str, Any]]:
    """Commit the big transaction; the offsets inside it that Connect went through, oldest first."""
    with source.connect() as connection:
        first = lsn(connection)
        connection.execute(BIG)
        last = lsn(connection)
    seen: list[dict[str, Any]] = []
    while True:
        place = eventually(lambda: offset(source), what="an offset")
        if inside(place, first, last) and place not in seen:
            seen.append(place)
        if place.get("lsn", 0) >= last:
            return seen


def lsn(connection: Connection[Any]) -> int:
    """Where the next record of the write-ahead log goes."""
    (found,) = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchall()
    return int(found[0])


def set_back(source: Source, place: dict[str, Any]) -> None:
    """Have the connector go on from an earlier offset."""
    connect_call(source.settings, "PUT", "/stop")
    partition = {"server": source.settings.topic_prefix}
    connect_call(source.settings, "PATCH", "/offsets", json={"offsets": [{"partition": partition, "offset": place}]})
    connect_call(source.settings, "PUT", "/resume")


def commit_small(source: Source, mark: int) -> None:
    source.sql(
        f"UPDATE mark_a SET value = {mark}; UPDATE mark_b SET value = {mark}; UPDATE mark_c SET value = {mark};"
        f"INSERT INTO todos VALUES ({900_000 + mark}, 'l1', 'Small', false, 1, '{{}}')"
    )


def ops(pipeline: Pipeline) -> dict[tuple[str, str], list[tuple[str, str, str]]]:
    """Per part its ops so far: what, of which row."""
    return {
        part: [(op["op"], op["object_type"], op["object_id"]) for _, op in pipeline.ops(version)]
        for part, version in versions(pipeline).items()
    }


def small_ops(mark: int) -> dict[tuple[str, str], set[tuple[str, str, str]]]:
    """What a small transaction adds to each part."""
    todo = ("PUT", "todos", str(900_000 + mark))
    return {
        ("marks", "marks"): {("PUT", f"mark_{name}", "1") for name in "abc"},
        ("by_list", "by_list"): {todo},
        ("by_list", "by_list#1"): set(),
        ("open_todos", "open_todos"): {todo},
    }


def check_log(output: Output) -> None:
    """Positions are dense (`batches` checks it), and no record of the source's topics came twice."""
    seen: set[tuple[str, int, int]] = set()
    for batch in output.batches():
        for change in batch["changes"]:
            place = (batch["tables"][change["table"]]["topic"], change["partition"], change["offset"])
            assert place not in seen, f"{place} was put into the log twice"
            seen.add(place)


@pytest.mark.parametrize("earlier", ["none", pytest.param("one", marks=pytest.mark.soak)])
def test_connector_set_back_inside_a_transaction(source: Source, pipeline: Pipeline, earlier: str) -> None:
    """To a late and to an early place of one big transaction, with a small one after each.

    The first transaction that a connector streams has no last commit in its offsets; one after an earlier one has.
    """
    config = connect_call(source.settings, "GET", "/config")
    connect_call(source.settings, "PUT", "/config", json=config | KEEP_LOG)
    if earlier == "one":
        commit_small(source, 1)
        settled(source, pipeline, CONFIG)
    places = commit_big(source)
    assert places, "Connect committed no offset inside the transaction"
    assert all(("lsn_commit" in place) == (earlier == "one") for place in places)
    settled(source, pipeline, CONFIG)
    sequencers = [worker.pid for worker in pipeline.workers("sequence")]
    output = Output(source.settings)
    rows = output.batches()[-1]["rows"]
    before = ops(pipeline)
    for mark, place in enumerate((places[-1], places[0]), CHUNKS + 1):
        set_back(source, place)
        commit_small(source, mark)
        eventually(
            lambda mark=mark: pipeline.checkpoints()[-1]["log_rows"] >= rows + 4 * (mark - CHUNKS),
            within=PATIENCE,
            what="the small transaction in a checkpoint",
        )
        settled(source, pipeline, CONFIG)
        now, added = ops(pipeline), small_ops(mark)
        for part, known in before.items():
            assert now[part][: len(known)] == known
            assert sorted(now[part][len(known) :]) == sorted(added[part]), f"{part} got ops without a change"
        before = now
    check_log(output)
    assert output.batches()[-1]["rows"] == rows + 8, "each small transaction has four rows"
    assert [idle_ops(pipeline, version, 0) for version in versions(pipeline).values()] == [[]] * len(before)
    counters = output.progress()["state"]["counters"]
    assert counters["repeated"] > EVENTS / 10, "nothing came again: the test proves nothing"
    assert (counters["late"], counters["released"]) == (0, 0)
    assert [worker.pid for worker in pipeline.workers("sequence")] == sequencers, "a sequencer has ended"


ATTEMPTS = 4
AT_ONCE = 12_000  # rows, between two commits of another transaction


@pytest.mark.soak
def test_connector_killed_inside_a_transaction_beside_others(source: Source, stack: Stack) -> None:
    """Decision 57: those it sends once more make Debezium count the open one's rows anew, so END counts only some."""
    source.sql("CREATE TABLE a (id int PRIMARY KEY, mark int); CREATE TABLE b (id int PRIMARY KEY)")
    source.sql("INSERT INTO b VALUES (0)")
    ready(source)
    output = Output(source.settings)
    with sequencer(source.settings):
        sequencing.settled(source, output, "public.b")
        for attempt in range(ATTEMPTS):
            transaction, rows = commit_beside_others(source, attempt)
            eventually(
                lambda inside=transaction: is_inside(offset(source), inside, "public.a"), what="Connect is inside it"
            )
            stack.kill("connect")
            stack.heal()
            sequencing.settled(source, output, "public.a", "public.b")
            check_log(output)
            if counted(output, transaction) < rows:
                return
    raise AssertionError(f"the connector has counted all of the transaction, {ATTEMPTS} times")


def commit_beside_others(source: Source, attempt: int) -> tuple[str, int]:
    """A large transaction, between whose rows others commit; its id, its number of rows."""
    first = 1_000_000 * attempt
    with source.connect() as connection:
        for part in range(3):
            start = first + part * AT_ONCE
            connection.execute(f"INSERT INTO a SELECT g, 1 FROM generate_series({start}, {start + AT_ONCE - 1}) g")
            source.sql(f"INSERT INTO b VALUES ({first + part + 1})")
        found = connection.execute("SELECT pg_current_xact_id()").fetchone()
    assert found is not None
    return str(found[0]), 3 * AT_ONCE


def is_inside(place: dict[str, Any], transaction: str, table: str) -> bool:
    """Whether Connect has committed some of the transaction's rows of the table, and nothing after it."""
    counted_rows = place.get(f"transaction_data_collection_order_{table}", 0)
    return place.get("transaction_id") == transaction and counted_rows > 0


def counted(output: Output, transaction: str) -> int:
    """The rows that the transaction's END counts."""
    decoder = Decoder(Schemas(output.settings, patience=20).text, lambda *_: 0, {})
    records = output.records(transaction_topic(output.settings))
    read = [decoder.transaction(m.offset(), m.value()) for m in records if m.value() is not None]
    return next(end.events for end in read if isinstance(end, End) and end.transaction == transaction)
