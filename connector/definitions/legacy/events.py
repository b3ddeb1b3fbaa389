"""Event definitions: their payload queries are checked, and evaluated for nobody (powersync.md 1.11)."""

from __future__ import annotations

from collections.abc import Sequence

from connector.definitions.document import Scalar
from connector.definitions.entries import EventEntry
from connector.definitions.legacy.data import payload_query
from connector.definitions.reading import Findings, InScalar
from connector.definitions.source import Source


def check_events(entries: Sequence[EventEntry], source: Source, findings: Findings) -> None:
    """Reports what is wrong with the payload queries."""
    for entry in entries:
        for scalar in entry.payloads:
            _check_payload(scalar, source, findings)


def _check_payload(scalar: Scalar, source: Source, findings: Findings) -> None:
    InScalar(findings, scalar).read(lambda report: payload_query(scalar.text, source, report))
