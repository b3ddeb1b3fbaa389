"""From a character of a scalar's value back to the character of the file that wrote it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable

from connector.definitions.document import Scalar
from connector.errors import Span

MAX_SHOWN = 400  # a longer line helps nobody
_FLOW_BREAK = re.compile(r"[ \t]*\r?\n[ \t]*")
_ESCAPE_WIDTH = {"x": 4, "u": 6, "U": 10}


class Lines:
    """Offsets of a text as spans of a file."""

    def __init__(self, text: str, path: str) -> None:
        self._text = text
        self._path = path
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def span(self, start: int, end: int) -> Span:
        """The span of the characters [start, end), clipped to the text."""
        start = max(0, min(start, len(self._text)))
        line, column = self._place(start)
        end_line, end_column = self._place(max(start, min(end, len(self._text))))
        return Span(self._path, line + 1, column + 1, end_line + 1, end_column + 1, self._line(line))

    def _place(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._starts, offset) - 1
        return line, offset - self._starts[line]

    def _line(self, line: int) -> str:
        following = self._starts[line + 1] - 1 if line + 1 < len(self._starts) else len(self._text)
        written = self._text[self._starts[line] : following].rstrip("\r")
        return written if len(written) <= MAX_SHOWN else ""


def origins(text: str, scalar: Scalar) -> list[int]:
    """For each character of the scalar's value, and for its end, the offset in `text`."""
    if scalar.style in ("|", ">"):
        return _block_origins(text, scalar)
    return _flow_origins(text, scalar)


def body_start(text: str, scalar: Scalar) -> int:
    """Where what the scalar says begins: after its quote, or in the line after `|` or `>`."""
    if scalar.style in ("|", ">"):
        return text.find("\n", scalar.start, scalar.end) + 1 or scalar.end
    return scalar.start + (1 if scalar.style else 0)


def _flow_origins(text: str, scalar: Scalar) -> list[int]:
    """Plain and quoted scalars: line breaks fold and take the blanks around them along."""
    at = body_start(text, scalar)
    width = {"": lambda _: 1, "'": _single_width, '"': _double_width}[scalar.style]
    found = []
    for character in scalar.text:
        at = _skip_escaped_break(text, at) if scalar.style == '"' else at
        fold = _FLOW_BREAK.match(text, at)
        if fold and character in " \n":
            found.append(at)
            at = fold.end()
            continue
        while fold:
            at = fold.end()
            fold = _FLOW_BREAK.match(text, at)
        found.append(at)
        at += width(text[at : at + 2])
    return [*(min(offset, scalar.end) for offset in found), min(at, scalar.end)]


def _single_width(ahead: str) -> int:
    return 2 if ahead == "''" else 1


def _double_width(ahead: str) -> int:
    return _ESCAPE_WIDTH.get(ahead[1:], 2) if ahead[:1] == "\\" else 1


def _skip_escaped_break(text: str, at: int) -> int:
    while text[at : at + 1] == "\\" and (fold := _FLOW_BREAK.match(text, at + 1)):
        at = fold.end()
    return at


def _block_origins(text: str, scalar: Scalar) -> list[int]:
    """Literal and folded scalars: every line loses its indentation, folded ones some of their breaks."""
    body = body_start(text, scalar)
    indent = _indent(text[body : scalar.end]) - _indent(scalar.text)
    skip = _line_skipper(text, indent)
    at = skip(body)
    found = []
    for character in scalar.text:
        if text[at : at + 2] == "\r\n":
            at += 1
        if text[at : at + 1] == "\n" and character in " \n":
            found.append(at)
            at = skip(at + 1)
            continue
        while text[at : at + 1] == "\n" and at < scalar.end:
            at = skip(at + 1)
        found.append(at)
        at += 1
    return [*(min(offset, scalar.end) for offset in found), min(at, scalar.end)]


def _indent(text: str) -> int:
    first = next((line for line in text.split("\n") if line.strip()), "")
    return len(first) - len(first.lstrip(" "))


def _line_skipper(text: str, indent: int) -> Callable[[int], int]:
    blanks = re.compile(f" {{0,{max(0, indent)}}}")

    def skip(at: int) -> int:
        match = blanks.match(text, at)
        return match.end() if match else at

    return skip
