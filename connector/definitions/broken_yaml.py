"""Words for text that is no YAML: the reference's where people break it most often, libyaml's elsewhere."""

from __future__ import annotations

import re

_WIDTH = 80  # characters of a line that is shown
_FLOW_OPEN = re.compile(r"[\[{]")


def worded(text: str, problem: str, offset: int) -> str:
    """The problem with its line and column, and below them the line, marked."""
    line_start = text.rfind("\n", 0, offset) + 1
    line, column = text.count("\n", 0, offset) + 1, offset - line_start + 1
    headline = f"{_named(text, problem, offset)} at line {line}, column {column}"
    shown, mark = _shown(text, line_start, column - 1)
    return f"{headline}:\n\n{shown}\n{' ' * mark}^\n" if shown.strip() else headline


def _named(text: str, problem: str, offset: int) -> str:
    if "cannot start any token" in problem:
        character = text[offset : offset + 1]
        if character == "\t":
            return "Tabs are not allowed as indentation"
        return f"Plain value cannot start with reserved character {character}"
    if "flow" in problem and not text[offset:].strip():
        opened = _last_open(text[:offset])
        if opened is not None:
            name, end = ("sequence", "]") if opened == "[" else ("map", "}")
            return f"Flow {name} in block collection must be sufficiently indented and end with a {end}"
    if "quoted scalar" in problem and "end of stream" in problem:
        return f"Missing closing {_quote(text)}quote"
    if "mapping values are not allowed" in problem:
        return "Nested mappings are not allowed in compact mappings"
    return problem


def _last_open(text: str) -> str | None:
    found = _FLOW_OPEN.findall(text)
    return found[-1] if found else None


def _quote(text: str) -> str:
    return '"' if text.count('"') % 2 else "'"


def _shown(text: str, start: int, mark: int) -> tuple[str, int]:
    """The line, cut so that the mark is near its middle; with the one before where the mark is in the indentation."""
    end = text.find("\n", start)
    line = text[start : len(text) if end < 0 else end].rstrip("\r")
    if mark >= _WIDTH - 20 and len(line) > _WIDTH:
        cut = min(mark - 39, len(line) - 79)
        line = f"…{line[cut:]}"
        mark -= cut - 1
    line = line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"
    if start and not line[:mark].strip(" "):
        before = text[text.rfind("\n", 0, start - 1) + 1 : start]
        line = (before if len(before) <= _WIDTH else f"{before[: _WIDTH - 1]}…\n") + line
    return line, mark
