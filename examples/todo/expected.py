"""What clients of the todo example are to hold, by `syncline evaluate`'s own way from the rows that Postgres has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg.sql import SQL, Composed, Identifier

from connector.cli.sync_config import check_file
from connector.definitions.dataset import Dataset, evaluated
from connector.definitions.request import Connection, Subscription
from connector.values import Row

Held = set[tuple[str, str, str]]  # (table, id, JSON text)
COLUMNS = (
    "SELECT table_name, column_name, data_type FROM information_schema.columns"
    " WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
)
# As edition 2 delivers them; every other type of the example as its text.
AS_DELIVERED = {
    "boolean": SQL("{}::int"),
    "smallint": SQL("{}"),
    "integer": SQL("{}"),
    "bigint": SQL("{}"),
    "double precision": SQL("{}"),
    "timestamp with time zone": SQL("""to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""),
}


def dataset(source: psycopg.Connection[Any], config: Path) -> Dataset:
    """All rows of the source under a sync config."""
    checked = check_file(str(config)).config
    assert checked is not None
    return evaluated(checked, {f"public.{table}": _rows(source, select) for table, select in _selects(source).items()})


def held(rows: Dataset, token: dict[str, Any], subscriptions: Sequence[Subscription] = ()) -> Held:
    """What a client with this token, subscribed to these, is to hold."""
    answer = rows.answer(Connection(token, subscriptions=subscriptions))
    return {(row.output.type, row.output.id, row.output.data) for row in rows.visible(answer)}


def _selects(source: psycopg.Connection[Any]) -> dict[str, Composed]:
    columns: dict[str, list[Composed]] = {}
    for table, name, kind in source.execute(COLUMNS).fetchall():
        written = AS_DELIVERED.get(kind, SQL("{}::text")).format(Identifier(name))
        columns.setdefault(table, []).append(SQL("{} AS {}").format(written, Identifier(name)))
    return {
        table: SQL("SELECT {} FROM {}").format(SQL(", ").join(listed), Identifier(table))
        for table, listed in columns.items()
    }


def _rows(source: psycopg.Connection[Any], select: Composed) -> list[Row]:
    cursor = source.execute(select)
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]
