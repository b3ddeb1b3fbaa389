"""Definitions as values: their text for Syncline, and what their buckets must hold, straight from Postgres."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from tests.integration.pipeline import Buckets

COLUMNS = ("title", "score", "body", "list_id")
# how Postgres is asked for the value that a client gets
AS_CLIENTS_SEE = {"score": "score::text", "body": "body::text"}


@dataclass(frozen=True, slots=True)
class Definition:
    """One definition over the tables of tests/integration/world.py; `shape` is its kind of query."""

    name: str
    shape: str  # marks, by_list, todos, or the name of another table with id and title
    columns: tuple[str, ...] = ()
    done: int = 0

    def __str__(self) -> str:
        lines = {"marks": self._marks, "by_list": self._by_list}.get(self.shape, self._rows_of_a_table)()
        return "\n".join([f"  {self.name}:", *(f"    {line}" for line in lines)])

    @property
    def plan(self) -> Definition:
        """The same without what may change at no cost."""
        return replace(self, name="")

    def _marks(self) -> list[str]:
        return ["data:", *(f"  - SELECT id, value FROM mark_{name}" for name in "abc")]

    def _by_list(self) -> list[str]:
        return [
            "parameters: SELECT id AS list_id FROM lists WHERE owner_id = request.user_id()",
            "data:",
            "  - SELECT id, title FROM lists WHERE id = bucket.list_id",
            f"  - SELECT {self._selected} FROM todos WHERE list_id = bucket.list_id",
        ]

    def _rows_of_a_table(self) -> list[str]:
        condition = f" WHERE done = {self.done}" if self.shape == "todos" else ""
        return ["data:", f"  - SELECT {self._selected} FROM {self.shape}{condition}"]

    @property
    def _selected(self) -> str:
        return ", ".join(("id", *self.columns))


Config = tuple[Definition, ...]

TEN: Config = (
    Definition("marks", "marks"),
    Definition("lists", "by_list", ("title",)),
    Definition("scores_of_lists", "by_list", ("score",)),
    Definition("titles", "todos", ("title",)),
    Definition("done_titles", "todos", ("title",), 1),
    Definition("scores", "todos", ("score",)),
    Definition("bodies", "todos", ("body",)),
    Definition("done_bodies", "todos", ("body",), 1),
    Definition("places", "todos", ("list_id",)),
    Definition("everything", "todos", COLUMNS),
)


def text(config: Config, edition: int = 1) -> str:
    """The sync config. No column here has a type whose values another edition writes otherwise."""
    return f"config:\n  edition: {edition}\nbucket_definitions:\n" + "\n".join(map(str, config)) + "\n"


def another(config: Config, chance: random.Random, name: str) -> Definition:
    """A definition of that name that none of the config's is equal to."""
    while True:
        columns = tuple(c for c in COLUMNS if chance.random() < 0.5)
        shape = chance.choice(("todos", "todos", "by_list"))
        found = Definition(name, shape, columns, chance.randrange(2) if shape == "todos" else 0)
        if columns and found.plan not in {d.plan for d in config}:
            return found


def expected(connection: psycopg.Connection[Any], config: Config) -> Buckets:
    """What every bucket must hold for the rows that the source has now."""
    found: Buckets = {}
    for definition in config:
        for bucket, table, row in _rows(connection, definition):
            found.setdefault((definition.name, bucket), {})[table, str(row["id"])] = row
    return found


def _rows(connection: psycopg.Connection[Any], definition: Definition) -> Iterable[tuple[str, str, dict[str, Any]]]:
    """(bucket, table, row) of one definition."""
    if definition.shape == "marks":
        for table in ("mark_a", "mark_b", "mark_c"):
            for row_id, value in connection.execute(f"SELECT id, value FROM {table}").fetchall():  # type: ignore[call-overload]
                yield "[]", table, {"id": row_id, "value": value}
        return
    if definition.shape not in ("by_list", "todos"):
        for row_id, title in connection.execute(f"SELECT id, title FROM {definition.shape}").fetchall():  # type: ignore[arg-type]
            yield "[]", definition.shape, {"id": row_id, "title": title}
        return
    by_list = definition.shape == "by_list"
    if by_list:
        for row_id, title in connection.execute("SELECT id, title FROM lists").fetchall():
            yield f'["{row_id}"]', "lists", {"id": row_id, "title": title}
    columns = "".join(f", {AS_CLIENTS_SEE.get(c, c)}" for c in definition.columns)
    wanted = "list_id IS NOT NULL" if by_list else f"done = {bool(definition.done)}"
    for list_id, row_id, *values in connection.execute(
        f"SELECT list_id, id{columns} FROM todos WHERE {wanted}"  # type: ignore[arg-type]
    ).fetchall():
        bucket = f'["{list_id}"]' if by_list else "[]"
        yield bucket, "todos", {"id": row_id} | dict(zip(definition.columns, values, strict=True))
