"""What the source database says of its tables (rule S10)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from connector.errors import SourceRefused, Unavailable
from connector.settings import Settings
from connector.source.markers import prefix
from connector.source.tables import TableFacts

LOCK_PATIENCE = 10  # seconds; whoever has the lock changes one setting

_IDENTITIES = {"d": "default", "n": "nothing", "f": "full", "i": "index"}
_AVRO_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

# Key: what Debezium takes: the primary key, else a unique index of plain columns; none of them may be null.
_TABLES = """
SELECT n.nspname || '.' || c.relname, c.relreplident::text, c.reltoastrelid <> 0,
       coalesce((SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum))
                 FROM pg_attribute a
                 WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])), '{}'),
       (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
       coalesce((SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attstorage <> 'p'), '{}')
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
    SELECT indkey FROM pg_index
    WHERE indrelid = c.oid AND (indisprimary OR indisunique) AND indpred IS NULL AND indexprs IS NULL AND indisvalid
      AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (indkey::int2[])
                      AND NOT a.attnotnull)
    ORDER BY indisprimary DESC, indexrelid LIMIT 1) i ON true
WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
"""

# Of a partitioned table the view has its partitions, unless they are published under its name.
_PUBLISHED = """
SELECT n.nspname || '.' || c.relname,
       EXISTS (SELECT FROM pg_publication_tables p
               WHERE p.pubname = %s AND p.schemaname = n.nspname AND p.tablename = c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname || '.' || c.relname = ANY (%s)
"""
# Of a partitioned table its partitions hold the rows. What has pages and was never counted has -1 rows.
_SIZES = """
SELECT n.nspname || '.' || c.relname,
       CASE WHEN bool_or(l.reltuples < 0 AND pg_relation_size(l.oid) > 0) THEN NULL
            ELSE sum(greatest(l.reltuples, 0))::bigint END,
       sum(pg_table_size(l.oid))::bigint
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT c.oid UNION SELECT relid FROM pg_partition_tree(c.oid)) part (oid)
JOIN pg_class l ON l.oid = part.oid AND l.relkind = 'r'
WHERE c.relkind IN ('r', 'p') AND n.nspname || '.' || c.relname = ANY (%s)
GROUP BY 1
"""


def table_facts(settings: Settings) -> dict[str, TableFacts]:
    """Every table of the database by `schema.table`. Raises Unavailable where it is out of reach."""
    return {row[0]: _facts(row) for row in ask(settings, _TABLES)}


def published(settings: Settings, publication: str, tables: Sequence[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Which of these tables there are, and which the publication has. Raises Unavailable."""
    found = ask(settings, _PUBLISHED, (publication, list(tables)))
    return frozenset(name for name, _ in found), frozenset(name for name, there in found if there)


def running_transactions(settings: Settings) -> tuple[int, int]:
    """(the oldest transaction that runs, the next one to begin), of those that write. Raises Unavailable."""
    first, following = ask(
        settings,
        "SELECT pg_snapshot_xmin(now)::text, pg_snapshot_xmax(now)::text FROM pg_current_snapshot() now",
    )[0]
    return int(first), int(following)


def table_estimates(settings: Settings, tables: Sequence[str]) -> dict[str, tuple[int | None, int]]:
    """About how many rows each table has, None where nobody has counted, and its bytes. Raises Unavailable."""
    found = {table: (rows, size) for table, rows, size in ask(settings, _SIZES, (list(tables),))}
    return {table: found.get(table, (0, 0)) for table in tables}


def publish(settings: Settings, publication: str, tables: Sequence[str]) -> None:
    """Have a publication, which is made where there is none, publish these tables too. Raises SourceRefused where the
    database says no, Unavailable."""
    if tables and not is_publication(settings, publication):
        rights = "as their owner, who may CREATE in the database"
        _publish(settings, "CREATE PUBLICATION {} FOR TABLE {}", publication, tables, rights)
    for table in sorted(set(tables) - published(settings, publication, tables)[1]):
        rights = "as the publication's owner, who must own the table too"
        _publish(settings, "ALTER PUBLICATION {} ADD TABLE {}", publication, [table], rights)


def is_publication(settings: Settings, name: str) -> bool:
    """Whether there is one of that name. Raises Unavailable."""
    return bool(ask(settings, "SELECT FROM pg_publication WHERE pubname = %s", (name,)))


def _publish(
    settings: Settings, statement: LiteralString, publication: str, tables: Sequence[str], rights: str
) -> None:
    names = sql.SQL(", ").join(sql.Identifier(*table.split(".", 1)) for table in tables)
    try:
        with _connected(settings) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(publication), names))
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        return  # somebody was faster, a moment before or at the same time
    except psycopg.OperationalError as error:
        raise _out_of_reach(settings, error) from error
    except psycopg.Error as error:
        listed = ", ".join(tables)
        raise SourceRefused(
            f"{listed} cannot be added to the publication {publication}: {str(error).splitlines()[0]}",
            hint=f"{statement.format(publication, listed)}, {rights}; then run the command again",
        ) from error


def wake(settings: Settings) -> None:
    """A transaction without a row in the source's log, for a connector that waits for one. Raises Unavailable."""
    try:
        ask(settings, "SELECT pg_logical_emit_message(true, %s, '')", (f"{prefix(settings.app)}.wake",))
    except psycopg.Error as error:
        raise Unavailable(
            f"the source database takes no message: {str(error).splitlines()[0]}",
            where=_without_password(settings.postgres),
            hint="where nobody writes, a new table is read once a row of any captured table changes",
        ) from error


@contextmanager
def alone(settings: Settings, what: str) -> Iterator[None]:
    """One process at a time, on whatever machine, is in here for the same thing; a killed one is out of it.

    The lock is a transaction's, so that a connection pool in between does not keep it. Raises Unavailable.
    """
    try:
        with _connected(settings) as connection, connection.transaction():
            connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{LOCK_PATIENCE}s",))
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"syncline: {what}",))
            yield
    except psycopg.errors.LockNotAvailable as error:
        raise Unavailable(
            f"another process has been changing {what} for {LOCK_PATIENCE} s", hint="end it if it hangs"
        ) from error
    except psycopg.OperationalError as error:
        raise _out_of_reach(settings, error) from error


def ask(settings: Settings, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """The rows of one query. Raises Unavailable where the database is out of reach."""
    try:
        with _connected(settings) as connection:
            return connection.execute(query, parameters or None).fetchall()
    except psycopg.OperationalError as error:
        raise _out_of_reach(settings, error) from error


def _connected(settings: Settings) -> psycopg.Connection[Any]:
    return psycopg.connect(settings.postgres, connect_timeout=5, autocommit=True)


def _out_of_reach(settings: Settings, error: psycopg.OperationalError) -> Unavailable:
    return Unavailable(
        f"the source database is out of reach: {str(error).strip()}", where=_without_password(settings.postgres)
    )


def _facts(row: tuple[Any, ...]) -> TableFacts:
    table, identity, has_toast, key, columns, stored = row
    return TableFacts(
        table=table,
        key=tuple(key),
        identity=_IDENTITIES[identity],  # type: ignore[arg-type]
        toastable=tuple(name for name in stored if name not in key) if has_toast else (),
        odd_names=tuple(name for name in columns if not _AVRO_NAME.match(name)),
    )


def _without_password(dsn: str) -> str:
    return re.sub(r"(//[^:/@]*):[^@]*@", r"\1:…@", dsn)
