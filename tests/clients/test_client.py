"""The client app of tests and demo passes a sound sync server and fails a broken one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.todo.client.sdk import Client, ClientFailed
from tests.clients.stub import Stub

SCHEMA = {"todos": {"title": "text", "done": "integer"}}
ROWS = 50


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub() as stub:
        for row in range(ROWS):
            stub.put(row, f"row {row}")
        yield stub


def client(stub: Stub, folder: Path, **options: str) -> Client:
    return Client(stub.url, "x.y.z", SCHEMA, folder, retry="100", **options)


def test_first_sync_then_live_changes(stub: Stub, tmp_path: Path) -> None:
    with client(stub, tmp_path) as app:
        app.first_sync()
        assert app.value("SELECT count(*) FROM todos") == ROWS
        assert app.received()["ops"] == {stub.bucket: ROWS}
        stub.put(0, "row 0 again")
        stub.remove(1)
        app.until("SELECT count(*) = ? AND sum(title = 'row 0 again') FROM todos", ROWS - 1)
        rows = app.rows()["todos"]
        assert rows["t0"] == {"id": "t0", "title": "row 0 again", "done": 0}
        assert "t1" not in rows
        assert {(kind, row_id, json.loads(text)["title"]) for kind, row_id, text in app.held()} == {
            ("todos", row_id, row["title"]) for row_id, row in rows.items()
        }
        assert app.received()["ops"] == {stub.bucket: ROWS + 2}
        assert app.buckets() == {stub.bucket: ROWS + 2}
        assert app.errors == []


def test_rows_of_tables_that_the_schema_lacks_are_told_too(stub: Stub, tmp_path: Path) -> None:
    with Client(stub.url, "x.y.z", {"lists": {"name": "text"}}, tmp_path) as app:
        app.first_sync()
        assert app.rows()["todos"]["t3"] == {"id": "t3", "title": "row 3", "done": 1}


def test_a_local_write_is_uploaded_and_gone_once_it_is_acknowledged(stub: Stub, tmp_path: Path) -> None:
    with client(stub, tmp_path, upload_url=f"{stub.url}/upload") as app:
        app.first_sync()
        app.execute("INSERT INTO todos (id, title, done) VALUES (?, ?, ?)", "x", "mine", 0)
        app.until("SELECT count(*) = ? FROM todos", ROWS)
        assert app.value("SELECT count(*) FROM ps_crud") == 0
    (entry,) = stub.uploads
    assert {key: entry[key] for key in ("op", "type", "id", "data")} == {
        "op": "PUT",
        "type": "todos",
        "id": "x",
        "data": {"title": "mine", "done": 0},
    }


def test_a_renamed_bucket_is_downloaded_again(stub: Stub, tmp_path: Path) -> None:
    with client(stub, tmp_path) as app:
        app.first_sync()
        before, old = app.received(), stub.bucket
        stub.rename()
        app.until("SELECT count(*) = 1 FROM ps_buckets WHERE name = ? AND last_applied_op = ?", stub.bucket, ROWS)
        after = app.received()
        assert after["ops"] == {old: ROWS, stub.bucket: ROWS}
        assert after["bytes"] > 1.9 * before["bytes"]
        assert after["op_bytes"][stub.bucket] == pytest.approx(after["op_bytes"][old], abs=99)
        assert (after["starts"], after["repeated"]) == ({old: 1, stub.bucket: 1}, 0)


def test_a_killed_client_resumes_where_it_was(stub: Stub, tmp_path: Path) -> None:
    with client(stub, tmp_path) as app:
        app.first_sync()
        app.kill()
    stub.put(0, "meanwhile")
    with client(stub, tmp_path) as app:
        app.first_sync()
        assert app.received()["ops"] == {stub.bucket: 1}
        assert app.value("SELECT title FROM todos WHERE id = 't0'") == "meanwhile"


@pytest.mark.parametrize("fault", ["checksum", "missing"])
def test_a_server_that_sends_other_ops_than_it_says_gives_no_first_sync(stub: Stub, tmp_path: Path, fault: str) -> None:
    stub.fault = fault
    with client(stub, tmp_path) as app:
        app.wait(lambda _: any("hecksum" in error for error in app.errors))
        assert app.seen("first_sync") == []


def test_a_refused_token_is_told_and_the_next_one_shown(stub: Stub, tmp_path: Path) -> None:
    stub.token = "a.new.one"
    with client(stub, tmp_path) as app:
        app.wait(lambda _: any("401" in error for error in app.errors))
        assert app.seen("first_sync") == []
        app.use_token("a.new.one")
        app.first_sync()


def test_an_ended_client_says_so(stub: Stub, tmp_path: Path) -> None:
    app = client(stub, tmp_path)
    app.first_sync()
    app.close()
    assert app.events[-1]["event"] == "ended"
    with pytest.raises(ClientFailed, match="ended"):
        app.query("SELECT 1")
