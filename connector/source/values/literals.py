"""The texts in which Postgres prints arrays, composite types and ranges, taken apart and put together.

Postgres 18 documentation, sections 8.15.6 (arrays), 8.16.6 (composite types), 8.17.5 (ranges).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

_BOUNDS = re.compile(r"^(?:\[[-+\d]+:[-+\d]+\])+=")  # of arrays that do not begin at 1
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.|"")*)"', re.DOTALL)
_NEEDS_QUOTES = re.compile(r'[{}",\\ \t\n\r\v\f]|^$|^null$', re.IGNORECASE)


class Range(NamedTuple):
    """The bounds as they are written, None for none."""

    lower: str | None
    upper: str | None
    lower_exclusive: bool
    upper_exclusive: bool


def array(text: str, delimiter: str = ",") -> list[Any]:
    """The elements: texts, None for NULL, lists where there are more dimensions. Raises ValueError."""
    body = _BOUNDS.sub("", text)
    found, end = _elements(body, 0, re.compile(rf"[^{{}}\"{delimiter}]*"), delimiter)
    if end != len(body):
        raise ValueError("something stands behind the array")
    return found


def _elements(text: str, start: int, plain: re.Pattern[str], delimiter: str) -> tuple[list[Any], int]:
    """The array that begins at `start`, and where it ends."""
    _expect(text, start, "{")
    found: list[Any] = []
    at = start + 1
    if text[at : at + 1] == "}":
        return found, at + 1
    while True:
        if text[at : at + 1] == "{":
            inner, at = _elements(text, at, plain, delimiter)
            found.append(inner)
        else:
            element, at = _element(text, at, plain)
            found.append(element)
        if text[at : at + 1] != delimiter:
            _expect(text, at, "}")
            return found, at + 1
        at += 1


def _element(text: str, at: int, plain: re.Pattern[str]) -> tuple[str | None, int]:
    quoted = _QUOTED.match(text, at)
    if quoted is not None:
        return _ESCAPED.sub(r"\1", quoted[1]), quoted.end()
    word = plain.match(text, at)
    assert word is not None  # it matches nothing, too
    return (None if word[0] == "NULL" else _ESCAPED.sub(r"\1", word[0])), word.end()


def composite(text: str) -> list[str | None]:
    """The fields, None for NULL. Raises ValueError."""
    _expect(text, 0, "(")
    fields, end = _fields(text, 1, ")")
    if end != len(text):
        raise ValueError("something stands behind the row")
    return fields


def range_(text: str) -> Range | None:
    """The range; None for the empty one. Raises ValueError."""
    if text == "empty":
        return None
    found, end = _range_at(text, 0)
    if end != len(text):
        raise ValueError("something stands behind the range")
    return found


def multirange(text: str) -> list[Range]:
    """The ranges of a multirange. Raises ValueError."""
    _expect(text, 0, "{")
    found: list[Range] = []
    at = 1
    while text[at : at + 1] not in ("}", ""):
        each, at = _range_at(text, at + 1 if found else at)
        found.append(each)
    _expect(text, at, "}")
    return found


def _range_at(text: str, at: int) -> tuple[Range, int]:
    if text[at : at + 1] not in ("[", "("):
        _expect(text, at, "[")
    bounds, end = _fields(text, at + 1, "])")
    if len(bounds) != 2:
        raise ValueError(f"a range has two bounds, not {len(bounds)}")
    return Range(bounds[0], bounds[1], text[at] == "(", text[end - 1] == ")"), end


def _fields(text: str, at: int, closing: str) -> tuple[list[str | None], int]:
    """What stands between commas up to a closing character, and where that ends. Nothing at all is NULL."""
    found: list[str | None] = []
    part: list[str] = []
    quoted = False
    while at < len(text):
        character = text[at]
        run = _QUOTED.match(text, at) if character == '"' else None
        if run is not None:
            part.append(_ESCAPED.sub(r"\1", run[1].replace('""', '\\"')))
            quoted, at = True, run.end()
            continue
        if character in closing or character == ",":
            found.append("".join(part) if part or quoted else None)
            part, quoted = [], False
            if character != ",":
                return found, at + 1
        else:
            at += character == "\\"
            part.append(text[at : at + 1])
        at += 1
    raise ValueError(f"there is no {closing[-1]} at the end")


def _expect(text: str, at: int, character: str) -> None:
    if text[at : at + 1] != character:
        raise ValueError(f"there is no {character} at {at}")


def array_text(elements: Iterable[str | None]) -> str:
    """An array of one dimension as Postgres prints it."""
    return f"{{{','.join('NULL' if each is None else _quoted(each) for each in elements)}}}"


def _quoted(text: str) -> str:
    if _NEEDS_QUOTES.search(text) is None:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
