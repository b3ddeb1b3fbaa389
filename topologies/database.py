"""What the source database says of its tables (rule S10)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import psycopg

from connector.errors import Unavailable
from connector.settings import Settings
from connector.source.tables import TableFacts

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


def table_facts(settings: Settings) -> dict[str, TableFacts]:
    """Every table of the database by `schema.table`. Raises Unavailable where it is out of reach."""
    return {row[0]: _facts(row) for row in ask(settings, _TABLES)}


def ask(settings: Settings, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """The rows of one query. Raises Unavailable where the database is out of reach."""
    try:
        with psycopg.connect(settings.postgres, connect_timeout=5, autocommit=True) as connection:
            return connection.execute(query, parameters or None).fetchall()
    except psycopg.OperationalError as error:
        raise Unavailable(
            f"the source database is out of reach: {str(error).strip()}", where=_without_password(settings.postgres)
        ) from error


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
