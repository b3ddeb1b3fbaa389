"""The sequencer on real servers: what the database commits is in the change log, once, whole and in order."""

from __future__ import annotations

import signal
from itertools import pairwise

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from connector.local.stack import Stack
from connector.settings import Settings, load
from connector.source.batches import BETWEEN
from tests.integration.sequencing import Output, connect_call, ready, sequencer, settled, until
from tests.worlds import Source
from topologies import kafka
from topologies.captured import message_topic
from topologies.prepare import prepare

pytestmark = pytest.mark.stack

TABLES = """
CREATE TABLE todos (id text PRIMARY KEY, list text, n int);
ALTER TABLE todos REPLICA IDENTITY FULL;
CREATE TABLE lists (id int PRIMARY KEY, n int);
"""


def complete(output: Output) -> set[str]:
    """The tables that are complete."""
    return {name for name, table in output.progress()["state"]["tables"].items() if table["complete"]}


def test_every_kind_of_change_arrives_in_order(source: Source) -> None:
    """Before and after the connector's snapshot, which makes its tables complete (rule D3)."""
    source.sql(TABLES + "INSERT INTO todos SELECT 'a' || g, 'l', g FROM generate_series(1, 20) g")
    ready(source)
    output = Output(source.settings)
    with sequencer(source.settings) as process:
        until(lambda: output.progress().get("position", 0) > 0, "the first batch")
        source.sql("INSERT INTO lists VALUES (1, 1); UPDATE todos SET n = n + 1")
        source.sql("UPDATE todos SET id = 'b1' WHERE id = 'a1'; DELETE FROM todos WHERE id = 'a2'")
        source.sql("SELECT pg_logical_emit_message(true, 'other', 'x'); INSERT INTO lists VALUES (2, 1)")
        source.sql("SELECT pg_logical_emit_message(false, 'other', 'x')")
        source.sql("UPDATE lists SET n = 2; DELETE FROM lists WHERE id = 1")
        settled(source, output, "public.todos", "public.lists")
        until(lambda: complete(output) == {"public.todos", "public.lists"}, "both tables complete")
        process.send(signal.SIGTERM)
        assert process.ended() == 0
    changed = [change for change in output.changes() if change[1] in ('["public.todos","a1"]', '["public.todos","b1"]')]
    assert changed[-2:] == [("DELETE", '["public.todos","a1"]'), ("UPSERT", '["public.todos","b1"]')]
    assert (
        len([change for change in output.changes() if change[0] == "DELETE"]) == 3
    )  # tombstones are not deletes again


def test_transactions_that_follow_closely_share_a_batch(source: Source) -> None:
    """A Kafka transaction costs the broker the same for one row as for many, so it comes `BETWEEN` after the last."""
    source.sql(TABLES + "INSERT INTO lists VALUES (-1, 1)")
    ready(source)
    output = Output(source.settings)
    with sequencer(source.settings), source.connect(autocommit=True) as writer:
        until(lambda: output.progress().get("position", 0) > 0, "the connector's snapshot")
        for n in range(300):
            writer.execute("INSERT INTO lists SELECT %s, 1 FROM pg_sleep(0.005)", (n,))
        settled(source, output, "public.lists")
    written = [message.timestamp()[1] for message in output.records(output.topics.changes)]
    apart = [after - before for before, after in pairwise(written)]
    assert min(apart) >= 1000 * BETWEEN - 1
    assert 1 < len(written) < 300


def test_insert_truncate_insert_in_one_transaction(source: Source) -> None:
    """Rule S9: truncates keep their place in the order, over 4 partitions and in the snapshot topic."""
    source.sql(TABLES)
    ready(source)
    output = Output(source.settings)
    with sequencer(source.settings):
        source.sql(
            "INSERT INTO todos SELECT 'a' || g, 'l', g FROM generate_series(1, 30) g; TRUNCATE todos;"
            "INSERT INTO todos SELECT 'b' || g, 'l', g FROM generate_series(1, 30) g"
        )
        settled(source, output, "public.todos")
        source.sql("INSERT INTO lists VALUES (1, 1); TRUNCATE todos, lists")
        settled(source, output, "public.todos", "public.lists")
    batches = [(b["truncate"], b["boundary"], len(b["changes"])) for b in output.batches() if b["position"] < 4]
    assert batches == [(None, False, 30), ("public.todos", False, 0), (None, True, 30)]
    assert output.contents()["public.lists"] == {}


def test_a_table_without_key_is_refused_and_its_numbers_count(source: Source) -> None:
    """Law 11: a refused table holds up nothing."""
    source.sql(TABLES + "CREATE TABLE log (line text)")
    with source.settings.path.open("a") as file:
        file.write("tables: [public.todos, public.lists, public.log]\n")
    settings = load(str(source.settings.path))
    wrong = [finding for finding in prepare(settings) if finding.outcome == "wrong"]
    assert [finding.subject for finding in wrong] == ["table public.log"]
    assert "ADD PRIMARY KEY" in str(wrong[0].hint)
    output = Output(settings)
    with sequencer(settings):
        source.sql(
            "INSERT INTO lists VALUES (1, 1); INSERT INTO log VALUES ('x'); INSERT INTO todos VALUES ('a', 'b', 1)"
        )
        settled(source, output, "public.todos", "public.lists")
        state = output.progress()["state"]["tables"]["public.log"]
        assert state["refused"] == "has no primary key"
        assert output.progress()["state"]["counters"]["released"] == 0


