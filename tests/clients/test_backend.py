"""What the example's backend writes for a client's batch, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest

from examples.todo.backend import LARGEST, WRITABLE, Backend, Refused, statements
from tests.test_structure import ROOT

NO_DATABASE = "postgresql://nobody@127.0.0.1:1/none?connect_timeout=2"


def texts(*batch: Any) -> list[tuple[str, dict[str, str | None]]]:
    return [(sql.as_string(None), values) for sql, values in statements(list(batch))]


def entry(op: str, **row: Any) -> dict[str, Any]:
    return {"op": op, "type": "todos", "id": "t1", "data": row, "op_id": 7, "tx_id": 2}


def test_what_clients_may_write_are_columns_of_the_tables() -> None:
    ddl = (ROOT / "examples" / "todo" / "tables.sql").read_text()
    for table, columns in WRITABLE.items():
        created = re.search(rf"CREATE TABLE {table} \((.*?)^\);", ddl, re.DOTALL | re.MULTILINE)
        assert created is not None
        assert set(columns) <= set(re.findall(r"^    (\w+)", created[1], re.MULTILINE))


def test_a_put_inserts_or_replaces_what_it_names() -> None:
    assert texts(entry("PUT", title="Milk", done=1, notes=None)) == [
        (
            'INSERT INTO "todos" ("id", "title", "done", "notes") VALUES (%(id)s, %(title)s, %(done)s, %(notes)s)'
            ' ON CONFLICT (id) DO UPDATE SET "title" = %(title)s, "done" = %(done)s, "notes" = %(notes)s',
            {"id": "t1", "title": "Milk", "done": "1", "notes": None},
        )
    ]


def test_a_patch_writes_what_it_names_and_a_delete_removes() -> None:
    assert texts(entry("PATCH", done=0), {"op": "DELETE", "type": "lists", "id": "l1"}) == [
        ('UPDATE "todos" SET "done" = %(done)s WHERE id = %(id)s', {"id": "t1", "done": "0"}),
        ('DELETE FROM "lists" WHERE id = %(id)s', {"id": "l1"}),
    ]


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (None, "batch"),
        (["PUT"], "an entry is to be"),
        ([{"op": "PUT", "type": "todos", "data": {}}], "an entry is to be"),
        ([{**entry("PUT"), "type": "pg_shadow"}], "'pg_shadow' takes no writes; these do: lists, todos, comments"),
        ([{**entry("PUT"), "type": ["todos"]}], "an entry is to be"),
        ([entry("PATCH", **{"title = ''; --": 1})], "takes no column"),
        ([{**entry("PUT"), "data": "x"}], "not 'x'"),
        ([entry("PATCH", updated_at="now")], "takes no column 'updated_at'; it takes: list_id"),
        ([entry("TRUNCATE")], "'TRUNCATE'"),
        ([entry("PATCH")], "'PATCH'"),
    ],
)
def test_anything_else_is_refused(batch: Any, said: str) -> None:
    with pytest.raises(Refused, match=re.escape(said)):
        list(statements(batch))


@pytest.fixture
def url() -> Iterator[str]:
    with Backend(NO_DATABASE) as backend:
        yield backend.url


def test_refusals_say_why(url: str) -> None:
    answer = httpx.post(url, json={"batch": [entry("DROP")]})
    assert answer.status_code == 400
    assert "'DROP'" in answer.json()["error"]
    assert httpx.post(url, content=b"{").status_code == 400
    assert httpx.post(url, json=[1]).status_code == 400
    assert httpx.post(f"{url}/more", json={"batch": []}).status_code == 400


def test_a_batch_that_is_too_large_is_not_read(url: str) -> None:
    connection = HTTPConnection(url.split("/")[2])
    connection.putrequest("POST", "/upload")
    connection.putheader("content-length", str(LARGEST + 1))
    connection.endheaders()
    assert connection.getresponse().status == 400
    connection.close()


def test_a_database_that_is_away_is_no_fault_of_the_client(url: str) -> None:
    assert httpx.post(url, json={"batch": [entry("PATCH", done=1)]}).status_code == 503
