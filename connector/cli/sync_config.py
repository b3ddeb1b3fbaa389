"""Sync configs as the command line meets them: a file that may not be there, or be no text."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import psycopg

from connector.definitions.check import check
from connector.definitions.model import Checked
from connector.errors import BadConfig
from connector.settings import load

CONNECT_TIMEOUT = 5  # seconds
_COLUMNS = """
    SELECT n.nspname || '.' || c.relname, a.attname
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|information_schema$)'
"""


def check_file(path: str, tables: Mapping[str, Collection[str]] | None = None) -> Checked:
    """The checked content of a file, against the source's tables where they are known.

    Raises BadConfig where the file cannot be read as UTF-8 text.
    """
    return check(read_text(path), path=path, tables=tables)


def read_text(path: str) -> str:
    """The file's text. Raises BadConfig where it cannot be read as UTF-8."""
    try:
        return Path(path).read_bytes().decode()
    except OSError as error:
        raise BadConfig(f"{path} cannot be read: {error.strerror}", hint="name a sync config file") from error
    except UnicodeDecodeError as error:
        raise BadConfig(f"{path} is no UTF-8 text: {error.reason} at byte {error.start}") from error


def source_tables(settings_file: str | None) -> tuple[dict[str, set[str]] | None, str]:
    """The source's columns per `schema.table`, and why there are none where nothing is known of it.

    Asks the database that the settings file names; a database out of reach is no error here.
    """
    try:
        settings = load(settings_file)
    except BadConfig as error:
        if settings_file is not None:
            raise
        return None, error.message
    try:
        with psycopg.connect(settings.postgres, connect_timeout=CONNECT_TIMEOUT) as connection:
            rows = connection.execute(_COLUMNS).fetchall()
    except psycopg.Error as error:
        return None, f"the database cannot be asked: {str(error).splitlines()[0]}"
    tables: dict[str, set[str]] = {}
    for table, column in rows:
        tables.setdefault(table, set()).add(column)
    return tables, ""
