"""A small source, a seeded writer on it, and the oracle: expected buckets in plain SQL and Python, sharing no code with
the product (rule D6 asks for an oracle straight from Postgres)."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.integration.pipeline import Buckets, Pipeline, prepared
from tests.worlds import Source

TABLES = """
CREATE TABLE lists (id text PRIMARY KEY, owner_id text, title text);
CREATE TABLE todos (id bigint PRIMARY KEY, list_id text, title text, done boolean NOT NULL, score numeric, body jsonb);
CREATE TABLE mark_a (id int PRIMARY KEY, value int NOT NULL);
CREATE TABLE mark_b (id int PRIMARY KEY, value int NOT NULL);
CREATE TABLE mark_c (id int PRIMARY KEY, value int NOT NULL);
ALTER TABLE lists REPLICA IDENTITY FULL;
ALTER TABLE todos REPLICA IDENTITY FULL;
INSERT INTO mark_a VALUES (1, 0);
INSERT INTO mark_b VALUES (1, 0);
INSERT INTO mark_c VALUES (1, 0);
"""

CONFIG = """\
bucket_definitions:
  marks:
    data:
      - SELECT id, value FROM mark_a
      - SELECT id, value FROM mark_b
      - SELECT id, value FROM mark_c
  by_list:
    parameters: SELECT id AS list_id FROM lists WHERE owner_id = request.user_id()
    data:
      - SELECT id, title FROM lists WHERE id = bucket.list_id
      - SELECT id, list_id, title, done FROM todos WHERE list_id = bucket.list_id
  open_todos:
    data:
      - SELECT id, title FROM todos WHERE done = 0
"""
# one of three definitions changed
CHANGED = CONFIG.replace(
    "SELECT id, title FROM todos WHERE done = 0", "SELECT id, title, score FROM todos WHERE done = 0"
)
# changed once more, under the first name, and a definition removed
CHANGED_AGAIN = CONFIG.replace(
    "SELECT id, title FROM todos WHERE done = 0", "SELECT id, body FROM todos WHERE done = 1"
)


def furnish(source: Source, lists: int, todos: int) -> None:
    """The tables, with rows."""
    with source.connect() as connection:
        connection.execute(TABLES)
        fill(connection, lists, todos)


@contextmanager
def deployed(source: Source, folder: Path, *, lists: int, todos: int) -> Iterator[Pipeline]:
    """All workers running, and the definitions deployed."""
    furnish(source, lists, todos)
    with prepared(source.settings, folder) as pipeline:
        pipeline.start()
        pipeline.deploy(CONFIG)
        yield pipeline


def fill(connection: psycopg.Connection[Any], lists: int, todos: int) -> None:
    """`todos` rows spread over `lists`, made by the database itself."""
    connection.execute(
        "INSERT INTO lists SELECT 'l' || n, 'u' || n %% 7, 'List ' || n FROM generate_series(1, %s) n", (lists,)
    )
    connection.execute(
        "INSERT INTO todos SELECT n, 'l' || 1 + n %% %s, 'Todo ' || n, n %% 3 = 0, n / 8.0, jsonb_build_object('n', n)"
        " FROM generate_series(1, %s) n",
        (lists, todos),
    )


def expected(connection: psycopg.Connection[Any], config: str) -> Buckets:
    """What every bucket must hold for the rows the source has now."""
    todos = connection.execute("SELECT id, list_id, title, done, score::text, body::text FROM todos").fetchall()
    lists = connection.execute("SELECT id, title FROM lists").fetchall()
    found: Buckets = {("marks", "[]"): {}}
    for table in ("mark_a", "mark_b", "mark_c"):
        for row_id, value in connection.execute(f"SELECT id, value FROM {table}").fetchall():
            found[("marks", "[]")][(table, str(row_id))] = {"id": row_id, "value": value}
    for row_id, title in lists:
        found.setdefault(("by_list", f'["{row_id}"]'), {})[("lists", row_id)] = {"id": row_id, "title": title}
    for row_id, list_id, title, done, score, body in todos:
        identity = ("todos", str(row_id))
        if list_id is not None:
            found.setdefault(("by_list", f'["{list_id}"]'), {})[identity] = {
                "id": row_id,
                "list_id": list_id,
                "title": title,
                "done": int(done),
            }
        if config == CHANGED_AGAIN:
            if done:
                found.setdefault(("open_todos", "[]"), {})[identity] = {"id": row_id, "body": body}
        elif not done:
            score_column = {"score": score} if config == CHANGED else {}
            found.setdefault(("open_todos", "[]"), {})[identity] = {"id": row_id, "title": title} | score_column
    return {bucket: rows for bucket, rows in found.items() if rows}


class Writer(threading.Thread):
    """Commits random transactions until stopped; each sets the three marks to one new value.

    The same seed gives the same transactions; how many there are depends on time.
    """

    def __init__(self, dsn: str, seed: int, *, per_second: float = 50.0) -> None:
        super().__init__(daemon=True)
        self.connection = psycopg.connect(dsn)
        self.random = random.Random(seed)
        self.pause = 1.0 / per_second
        self.committed = 0
        self.failure: BaseException | None = None
        self._end = threading.Event()

    def run(self) -> None:
        try:
            while not self._end.is_set():
                started = time.monotonic()
                self.transaction()
                self._end.wait(max(0.0, self.pause - (time.monotonic() - started)))
        except BaseException as error:
            self.failure = error

    def finish(self) -> int:
        """Stop; the number of transactions committed. Raises what the thread died of."""
        self._end.set()
        self.join(20)
        self.connection.close()
        if self.failure is not None:
            raise self.failure
        return self.committed

    def transaction(self) -> None:
        with self.connection.transaction():
            for table in self.random.sample(("mark_a", "mark_b", "mark_c"), 3):
                self.connection.execute(f"UPDATE {table} SET value = %s WHERE id = 1", (self.committed + 1,))
                self.change()
        self.committed += 1

    def change(self) -> None:
        """One random change: of a row, of its key, of its list; an insert, a delete; now and then of many rows."""
        pick = self.random.randrange
        row, other, owner = pick(1, 3000), pick(10_000, 1_000_000_000), pick(1, 40)
        text = f"Text {pick(10)} é😀"
        match pick(9):
            case 0 | 1:
                self.connection.execute(
                    "INSERT INTO todos VALUES (%s, %s, %s, %s, %s, '{\"a\": 1}') ON CONFLICT DO NOTHING",
                    (other, f"l{owner}", text, bool(pick(2)), pick(1000) / 8),
                )
            case 2 | 3:
                self.connection.execute("UPDATE todos SET title = %s, done = NOT done WHERE id = %s", (text, row))
            case 4:
                self.connection.execute("UPDATE todos SET list_id = %s WHERE id = %s", (f"l{owner}", row))
            case 5:
                self.connection.execute("DELETE FROM todos WHERE id = %s", (row,))
            case 6:
                self.connection.execute("UPDATE todos SET id = %s WHERE id = %s", (other, row))
            case 7:
                self.connection.execute("UPDATE lists SET title = %s WHERE id = %s", (text, f"l{owner}"))
            case 8:
                self.connection.execute("UPDATE todos SET score = score + 1 WHERE id %% 500 = %s", (pick(500),))
