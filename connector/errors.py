"""Errors, as a tree: each names what, where, and what to do next.

SynclineError
├── BadConfig        a sync config or settings file that cannot be used
├── BadRecord        one source record that cannot be decoded or evaluated; never stops the good ones
├── SourceRefused    a source (table, topic, connector) in a state that Syncline must not go on with
├── Unavailable      a server out of reach: wait and retry
├── Fenced           another process has taken this one's place: exit, never re-initialise
├── Gap              an invariant of order is broken; carries both numbers
└── RequestRefused   a request (to the merge, of a client) was answered with no
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A range of characters in a file: line and column count from 1, `end` is exclusive."""

    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    source_line: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


class SynclineError(Exception):
    """What went wrong (`message`), where (`where`: a Span or "topic [partition] offset"), what to do (`hint`)."""

    def __init__(self, message: str, *, where: Span | str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def report(self) -> str:
        """The lines a person reads."""
        lines = [f"error: {self.message}"]
        if isinstance(self.where, Span) and self.where.source_line:
            lead = f"  {self.where}   "
            width = self.where.end_column - self.where.column if self.where.end_line == self.where.line else 1
            lines += [lead + self.where.source_line.strip("\n")]
            lines += [" " * (len(lead) + self.where.column - 1) + "^" * max(1, width)]
        elif self.where is not None:
            lines += [f"  {self.where}"]
        if self.hint is not None:
            lines += [f"  hint: {self.hint}"]
        return "\n".join(lines)


class BadConfig(SynclineError):
    """A sync config or settings file that cannot be used."""


class BadRecord(SynclineError):
    """One source record that cannot be decoded or evaluated."""


class SourceRefused(SynclineError):
    """A source in a state that Syncline must not go on with."""


class Unavailable(SynclineError):
    """A server out of reach."""


class Fenced(SynclineError):
    """Another process has taken this one's place."""


class Gap(SynclineError):
    """An invariant of order is broken."""


class RequestRefused(SynclineError):
    """A request was answered with no: one to the merge, or a client's for more than it may have."""
