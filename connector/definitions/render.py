"""Rows as the texts of PUTs: columns chosen, named, written as JSON and hashed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any
from weakref import WeakValueDictionary

from connector.definitions.expressions import Absent, compile_column
from connector.definitions.model import Options
from connector.values import Row, SqliteValue, object_text, text_form

Rendered = tuple[str, str, bytes]  # id, text of the PUT, hash
Render = Callable[[Row], Rendered]
REMEMBERED = 2048  # rows; more than a batch or a replay's chunk has


class Renderings:
    """How rows become texts of PUTs, shared by parts that are evaluated side by side.

    Parts that select the same columns under the same name want the same text of the same row: it is made once. A
    rendering goes, with the rows it remembers, once no part has it any more.
    """

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[str, Options], _Shared] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, query: Mapping[str, Any], options: Options) -> Render:
        """The rendering that a bucket query asks for; its type is known and no metadata is left in it."""
        name = json.dumps([query["type"], query["columns"]]), options
        known = self._known.get(name)
        if known is not None:
            known.shared = True
            return known
        made = self._known[name] = _Shared(_rendering(query, options))
        return made


class _Shared:
    """Remembers, once a second query wants it, what it has made of the last rows; a row is known by its identity."""

    __slots__ = ("__weakref__", "_made", "_render", "shared")

    def __init__(self, render: Render) -> None:
        self._render = render
        self._made: dict[int, tuple[Row, Rendered]] = {}  # holds the row, so that its id stays its own
        self.shared = False

    def __call__(self, row: Row) -> Rendered:
        if not self.shared:
            return self._render(row)
        known = self._made.get(id(row))
        if known is not None:
            return known[1]
        if len(self._made) >= REMEMBERED:
            self._made.clear()
        rendered = self._render(row)
        self._made[id(row)] = (row, rendered)
        return rendered


def _rendering(query: Mapping[str, Any], options: Options) -> Render:
    project = _projection(query["columns"], options)
    prefix = f"put.{query['type']}.".encode()

    def render(row: Row) -> Rendered:
        columns = project(row)
        text = object_text(columns)
        id_ = columns.get("id")
        if type(id_) is not str:
            id_ = text_form(id_) or ""
        return id_, text.decode(), sha256(b"%b%b.%b" % (prefix, id_.encode(), text)).digest()[:16]

    return render


Projection = Callable[[Row], dict[str, SqliteValue]]
Step = Callable[[dict[str, SqliteValue], Row], None]


def _projection(columns: Sequence[Sequence[Any]], options: Options) -> Projection:
    if columns == [["*"]]:
        return lambda row: {name: value for name, value in row.items() if name[:1] != "_"}
    if columns == [["**"]]:
        return dict
    if columns and all(len(column) == 2 and _is_plain(column[1], options) for column in columns):
        return _plain_projection([column[0] for column in columns], [column[1][1] for column in columns])
    return _stepwise_projection(columns, options)


def _plain_projection(names: Sequence[str], sources: Sequence[str]) -> Projection:
    """Columns only, the usual query: nothing is asked twice where none is missing."""
    pairs = list(zip(names, sources, strict=True))

    def project(row: Row) -> dict[str, SqliteValue]:
        try:
            return {name: row[source] for name, source in pairs}
        except KeyError:
            return {name: row[source] for name, source in pairs if source in row}

    return project


def _stepwise_projection(columns: Sequence[Sequence[Any]], options: Options) -> Projection:
    """In the order written: a later column replaces an earlier one, at its place."""
    steps = [_step(column, options) for column in columns]

    def project(row: Row) -> dict[str, SqliteValue]:
        found: dict[str, SqliteValue] = {}
        for step in steps:
            step(found, row)
        return found

    return project


def _step(column: Sequence[Any], options: Options) -> Step:
    if column == ["*"]:
        return _add_visible
    if column == ["**"]:
        return lambda found, row: found.update(row)
    name, expression = column
    plain = _is_plain(expression, options)
    return _plain_step(name, expression[1]) if plain else _computed_step(name, expression, options)


def _is_plain(expression: Sequence[Any], options: Options) -> bool:
    """Whether a result is a column that may be left out; SQLite refuses a row without it."""
    return expression[0] == "column" and options.engine == "js"


def _add_visible(found: dict[str, SqliteValue], row: Row) -> None:
    """The legacy `*`: what is there stays, and names that begin with `_` are left out."""
    for name, value in row.items():
        if name[:1] != "_":
            found.setdefault(name, value)


def _plain_step(name: str, source: str) -> Step:
    """A column that the row lacks is left out, which is not the same as NULL."""

    def add(found: dict[str, SqliteValue], row: Row) -> None:
        if source in row:
            found[name] = row[source]

    return add


def _computed_step(name: str, expression: Sequence[Any], options: Options) -> Step:
    value = compile_column(expression, options)

    def add(found: dict[str, SqliteValue], row: Row) -> None:
        made = value(row)
        if not isinstance(made, Absent):
            found[name] = made

    return add
