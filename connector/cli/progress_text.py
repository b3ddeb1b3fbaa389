"""A pending deployment as a person watches it, and the lines that are drawn again and again."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, TextIO

from connector.cli.columns import aligned, seconds_text

BAR = 20  # characters
EVERY = 1.0  # seconds between two lines where nothing can be drawn again
CUT, WHOLE = "\x1b[?7l", "\x1b[?7h"  # a line that is wider than the terminal is cut, or goes on below


def progress_lines(pending: dict[str, Any]) -> list[str]:
    """One line for all of it, one per part that is replayed, one per reason to wait."""
    parts = [
        (f"  {p['definition']}", p["part"], p["state"].replace("_", " "), f"{_rows(p)}{_pace(p)}")
        for p in pending["parts"]
        if len(pending["parts"]) > 1
    ]
    return [_head(pending), *aligned(parts), *(f"  waits: {reason}" for reason in pending["waits"])]


def _head(pending: dict[str, Any]) -> str:
    replay, state = pending["replay"], pending["state"].replace("_", " ")
    if replay["of"] is None:
        return f"{state:<12} starting"
    if replay["rows"] >= replay["of"]:
        target = "the head" if replay["target"] is None else replay["target"]
        return f"{state:<12} at position {replay['position']}, to reach {target}"
    share = replay["rows"] / replay["of"]
    return f"{state:<12} {'█' * int(BAR * share):<{BAR}} {_rows(replay)}  {int(100 * share)} %{_pace(replay)}"


def _pace(done: dict[str, Any]) -> str:
    """Rate and time left, where anybody can tell."""
    rate = f"  {done['rows_per_second']:,} rows/s" if done["rows_per_second"] else ""
    return rate + (f"  {seconds_text(done['seconds_left'])} left" if done["seconds_left"] is not None else "")


def _rows(done: dict[str, Any]) -> str:
    return f"{done['rows']:,} of {done['of']:,} rows" if done["of"] is not None else ""


class Screen:
    """Lines drawn over the last ones on a terminal; elsewhere a line at most once a second."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._height = 0
        self._drawn = 0.0

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines now; where nothing can be drawn again the first one and what it waits for."""
        if self._terminal:
            shown = self._fitting(lines)
            up = f"\x1b[{self._height}F" if self._height else ""
            drawn = "".join(f"{line}\x1b[K\n" for line in shown)
            self._out.write(f"{up}{CUT}{drawn}{WHOLE}\x1b[J")
            self._height = len(shown)
        elif time.monotonic() - self._drawn >= EVERY:
            self._drawn = time.monotonic()
            self._out.write("; ".join([lines[0], *(line.strip() for line in lines[1:] if "waits:" in line)]) + "\n")
        self._out.flush()

    def _fitting(self, lines: Sequence[str]) -> Sequence[str]:
        """As many as the terminal has room for: what has scrolled away cannot be drawn over."""
        try:
            room = os.get_terminal_size(self._out.fileno()).lines - 1
        except (OSError, ValueError):  # it has no size
            return lines
        if room <= 0 or len(lines) <= room:
            return lines
        return [*lines[: room - 1], f"… and {len(lines) - room + 1} more lines"]
