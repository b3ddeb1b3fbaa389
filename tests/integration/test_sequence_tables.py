"""Tables whose rows do not simply arrive: TOAST, other keys, tables captured later (rules S9, S10, D3)."""

from __future__ import annotations

import pytest

from connector.settings import load
from tests.integration.sequencing import Output, ready, sequencer, settled, until
from tests.worlds import Source
from topologies.prepare import prepare

pytestmark = pytest.mark.stack

LONG = "(SELECT string_agg(md5(g::text), '') FROM generate_series(1, 400) g)"


def with_setting(source: Source, line: str) -> Source:
    """The source with one more line in its settings file."""
    with source.settings.path.open("a") as file:
        file.write(line + "\n")
    return Source(load(str(source.settings.path)))


def test_toast_with_full_identity_arrives_filled(source: Source) -> None:
    source.sql("CREATE TABLE notes (id int PRIMARY KEY, body text, n int)")
    source.sql("ALTER TABLE notes REPLICA IDENTITY FULL")
    ready(source)
    output = Output(source.settings)
    with sequencer(source.settings):
        source.sql(f"INSERT INTO notes VALUES (1, {LONG}, 1)")
        source.sql("UPDATE notes SET n = 2")
        settled(source, output, "public.notes")


def test_toast_with_default_identity_is_refused(source: Source) -> None:
    """Rule S10: with the statement that mends it; the others go on, and so does the table once it is mended."""
    source.sql("CREATE TABLE notes (id int PRIMARY KEY, body text, n int); CREATE TABLE other (id int PRIMARY KEY)")
    findings = prepare(source.settings)
    wrong = [finding for finding in findings if finding.outcome == "wrong"]
    assert [finding.subject for finding in wrong] == ["table public.notes"]
    assert "ALTER TABLE public.notes REPLICA IDENTITY FULL" in str(wrong[0].hint)
    output = Output(source.settings)
    with sequencer(source.settings):
        source.sql(f"INSERT INTO notes VALUES (1, {LONG}, 1); INSERT INTO other VALUES (1)")
        source.sql("UPDATE notes SET n = 2; INSERT INTO other VALUES (2)")
        settled(source, output, "public.other")
        assert "public.notes" not in output.contents()
        source.sql("ALTER TABLE notes REPLICA IDENTITY FULL; UPDATE notes SET n = 3")
        settled(source, output, "public.notes")
        until(lambda: output.progress()["state"]["tables"]["public.notes"]["complete"], "complete again")


def test_toast_reread(source: Source) -> None:
    """Rule S10: the row is held out, its old image stays, and it comes whole by a re-read of its key."""
    source.sql("CREATE TABLE notes (id text PRIMARY KEY, body text, n int)")
    source = with_setting(source, "toast: reread")
    ready(source)
    output = Output(source.settings)
    with sequencer(source.settings) as process:
        source.sql(f"INSERT INTO notes VALUES ('it''s', {LONG}, 1), ('b', {LONG}, 1)")
        settled(source, output, "public.notes")
        source.sql("UPDATE notes SET n = 2")
        settled(source, output, "public.notes")
        assert "asked the connector to read public.notes again" in process.said()
        for batch in output.batches():
            for change in batch["changes"]:
                assert b"__debezium_unavailable_value" not in change["row"]
        until(lambda: not output.progress()["state"]["tables"]["public.notes"]["holes"], "no hole is open")
        source.sql("UPDATE notes SET n = 3 WHERE id = 'b'; UPDATE notes SET id = 'c' WHERE id = 'b'")
        source.sql("DELETE FROM notes WHERE id = 'it''s'")
        settled(source, output, "public.notes")


def test_another_primary_key_empties_and_reads_anew(source: Source) -> None:
    """Rule S9: names and types of key columns are pinned."""
    source.sql("CREATE TABLE t (id int PRIMARY KEY, other int NOT NULL); INSERT INTO t VALUES (1, 10), (2, 20)")
    ready(source)
    output = Output(source.settings)
    with sequencer(source.settings):
        settled(source, output, "public.t")
        source.sql("ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (other)")
        source.sql("INSERT INTO t VALUES (3, 30)")
        wanted = {'["public.t",10]', '["public.t",20]', '["public.t",30]'}
        until(lambda: output.contents()["public.t"].keys() == wanted, "the rows under their new keys")
        until(lambda: output.progress()["state"]["tables"]["public.t"]["complete"], "complete again")
        assert output.snapshot("public.t").keys() == wanted
    assert ("TRUNCATE", "public.t") in output.changes()


def test_a_wider_key_type_is_the_same_key(source: Source) -> None:
    """Debezium trap: the same key under another schema id is other bytes; canonical keys are equal."""
    source.sql("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 1)")
    ready(source)
    output = Output(source.settings)
    with sequencer(source.settings):
        settled(source, output, "public.t")
        source.sql("ALTER TABLE t ALTER COLUMN id TYPE bigint; UPDATE t SET n = 2; INSERT INTO t VALUES (2, 2)")
        settled(source, output, "public.t")
        assert not [change for change in output.changes() if change[0] == "TRUNCATE"]


def test_a_table_captured_later_is_read_by_itself(source: Source) -> None:
    """Rule D3: the initial snapshot does not cover it; it is complete after a snapshot of its own."""
    source.sql("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)")
    ready(source)
    output = Output(source.settings)
    with sequencer(source.settings):
        settled(source, output, "public.a")
        until(lambda: output.progress()["state"]["tables"]["public.a"]["complete"], "the first table")
        source.sql("CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b SELECT g FROM generate_series(1, 100) g")
        ready(source)
        settled(source, output, "public.a", "public.b")
        until(lambda: output.progress()["state"]["tables"]["public.b"]["complete"], "the second table")
