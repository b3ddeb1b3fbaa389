"""What of the source the connector captures, what it lacks, and when a newly captured table may be read (rule D3)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from connector.definitions.patterns import expanded
from connector.errors import SourceRefused
from connector.settings import Settings
from connector.source.tables import TableFacts, refusal

DEBEZIUMS_PUBLICATION = "dbz_publication"  # where the connector's settings name none


@dataclass(frozen=True, slots=True)
class Captured:
    """What stands in the connector's settings, and of some tables in the database, as seen at one moment.

    `running_from` and `next_transaction` bound the transactions that ran when they were asked for, after all else was
    seen: every one below `running_from` had ended, none at or above `next_transaction` had begun.
    """

    asked: frozenset[str]
    config: Mapping[str, str]
    running: bool
    existing: frozenset[str]
    published: frozenset[str]
    running_from: int = 0
    next_transaction: int = 0

    @property
    def publication(self) -> str:
        return publication(self.config)


def publication(config: Mapping[str, str]) -> str:
    """The publication that a connector reads."""
    return config.get("publication.name", DEBEZIUMS_PUBLICATION)


def lists(config: Mapping[str, str], table: str) -> bool:
    """Whether the connector's settings let the table through: Debezium's anchored, caseless regular expressions."""
    schema = table.partition(".")[0]
    return (
        _admits(config.get("table.include.list"), table)
        and _admits(config.get("schema.include.list"), schema)
        and not _matches(config.get("table.exclude.list"), table)
        and not _matches(config.get("schema.exclude.list"), schema)
    )


def listing(config: Mapping[str, str], tables: Iterable[str]) -> dict[str, str]:
    """The setting that makes the connector let these tables through too; empty where it does.

    Raises SourceRefused where another setting keeps one of them out.
    """
    missing = [table for table in tables if not _admits(config.get("table.include.list"), table)]
    listed = ",".join([*filter(None, [config.get("table.include.list", "")]), *map(pattern, missing)])
    changed = {"table.include.list": listed} if missing else {}
    for table in tables:
        if not lists({**config, **changed}, table):
            names = "table.exclude.list, schema.include.list or schema.exclude.list"
            hint = f"change {names} of the connector, then deploy again"
            raise SourceRefused(f"the connector keeps {table} out by its {names}", hint=hint)
    return changed


def pattern(table: str) -> str:
    """A table name as the anchored regular expression that Debezium wants."""
    return "".join(c if c.isalnum() or c == "_" else f"\\{c}" for c in table)


def _admits(listed: str | None, name: str) -> bool:
    return not listed or _matches(listed, name)


def _matches(listed: str | None, name: str) -> bool:
    return any(re.fullmatch(each.strip(), name, re.IGNORECASE) for each in (listed or "").split(",") if each.strip())


def needed(patterns: Collection[str], facts: Mapping[str, TableFacts], settings: Settings) -> list[str]:
    """The tables of the database that the patterns mean: of a wildcard those that can be taken and, where the settings
    file names the tables, are among them."""
    can = (
        name
        for name, known in facts.items()
        if refusal(known, settings.toast) is None and (not settings.tables or name in settings.tables)
    )
    return expanded(patterns, can)


def refuse_untakeable(tables: Iterable[str], facts: Mapping[str, TableFacts], settings: Settings) -> None:
    """Raises SourceRefused where one of these tables cannot be captured, before anything is changed."""
    wrong = [found for table in tables if (found := _fault(table, facts.get(table), settings)) is not None]
    if wrong:
        raise SourceRefused(
            "; ".join(f"table {table} {why}" for table, why, _ in wrong),
            hint="; ".join(dict.fromkeys(hint for _, _, hint in wrong)),
        )


def _fault(table: str, known: TableFacts | None, settings: Settings) -> tuple[str, str, str] | None:
    if known is None:
        return table, "does not exist in the database", "names are schema.table, as the database spells them"
    if settings.tables and table not in settings.tables:
        return table, f"is not among `tables:` in {settings.path.name}", f"add it there: `- {table}`"
    verdict = refusal(known, settings.toast)
    return None if verdict is None else (table, *verdict)


def listing_by_hand(settings: Settings, tables: Iterable[str]) -> str:
    """What a person is to change in the connector."""
    names = ",".join(map(pattern, tables))
    return f"add to table.include.list of connector {settings.connector}: {names}"


def publishing(name: str, tables: Iterable[str]) -> str:
    """The statement that adds tables to a publication."""
    return f"ALTER PUBLICATION {name} ADD TABLE {', '.join(tables)}"


class Arrivals:
    """When tables may be read: all that changes in them from then on arrives by itself.

    A transaction that wrote to a table before the publication had it, and commits later, never arrives, and a read
    before its end does not see it. So whoever ran when the table was first seen published must have ended.
    """

    def __init__(self) -> None:
        self._since: dict[str, int] = {}  # table → the next transaction when it was first seen to arrive
        self._seen: Captured | None = None

    def learn(self, seen: Captured) -> None:
        """What was seen of the tables to be read."""
        self._seen = seen
        self._since = {
            table: self._since.get(table, seen.next_transaction)
            for table in seen.published
            if lists(seen.config, table)
        }

    def hindered(self, tables: Iterable[str]) -> dict[str, str]:
        """Why these tables, or some of them, are not to be read yet."""
        return {table: why for table in tables if (why := self._hindrance(table)) is not None}

    def _hindrance(self, table: str) -> str | None:
        seen = self._seen
        if seen is None or table not in seen.asked:
            return "connector and database have not said yet whether it is captured"
        if table not in seen.existing:
            return "does not exist in the database: it was dropped or renamed"
        if not lists(seen.config, table):
            return "is not captured by the connector: `syncline deploy` or `syncline init` adds it"
        if table not in seen.published:
            return f"is not in the publication {seen.publication}"
        if seen.running_from < self._since[table]:
            return f"waits for the end of transaction {seen.running_from}, which is older than its capture"
        return None if seen.running else "the connector does not run"
