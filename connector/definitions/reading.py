"""Findings while a sync config is read, and the small readers that every level of the file needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal, TypeVar

from connector.definitions.document import Map, Node, Scalar, Sequence
from connector.definitions.hints import hint_for
from connector.definitions.model import Diagnostic
from connector.definitions.positions import Lines, body_start, origins
from connector.definitions.sql import Refused

Query = TypeVar("Query")

MAX_DIAGNOSTICS = 1_000
MAX_QUERIES = 1_000  # in one list
TOP = 10  # characters


@dataclass
class Findings:
    """All diagnostics of one file; beyond MAX_DIAGNOSTICS only whether there was a fatal one."""

    text: str
    lines: Lines
    found: list[Diagnostic] = field(default_factory=list)
    fatal_seen: bool = False

    def fatal(self, message: str, start: int, end: int, hint: str | None = None) -> None:
        self.fatal_seen = True
        self._add("fatal", message, start, end, hint)

    def warning(self, message: str, start: int, end: int, hint: str | None = None) -> None:
        self._add("warning", message, start, end, hint)

    def fatal_at(self, node: Node, message: str, hint: str | None = None) -> None:
        self.fatal(message, node.start, node.outer_end, hint)

    def warning_at(self, node: Node, message: str, hint: str | None = None) -> None:
        self.warning(message, node.start, node.outer_end, hint)

    def fatal_at_top(self, message: str, hint: str | None = None) -> None:
        """What is wrong with the file as a whole is shown at its beginning."""
        self.fatal(message, 0, TOP, hint)

    def sorted(self) -> tuple[Diagnostic, ...]:
        """In the order of the text, each once."""
        unique = dict.fromkeys(self.found)
        return tuple(sorted(unique, key=lambda one: (one.span.line, one.span.column, one.severity, one.message)))

    def _add(self, severity: Literal["fatal", "warning"], message: str, start: int, end: int, hint: str | None) -> None:
        if len(self.found) < MAX_DIAGNOSTICS:
            hint = hint_for(message, self.text[start:end]) if hint is None else hint
            self.found.append(Diagnostic(severity, message, self.lines.span(start, end), hint))


class InScalar:
    """Findings of the SQL in one scalar: ranges in the SQL become ranges in the file."""

    def __init__(self, findings: Findings, scalar: Scalar) -> None:
        self._findings = findings
        self._scalar = scalar
        self.failed = False
        self._places: list[int] | None = None

    def fatal(self, finding: Refused) -> None:
        self.failed = True
        for each in finding.all():
            self._findings.fatal(each.message, *self._place(each), each.hint)

    def warning(self, finding: Refused) -> None:
        self._findings.warning(finding.message, *self._place(finding), finding.hint)

    def read(self, read_query: Callable[[InScalar], Query]) -> Query | None:
        """What `read_query` makes of the text; None, with findings, where it is unusable."""
        try:
            query = read_query(self)
        except Refused as refused:
            self.fatal(refused)
            return None
        except RecursionError:
            self.fatal(Refused("nested too deeply", (0, len(self._scalar.text)), "split the query into several"))
            return None
        return None if self.failed else query

    def _place(self, finding: Refused) -> tuple[int, int]:
        if finding.place is None:
            start = body_start(self._findings.text, self._scalar)
            return start, start + len(self._scalar.text)
        if self._places is None:
            self._places = origins(self._findings.text, self._scalar)
        places = self._places
        last = len(places) - 1
        start, end = (max(0, min(offset, last)) for offset in finding.place)
        return places[start], places[end - 1] + 1 if end > start else places[end]


def entries(node: Node | None, findings: Findings) -> dict[str, tuple[Scalar, Node]]:
    """The map's keys with their nodes; empty, with a finding, where the node is no map."""
    if not isinstance(node, Map):
        if node is not None:
            findings.fatal_at(node, "Expected a map here.")
        return {}
    known: dict[str, tuple[Scalar, Node]] = {}
    for key, value in node.entries:
        if not isinstance(key, Scalar):
            findings.fatal_at(key, "Expected a scalar here.", "a key is a plain word")
            continue
        if key.text in known:
            findings.fatal_at(key, f"The key '{key.text}' is there twice; keys must be unique.")
        known.setdefault(key.text, (key, value))
    return known


def known_entries(node: Node | None, names: Iterable[str], findings: Findings) -> dict[str, Node]:
    """The map's values by key; keys other than `names` are fatal."""
    allowed = list(names)
    found = {}
    for name, (key, value) in entries(node, findings).items():
        if name in allowed:
            found[name] = value
        else:
            close = get_close_matches(name, allowed, n=1)
            hint = f'did you mean "{close[0]}"?' if close else f"known: {', '.join(allowed)}"
            findings.fatal_at(key, f"Unknown key '{name}'.", hint)
    return found


def boolean(node: Node, findings: Findings) -> bool:
    """A true or false; false, with a finding, for anything else."""
    value = node.value() if isinstance(node, Scalar) else None
    if not isinstance(value, bool):
        findings.fatal_at(node, "must be a boolean", "write true or false, without quotes")
        return False
    return value


def priority(node: Node, findings: Findings) -> int | None:
    """A bucket priority; None, with a finding, for anything else."""
    value = node.value() if isinstance(node, Scalar) else None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 3:
        findings.fatal_at(node, "Invalid priority, expected a number between 0 and 3 (inclusive).")
        return None
    return value


def texts(node: Node, findings: Findings) -> list[Scalar]:
    """The scalars of a sequence; what is none of both gets a finding."""
    if not isinstance(node, Sequence):
        findings.fatal_at(node, "Expected a sequence here.", "start each query with `- `")
        return []
    if len(node.items) > MAX_QUERIES:
        findings.fatal_at(node, f"more than {MAX_QUERIES:,} queries in one list", "split the definition into several")
        return []
    return [scalar for item in node.items if (scalar := text(item, findings)) is not None]


def text(node: Node, findings: Findings) -> Scalar | None:
    """The node where it is a scalar; None, with a finding, where it is not."""
    if isinstance(node, Scalar):
        return node
    findings.fatal_at(node, "Expected a scalar here.", "write the query as text")
    return None


def is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value() is None
