"""The source that the benchmarks run on: one table of items, and sync configs with 1 and 10 definitions over it."""

from __future__ import annotations

from collections.abc import Collection

import psycopg

from tests.integration.pipeline import Pipeline

TABLES = """
CREATE TABLE items (
    id bigint PRIMARY KEY, list_id text NOT NULL, owner_id text NOT NULL, title text NOT NULL, done boolean NOT NULL,
    rank int NOT NULL, changed_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE items REPLICA IDENTITY FULL;
"""
LISTS = 200
# What an app has beside its main definition: other partitions, other columns, filters that leave most rows out.
QUERIES = (
    ("list_id", "SELECT id, list_id, title, done, rank FROM items WHERE list_id = bucket.p"),
    ("owner_id", "SELECT id, list_id, title, done, rank FROM items WHERE owner_id = bucket.p"),
    ("list_id", "SELECT id, title FROM items WHERE list_id = bucket.p AND done = 1"),
    ("owner_id", "SELECT id, title, changed_at FROM items WHERE owner_id = bucket.p AND rank = 1"),
    ("list_id", "SELECT id, list_id, title, done, rank FROM items WHERE list_id = bucket.p AND rank = 2"),
    ("owner_id", "SELECT id, rank FROM items WHERE owner_id = bucket.p AND rank = 3"),
    ("list_id", "SELECT id, done FROM items WHERE list_id = bucket.p AND rank = 4"),
    ("owner_id", "SELECT id, title FROM items WHERE owner_id = bucket.p AND title = 'never'"),
    ("list_id", "SELECT id, title FROM items WHERE list_id = bucket.p AND owner_id = 'u1'"),
    ("owner_id", "SELECT id, list_id, title, done, rank FROM items WHERE owner_id = bucket.p AND rank = 5"),
)


def config(definitions: int, *, changed: Collection[int] = (), name: str = "more") -> str:
    """A sync config of the first so many definitions; those of the numbers `changed` have a column more."""
    lines = ["bucket_definitions:"]
    for n, (_, query) in enumerate(QUERIES[:definitions], 1):
        text = query.replace("SELECT id,", f"SELECT id, changed_at AS {name},") if n in changed else query
        lines += [f"  items_{n}:", "    parameters: SELECT request.user_id() AS p", f'    data: ["{text}"]']
    return "\n".join(lines) + "\n"


def prepare(pipeline: Pipeline) -> None:
    done = pipeline.cli("init")
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)


def load(dsn: str, first: int, rows: int, per_transaction: int) -> None:
    """Insert `rows` rows from id `first` on, so many per transaction."""
    with psycopg.connect(dsn, autocommit=True) as source:
        for start in range(first, first + rows, per_transaction):
            end = min(start + per_transaction, first + rows) - 1
            source.execute(
                "INSERT INTO items SELECT n, 'l' || n %% %s, 'u' || n %% 50, 'Item ' || n, n %% 3 = 0, n %% 20"
                " FROM generate_series(%s::bigint, %s::bigint) n",
                (LISTS, start, end),
            )
