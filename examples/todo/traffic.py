"""The example's rows, and somebody who keeps changing them."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import psycopg

HERE = Path(__file__).parent
LISTS, TODOS, USERS = 200, 20_000, 50
TRANSACTIONS_PER_SECOND = 50


def fill(dsn: str, *, todos: int = TODOS) -> None:
    """The example's tables with users, lists, members, todos and comments."""
    with psycopg.connect(dsn) as source:
        source.execute((HERE / "tables.sql").read_text())
        source.execute(
            "INSERT INTO users (id, email, name, is_admin)"
            " SELECT md5('user ' || n)::uuid, 'u' || n || '@example.com', 'User ' || n, n = 1"
            " FROM generate_series(1, %s) n",
            (USERS,),
        )
        source.execute(
            "INSERT INTO lists (id, owner_id, name)"
            " SELECT md5('list ' || n)::uuid, md5('user ' || 1 + n %% %s)::uuid, 'List ' || n"
            " FROM generate_series(1, %s) n",
            (USERS, LISTS),
        )
        source.execute("INSERT INTO list_members SELECT id, owner_id, 'owner' FROM lists")
        source.execute(
            "INSERT INTO todos (id, list_id, created_by, assigned_to, title, notes, done, priority, effort_hours)"
            " SELECT md5('todo ' || n)::uuid, l.id, l.owner_id, l.owner_id, 'Todo ' || n, 'Notes of ' || n,"
            " n %% 4 = 0, n %% 3, n / 4.0 %% 100 FROM generate_series(1, %s) n"
            " JOIN lists l ON l.id = md5('list ' || 1 + n %% %s)::uuid",
            (todos, LISTS),
        )
        source.execute(
            "INSERT INTO comments (todo_id, list_id, author_id, body)"
            " SELECT id, list_id, created_by, 'A word on ' || title FROM todos WHERE priority = 2"
        )
        source.execute("INSERT INTO tags SELECT n, 'tag ' || n, '#00ff0' || n FROM generate_series(1, 9) n")


class Writer(threading.Thread):
    """Commits transactions until stopped: todos done, moved, added, removed; comments; lists renamed."""

    STATEMENTS = (
        "UPDATE todos SET done = NOT done, updated_at = now() WHERE id = md5('todo ' || %(n)s)::uuid",
        "UPDATE todos SET title = 'Todo again ' || %(n)s WHERE id = md5('todo ' || %(n)s)::uuid",
        "UPDATE todos SET list_id = md5('list ' || 1 + %(n)s %% 200)::uuid WHERE id = md5('todo ' || %(n)s + 7)::uuid",
        "UPDATE lists SET name = 'List again ' || %(n)s WHERE id = md5('list ' || 1 + %(n)s %% 200)::uuid",
        "INSERT INTO comments (todo_id, list_id, author_id, body) SELECT id, list_id, created_by, 'New ' || %(n)s"
        " FROM todos WHERE id = md5('todo ' || %(n)s)::uuid",
        "INSERT INTO todos (id, list_id, created_by, title, notes) SELECT gen_random_uuid(), id, owner_id, 'New', 'n'"
        " FROM lists WHERE id = md5('list ' || 1 + %(n)s %% 200)::uuid",
        "DELETE FROM comments WHERE id = %(n)s",
    )

    def __init__(self, dsn: str) -> None:
        super().__init__(daemon=True)
        self._dsn = dsn
        self._random = random.Random(1)
        self._end = threading.Event()
        self._committed = 0

    def run(self) -> None:
        with psycopg.connect(self._dsn) as source:
            while not self._end.wait(1 / TRANSACTIONS_PER_SECOND):
                for statement in self._random.sample(self.STATEMENTS, 3):
                    source.execute(statement, {"n": self._random.randint(1, TODOS)})
                source.commit()
                self._committed += 1

    def finish(self) -> int:
        """Stop; the number of transactions committed."""
        self._end.set()
        self.join(10)
        return self._committed
