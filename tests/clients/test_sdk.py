"""The real SDK on the todo example: first sync, live changes, uploads, definitions changed under it, a node killed."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import md5
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from connector.definitions.dataset import Dataset
from connector.definitions.request import Subscription
from examples.todo import expected
from examples.todo.backend import Backend
from examples.todo.client.sdk import Client
from examples.todo.traffic import fill
from tests.integration.pipeline import Pipeline, eventually, prepared
from tests.test_structure import ROOT

pytestmark = pytest.mark.stack
TODO = ROOT / "examples" / "todo"
FIRST, SECOND = TODO / "sync-config.yaml", TODO / "sync-config-v2.yaml"
SCHEMA = json.loads((TODO / "client" / "schema.json").read_text())
NDJSON = "application/x-ndjson"
Open = Callable[..., Client]


@pytest.fixture
def pipeline(source: Any, tmp_path: Path) -> Iterator[Pipeline]:
    """The example's rows, workers running, its first sync config deployed."""
    fill(source.settings.postgres, todos=4_000)
    with prepared(source.settings, tmp_path) as pipeline:
        pipeline.start()
        pipeline.ok("deploy", str(FIRST))
        yield pipeline


@pytest.fixture
def open_client(pipeline: Pipeline, tmp_path: Path) -> Iterator[Open]:
    """Opens clients, by number of their user, and ends them with the test."""
    endpoint = pipeline.status()["endpoint"]
    with ExitStack() as opened:

        def open_client(user: int, name: str = "app", **options: Any) -> Client:
            token = pipeline.cli("token", "--sub", user_id(user)).stdout.strip()
            folder = tmp_path / f"{name}-{user}"
            return opened.enter_context(Client(endpoint, token, SCHEMA, folder, retry="100", **options))

        yield open_client


def user_id(number: int) -> str:
    return str(UUID(md5(f"user {number}".encode()).hexdigest()))


def list_of(source: Any, user: int) -> str:
    return str(source.sql("SELECT id::text FROM lists WHERE owner_id = %s ORDER BY id LIMIT 1", user_id(user))[0][0])


def under(source: Any, config: Path) -> Dataset:
    """The rows that the source has now, under a sync config."""
    with source.connect() as connection:
        return expected.dataset(connection, config)


def settled(app: Client, rows: Dataset, user: int, *subscriptions: Subscription) -> expected.Held:
    """The client's SQLite comes to equal what this user is to hold; that."""
    wanted = expected.held(rows, {"sub": user_id(user)}, subscriptions)
    eventually(lambda: app.held() == wanted, within=60, what="the client holds what it is to hold")
    told = {(table, row_id, json.dumps(json.loads(text))) for table, row_id, text in wanted}

    def shows_it() -> bool:
        """What has come is shown once its checkpoint is complete."""
        rows = [(table, row_id, row) for table, kept in app.rows().items() for row_id, row in kept.items()]
        shown = {(table, row_id, json.dumps(row)) for table, row_id, row in rows}
        return shown <= told and {one[:2] for one in shown} == {one[:2] for one in told}

    eventually(shows_it, within=60, what="the client shows what it holds")
    assert not [error for error in app.errors if "hecksum" in error]
    return wanted


def test_first_sync_live_changes_a_local_write_a_killed_node(
    source: Any, pipeline: Pipeline, open_client: Open
) -> None:
    with Backend(source.settings.postgres) as backend:
        app = open_client(2, upload_url=backend.url)
        app.first_sync()
        settled(app, under(source, FIRST), 2)

        source.sql("UPDATE todos SET title = 'seen live' WHERE list_id = %s", list_of(source, 2))
        app.until("SELECT count(*) FROM todos WHERE title = 'seen live'")
        settled(app, under(source, FIRST), 2)

        write_and_see_it_back(app, source)
        settled(app, under(source, FIRST), 2)

        requests = app.received()["requests"]
        assert pipeline.send("serve", signal.SIGKILL) == 1
        source.sql("UPDATE todos SET done = NOT done WHERE list_id = %s", list_of(source, 2))
        settled(app, under(source, FIRST), 2)
        assert app.received()["requests"] > requests


def write_and_see_it_back(app: Client, source: Any) -> None:
    """User 2 writes a todo, which goes to the backend and comes back by the stream."""
    mine = str(uuid4())
    write = "INSERT INTO todos (id, list_id, created_by, title, done) VALUES (?, ?, ?, 'mine', 1)"
    app.execute(write, mine, list_of(source, 2), user_id(2))
    eventually(lambda: downloaded(app, mine), within=60, what="the local write came back")


