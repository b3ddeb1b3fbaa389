"""What is known of the source database while a sync config is checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, Protocol

from connector.definitions.sql import Refused


class Report(Protocol):
    """Where findings of one query go; `failed` once one was fatal."""

    failed: bool

    def fatal(self, finding: Refused) -> None: ...

    def warning(self, finding: Refused) -> None: ...


@dataclass(frozen=True, slots=True)
class Source:
    """Where unqualified tables are, the tables' columns if known, and how grave it is to name one that is not there."""

    default_schema: str = "public"
    tables: Mapping[str, Collection[str]] | None = None
    unknown: Literal["fatal", "warning"] = "fatal"

    def report_unknown(self, report: Report, finding: Refused) -> None:
        """A table or a column that the source lacks."""
        if self.unknown == "fatal":
            report.fatal(finding)
        else:
            report.warning(finding)


def close(name: str, names: Collection[str]) -> str | None:
    """A hint naming what the writer may have meant."""
    found = get_close_matches(name, list(names), n=1)
    return f'did you mean "{found[0]}"?' if found else None