def test_the_first_row_of_a_table_whose_topic_does_not_exist(source: Source) -> None:
    """Rule S6: a gap in the numbers refreshes the list of topics."""
    source.sql(TABLES)
    ready(source)
    admin = AdminClient({"bootstrap.servers": source.settings.kafka})
    for future in admin.delete_topics([f"{source.settings.topic_prefix}.public.lists"]).values():
        future.result(60)
    output = Output(source.settings)
    with sequencer(source.settings) as process:
        source.sql("INSERT INTO todos VALUES ('a', 'b', 1)")
        settled(source, output, "public.todos")
        source.sql("INSERT INTO lists VALUES (1, 1); INSERT INTO todos VALUES ('b', 'b', 1)")
        settled(source, output, "public.todos", "public.lists")
        assert "goes on without" not in process.said()
    assert [b["boundary"] for b in output.batches()] == [True, True]


def test_records_that_cannot_be_read_are_set_aside(source: Source) -> None:
    """Rule S11, law 11: unreadable values count as rows without output; unreadable keys spoil the table."""
    source.sql(TABLES)
    ready(source)
    output = Output(source.settings)
    topic = f"{source.settings.topic_prefix}.public.todos"
    with sequencer(source.settings):
        source.sql("INSERT INTO todos VALUES ('a', 'b', 1), ('b', 'b', 1)")
        settled(source, output, "public.todos")
        key = next(m for p in range(4) for m in output.records(topic, p) if b"a" in m.key())
        writer = kafka.producer(source.settings)
        writer.produce(topic, b"\0\x7f\xff\xff\xfftorn", key.key(), key.partition())
        writer.produce(topic, b'{"id": "not debezium"}', key.key(), key.partition())
        assert writer.flush(60) == 0
        source.sql("INSERT INTO todos VALUES ('c', 'b', 1)")
        until(lambda: ("UPSERT", '["public.todos","c"]') in output.changes(), "the row after the torn ones")
        assert output.changes()[-3:-1] == [("UNREADABLE", '["public.todos","a"]')] * 2
        rejected = until(output.rejected, "rejected records")
        assert [r["key"] for r in rejected] == ['["public.todos","a"]'] * 2
        assert "is not in the registry" in rejected[0]["reason"]
        assert "does not begin with a schema id" in rejected[1]["reason"]
        assert output.snapshot("public.todos").keys() == {'["public.todos","b"]', '["public.todos","c"]'}
        assert output.progress()["state"]["rejected"] == 2


def test_messages_of_others_are_numbered_and_ignored(source: Source) -> None:
    source.sql(TABLES)
    ready(source)
    output = Output(source.settings)
    with sequencer(source.settings):
        source.sql(
            "INSERT INTO lists VALUES (1, 1); SELECT pg_logical_emit_message(true, 'app', 'x');"
            "INSERT INTO lists VALUES (2, 1)"
        )
        settled(source, output, "public.lists")
        assert len(output.records(message_topic(source.settings))) == 1
        assert output.progress()["state"]["counters"]["released"] == 0


def test_connector_set_back(source: Source) -> None:
    """Rules S3, S4: over three whole transactions, without a stall, and inside one; nothing comes twice."""
    source.sql(TABLES)
    ready(source)
    config = connect_call(source.settings, "GET", "/config")
    connect_call(source.settings, "PUT", "/config", json=config | {"lsn.flush.mode": "manual"})
    output = Output(source.settings)
    with sequencer(source.settings) as process:
        source.sql("INSERT INTO lists VALUES (0, 0); INSERT INTO todos VALUES ('0', 'x', 0)")
        settled(source, output, "public.todos", "public.lists")
        before = until(lambda: connect_call(source.settings, "GET", "/offsets")["offsets"], "an offset")
        for n in range(1, 4):
            source.sql(f"INSERT INTO lists VALUES ({n}, 0); INSERT INTO todos VALUES ('{n}', 'x', {n})")
        settled(source, output, "public.todos", "public.lists")
        changes = output.changes()
        connect_call(source.settings, "PUT", "/stop")
        connect_call(source.settings, "PATCH", "/offsets", json={"offsets": before})
        connect_call(source.settings, "PUT", "/resume")
        source.sql("INSERT INTO lists VALUES (9, 0); INSERT INTO todos VALUES ('9', 'x', 9)")
        settled(source, output, "public.todos", "public.lists")
        assert output.changes()[: len(changes)] == changes
        assert len(output.changes()) == len(changes) + 2
        repeated = until(lambda: output.progress()["state"]["counters"]["repeated"], "repeated rows were dropped")
        assert repeated >= 6
        assert "goes on without" not in process.said()