def downloaded(app: Client, todo: str) -> bool:
    """Whether a local write came back from the server; it is never away meanwhile (rule V4)."""
    assert app.value("SELECT count(*) FROM todos WHERE id = ?", todo) == 1, "the local write flickered"
    return bool(app.value("SELECT count(*) FROM ps_oplog WHERE row_id = ?", todo))


def test_a_changed_definition_is_all_that_is_downloaded_again(
    source: Any, pipeline: Pipeline, open_client: Open
) -> None:
    apps = {user: open_client(user, accept=NDJSON) for user in (2, 3)}
    first, second = under(source, FIRST), under(source, SECOND)
    for user, app in apps.items():
        app.first_sync()
        settled(app, first, user)
    before = {user: (app.buckets().keys(), app.received()) for user, app in apps.items()}

    pipeline.ok("deploy", str(SECOND))
    for user, app in apps.items():
        wanted = settled(app, second, user)
        (old, had), new, has = before[user], app.buckets().keys(), app.received()
        assert {definition(bucket) for bucket in old - new} == {definition(bucket) for bucket in new - old}
        assert {definition(bucket) for bucket in new - old} == {"list_todos"}
        assert all(has["ops"][bucket] == count for bucket, count in had["ops"].items())
        again = sum(table in ("todos", "list_members") for table, _, _ in wanted)
        assert sum(has["ops"].values()) - sum(had["ops"].values()) == again
        assert has["requests"] == 1, "the stream goes on"

    pipeline.ok("rollback")
    for user, app in apps.items():
        settled(app, first, user)
        assert app.received()["requests"] == 1


def test_the_other_way_in_is_a_websocket(source: Any, pipeline: Pipeline, open_client: Open) -> None:
    """React Native's SDK takes it unless told otherwise: first sync, own writes, a deploy, a node killed."""
    with Backend(source.settings.postgres) as backend:
        app = open_client(2, upload_url=backend.url, method="websocket")
        app.first_sync()
        settled(app, under(source, FIRST), 2)

        write_and_see_it_back(app, source)
        settled(app, under(source, FIRST), 2)

        before = app.buckets().keys()
        pipeline.ok("deploy", str(SECOND))
        settled(app, under(source, SECOND), 2)
        assert {definition(bucket) for bucket in before - app.buckets().keys()} == {"list_todos"}

        assert pipeline.send("serve", signal.SIGKILL) == 1
        source.sql("UPDATE todos SET done = NOT done WHERE list_id = %s", list_of(source, 2))
        settled(app, under(source, SECOND), 2)
        assert app.received()["requests"] == 0, "not one stream over HTTP"


STREAMS = """
config:
  edition: 2
streams:
  my_lists:
    auto_subscribe: true
    priority: 1
    query: SELECT id, owner_id, name FROM lists WHERE owner_id = auth.user_id()
  list:
    query: >-
      SELECT id, list_id, title, done FROM todos WHERE list_id = subscription.parameter('list')
      AND list_id IN (SELECT id FROM lists WHERE owner_id = auth.user_id())
"""
MORE_STREAMS = (
    STREAMS.replace("title, done", "title, done, notes")
    + """\
  tags:
    query: SELECT id, name FROM tags
"""
)


def test_streams_that_a_client_subscribes_to(
    source: Any, pipeline: Pipeline, open_client: Open, tmp_path: Path
) -> None:
    """Also one that a later deploy brings, in the same connection; write checkpoints in the SDK's other way."""
    first, second = tmp_path / "streams.yaml", tmp_path / "more.yaml"
    first.write_text(STREAMS)
    second.write_text(MORE_STREAMS)
    pipeline.ok("deploy", str(first))
    one, other = (Subscription("list", {"list": name}) for name in (list_of(source, 2), list_of(source, 3)))
    with Backend(source.settings.postgres) as backend:
        app = open_client(2, upload_url=backend.url, checkpoint_mode="requests")
        app.first_sync()
        settled(app, under(source, first), 2)
        for asked in (one, other):  # the other one's is somebody else's list
            app.subscribe(asked.stream, **asked.parameters)
        held = settled(app, under(source, first), 2, one, other)
        assert {table for table, _, _ in held} == {"lists", "todos"}

        write_and_see_it_back(app, source)
        settled(app, under(source, first), 2, one, other)

        pipeline.ok("deploy", str(second))
        settled(app, under(source, second), 2, one, other)
        app.subscribe("tags")
        held = settled(app, under(source, second), 2, one, other, Subscription("tags"))
        assert {table for table, _, _ in held} == {"lists", "todos", "tags"}


def definition(bucket: str) -> str:
    """Of `6#list_todos["…"]`."""
    return bucket.partition("#")[2].partition("[")[0]
