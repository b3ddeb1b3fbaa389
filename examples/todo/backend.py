"""The todo app's own backend: writes to Postgres what clients wrote locally, each batch whole or not at all.

    python backend.py        from examples/todo, where syncline.yaml is

`POST /upload` takes `{"batch": [{"op": "PUT" | "PATCH" | "DELETE", "type": TABLE, "id": ID, "data": {...}}]}`.
Anybody who reaches it may write: a real one checks the user's token, and whose rows they are.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
from psycopg.sql import SQL, Composed, Identifier, Placeholder

from connector import settings

# Which columns clients may write, by table.
WRITABLE = {
    "lists": ("owner_id", "name", "archived"),
    "todos": (
        *("list_id", "created_by", "assigned_to", "title", "notes", "done", "priority"),
        *("effort_hours", "progress", "due_at", "labels"),
    ),
    "comments": ("todo_id", "list_id", "author_id", "body"),
}
LARGEST = 1 << 20
COMMA = SQL(", ")
INSERT = SQL("INSERT INTO {table} ({names}) VALUES ({places}) ON CONFLICT (id) DO {otherwise}")
UPDATE = SQL("UPDATE {table} SET {sets} WHERE id = %(id)s")
DELETE = SQL("DELETE FROM {table} WHERE id = %(id)s")

Statement = tuple[Composed, dict[str, str | None]]


class Refused(Exception):
    """A batch that cannot be written, and why."""


def statements(batch: Any) -> Iterator[Statement]:
    """What is executed for a batch. Raises Refused for a table, column or operation that clients may not write."""
    if not isinstance(batch, list):
        raise Refused('the body is to be {"batch": [...]}')
    for entry in batch:
        match entry:
            case {"op": str(op), "type": str(table), "id": str(key)}:
                yield _statement(op, table, key, entry.get("data") or {})
            case _:
                raise Refused("an entry is to be an object with op, type, id and data")


def _statement(op: str, table: str, key: str, row: Any) -> Statement:
    _check(table, row)
    values = {"id": key, **{column: _text(value) for column, value in row.items()}}
    sets = COMMA.join(SQL("{} = {}").format(Identifier(column), Placeholder(column)) for column in row)
    match op:
        case "PUT":
            names, places = COMMA.join(map(Identifier, values)), COMMA.join(map(Placeholder, values))
            otherwise = SQL("UPDATE SET {}").format(sets) if row else SQL("NOTHING")
            text = INSERT.format(table=Identifier(table), names=names, places=places, otherwise=otherwise)
        case "PATCH" if row:
            text = UPDATE.format(table=Identifier(table), sets=sets)
        case "DELETE":
            text = DELETE.format(table=Identifier(table))
        case _:
            raise Refused(f"operation {op!r} with columns {list(row)} is none of PUT, PATCH, DELETE")
    return text, values


def _check(table: str, row: Any) -> None:
    """Every name that gets into a statement is one of WRITABLE's."""
    if table not in WRITABLE:
        raise Refused(f"table {table!r} takes no writes; these do: {', '.join(WRITABLE)}")
    if not isinstance(row, dict):
        raise Refused(f"the data of an entry is to be an object, not {row!r}")
    for column in row:
        if column not in WRITABLE[table]:
            raise Refused(f"table {table!r} takes no column {column!r}; it takes: {', '.join(WRITABLE[table])}")


def _text(value: Any) -> str | None:
    """Values go as text, of which Postgres makes the column's type: SQLite's 1 is a boolean's true."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def upload(dsn: str, batch: Any) -> int:
    """Write a batch; the number of entries. Raises Refused, psycopg.Error."""
    wanted = list(statements(batch))
    with psycopg.connect(dsn) as source:
        for statement, values in wanted:
            source.execute(statement, values)
    return len(wanted)


class Backend:
    """The backend while the block runs, on a free port unless one is named."""

    def __init__(self, dsn: str, port: int = 0) -> None:
        self._server = _Server(("127.0.0.1", port), Uploads)
        self._server.upload = partial(upload, dsn)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/upload"

    def __enter__(self) -> Backend:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    upload: Callable[[Any], int]


class Uploads(BaseHTTPRequestHandler):
    """Answers what is posted, by its server's `upload`."""

    server: Any

    def log_message(self, *_: object) -> None:
        """Refusals are answered; nothing else is worth a line."""

    def do_POST(self) -> None:
        try:
            written = self.server.upload(self._batch())
        except Refused as error:
            self.reply(400, {"error": str(error)})
        except psycopg.OperationalError as error:
            self.reply(503, {"error": f"the database is away: {error}"})
        except psycopg.Error as error:
            self.reply(400, {"error": error.diag.message_primary or str(error)})
        else:
            self.reply(200, {"written": written})

    def _batch(self) -> Any:
        if self.path != "/upload":
            raise Refused("the path is /upload")
        length = self.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > LARGEST:
            raise Refused(f"a batch has at most {LARGEST} bytes, this one {length}")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except ValueError as error:
            raise Refused(f"the body is no JSON: {error}") from error
        return body.get("batch") if isinstance(body, dict) else None

    def reply(self, status: int, body: Any) -> None:
        self.send(status, json.dumps(body).encode(), "application/json")

    def send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    known = settings.load(str(Path(__file__).parent / settings.FILE_NAME))
    with Backend(known.postgres, 6481) as backend:
        print(f"Uploads are taken at {backend.url}; Ctrl-C ends it", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