def test_a_topic_made_again_stops_its_table(source: Source) -> None:
    """Rule S12: its offsets begin anew, so what lies between is not known; the others go on."""
    source.sql(TABLES)
    ready(source)
    output = Output(source.settings)
    topic = f"{source.settings.topic_prefix}.public.lists"
    with sequencer(source.settings):
        source.sql("INSERT INTO lists VALUES (1, 1); INSERT INTO todos VALUES ('a', 'b', 1)")
        settled(source, output, "public.lists", "public.todos")
    admin = AdminClient({"bootstrap.servers": source.settings.kafka})
    for future in admin.delete_topics([topic]).values():
        future.result(60)
    until(lambda: not kafka.topic_exists(source.settings, topic), "the topic is gone")
    ready(source)
    with sequencer(source.settings) as process:
        source.sql("INSERT INTO lists VALUES (2, 1); INSERT INTO todos VALUES ('b', 'b', 1)")
        settled(source, output, "public.todos")
        assert "table public.lists is stopped" in process.said()
        state = output.progress()["state"]
        assert (state["tables"]["public.lists"]["complete"], state["counters"]["released"]) == (None, 0)
    assert len(output.contents()["public.lists"]) == 1


def test_added_partitions_are_read(source: Source) -> None:
    """Rule S12."""
    source.sql(TABLES)
    ready(source)
    output = Output(source.settings)
    topic = f"{source.settings.topic_prefix}.public.lists"
    with sequencer(source.settings) as process:
        source.sql("INSERT INTO lists SELECT g, 0 FROM generate_series(1, 50) g")
        settled(source, output, "public.lists")
        admin = AdminClient({"bootstrap.servers": source.settings.kafka})
        for future in admin.create_partitions([NewPartitions(topic, 7)]).values():
            future.result(60)
        until(lambda: "new partition 6" in process.said(), "the new partition")
        connect_call(source.settings, "POST", "/restart?includeTasks=true")
        source.sql("UPDATE lists SET n = 1")
        settled(source, output, "public.lists")
        reader = kafka.consumer(source.settings)
        assert kafka.watermarks(reader, topic, 6)[1] >= 0
        reader.close()


def streaming(settings: Settings) -> bool:
    """Whether Connect has kept an offset of a streamed row."""
    offsets = connect_call(settings, "GET", "/offsets")["offsets"]
    return bool(offsets) and "lsn_commit" in offsets[0]["offset"] and "snapshot" not in offsets[0]["offset"]


def test_a_killed_connect_worker_repeats_nothing(source: Source, stack: Stack) -> None:
    """At-least-once becomes once."""
    source.sql(TABLES)
    ready(source)
    output = Output(source.settings)
    with sequencer(source.settings):
        for n in range(200):
            source.sql(f"INSERT INTO lists VALUES ({n}, 0); INSERT INTO todos VALUES ('{n}', 'x', {n})")
            if n == 100:
                # Before its first streamed offset is kept, a connector snapshots again: reads, which always pass (S4).
                until(lambda: streaming(source.settings), "an offset beyond the snapshot")
                stack.kill("connect")
        stack.heal()
        settled(source, output, "public.todos", "public.lists")
    inserts = [key for op, key in output.changes() if op == "UPSERT"]
    assert len(inserts) == len(set(inserts)) == 400


def test_a_table_altered_while_the_connector_was_away(source: Source) -> None:
    """Its rows of before come as they were then, whatever the table has become (decision 58)."""
    source.sql("CREATE TABLE items (id int PRIMARY KEY, a int, b int); INSERT INTO items VALUES (1, 0, 5), (2, 0, 5)")
    ready(source)
    output = Output(source.settings)
    with sequencer(source.settings):
        settled(source, output, "public.items")
        connect_call(source.settings, "PUT", "/stop")
        source.sql("UPDATE items SET a = 2967 WHERE id = 1")
        source.sql("ALTER TABLE items ALTER a TYPE bigint")
        source.sql("UPDATE items SET a = 2968 WHERE id = 2")
        connect_call(source.settings, "PUT", "/resume")
        settled(source, output, "public.items")


def test_numbering_survives_an_emptied_log(source: Source) -> None:
    """Rule S2: progress is output; a log trimmed empty keeps its numbers, a lost progress is an error."""
    source.sql(TABLES)
    ready(source)
    output = Output(source.settings)
    with sequencer(source.settings):
        source.sql("INSERT INTO lists VALUES (1, 1)")
        settled(source, output, "public.lists")
    position = output.progress()["position"]
    admin = AdminClient({"bootstrap.servers": source.settings.kafka})
    for future in admin.delete_records([TopicPartition(output.topics.changes, 0, -1)]).values():
        future.result(60)
    with sequencer(source.settings):
        source.sql("INSERT INTO lists VALUES (2, 1)")
        until(lambda: output.progress()["position"] > position, "a batch after the emptied log")
    assert output.progress()["position"] == position + 1
    for future in admin.delete_topics([output.topics.sequence]).values():
        future.result(60)
    until(lambda: not kafka.topic_exists(source.settings, output.topics.sequence), "the lost progress")
    ready(source)
    with sequencer(source.settings) as process:
        assert process.ended() == 1
        assert "there is no progress record, but change log is not empty" in process.said()
