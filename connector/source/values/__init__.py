"""Values of source databases to SQLite values: one module per database, shared by the readers of its change records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from connector.definitions.model import Options
from connector.errors import BadRecord
from connector.source.values import mongo, mysql, postgres, sqlserver
from connector.values import SqliteValue

_SOURCES: dict[str, Callable[[str, Any, Options], SqliteValue]] = {
    "postgres": postgres.of_text,
    "mysql": mysql.of_value,
    "sqlserver": sqlserver.of_value,
    "mongodb": lambda type_name, value, options: mongo.of_extended_json(value, options),
}


def convert(source: str, type_name: str | None, value: Any, options: Options) -> SqliteValue:
    """A value as the source's own driver gives it → its SQLite value (powersync.md 1.9).

    `source`: postgres (the text that Postgres prints), mysql, sqlserver (a driver's value) or mongodb (extended JSON,
    which needs no `type_name`). Raises BadRecord for a value that is none of its type.
    """
    if value is None:
        return None
    try:
        return _SOURCES[source](type_name or "", value, options)
    except (ValueError, TypeError, KeyError) as error:
        raise BadRecord(f"{value!r:.80} is no {source} value of type {type_name}: {error!r}") from error
