"""Rows as people write them for `evaluate`: JSON objects, on the command line or in a folder of files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from connector.errors import BadConfig
from connector.values import Row, SqliteValue

_HINT = """write the columns, for example {"id": "t1", "list_id": "l1", "done": false}"""


def row_of_json(text: str, where: str = "--row") -> Row:
    """A JSON object as a row: true and false are 1 and 0, arrays and objects their JSON text."""
    return _row(_parsed(text, where), where)


def full_table(name: str) -> str:
    """`todos` is `public.todos`."""
    return name if "." in name else f"public.{name}"


def rows_of_folder(folder: Path) -> dict[str, list[Row]]:
    """The rows of each file `TABLE.jsonl` (an object per line) or `TABLE.json` (an array of objects).

    Raises BadConfig, with file and line, for what is none of it.
    """
    if not folder.is_dir():
        raise BadConfig(f"{folder} is no folder", hint="--data names a folder of TABLE.jsonl or TABLE.json files")
    tables: dict[str, list[Row]] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix in (".json", ".jsonl"):
            read = _lines if file.suffix == ".jsonl" else _array
            tables.setdefault(full_table(file.stem), []).extend(read(file))
    return tables


def _lines(file: Path) -> Iterator[Row]:
    for number, line in enumerate(_text(file).splitlines(), 1):
        if line.strip():
            yield row_of_json(line, f"{file}:{number}")


def _array(file: Path) -> Iterator[Row]:
    found = _parsed(_text(file), str(file))
    if not isinstance(found, list):
        raise BadConfig(f"{file} is no array", hint="an array of objects, or one object per line in a .jsonl file")
    return (_row(each, f"{file} [{number}]") for number, each in enumerate(found))


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except OSError as error:
        raise BadConfig(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadConfig(f"{file} is no UTF-8 text: {error.reason} at byte {error.start}") from error


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadConfig(f"{where} is no JSON: {error}", hint=_HINT) from error


def _row(columns: Any, where: str) -> Row:
    if not isinstance(columns, dict):
        raise BadConfig(f"{where} is no JSON object", hint=_HINT)
    return {name: _value(content) for name, content in columns.items()}


def _value(content: Any) -> SqliteValue:
    if isinstance(content, bool):
        return int(content)
    if isinstance(content, dict | list):
        return json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    value: SqliteValue = content
    return value
