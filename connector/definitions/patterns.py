"""Which tables a plan reads: `schema.table`, each of the two a wildcard where it ends in % (`public.log_%`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple


class Place(NamedTuple):
    """Where a row stands, as far as an expression can ask: `suffix` is what a table's wildcard matched, if any."""

    schema: str
    table: str
    suffix: str | None = None


def is_wildcard(pattern: str) -> bool:
    """Whether a pattern may match more than one table."""
    schema, _, table = pattern.partition(".")
    return schema.endswith("%") or table.endswith("%")


def place(pattern: str, table: str) -> Place | None:
    """The place of a physical table that the pattern matches; None where it does not match."""
    wanted_schema, _, wanted = pattern.partition(".")
    schema, _, name = table.partition(".")
    if not (_matches(wanted_schema, schema) and _matches(wanted, name)):
        return None
    return Place(schema, name, name[len(wanted) - 1 :] if wanted.endswith("%") else None)


def expanded(patterns: Collection[str], known: Iterable[str]) -> list[str]:
    """The tables that the patterns mean: those named outright, and of the known ones those that a wildcard matches."""
    wildcards = {pattern for pattern in patterns if is_wildcard(pattern)}
    return sorted({*patterns} - wildcards | {table for table in known if reads(wildcards, table)})


def reads(patterns: Iterable[str], table: str) -> bool:
    """Whether any of the patterns matches the table."""
    return any(pattern == table or place(pattern, table) is not None for pattern in patterns)


def _matches(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("%") else name == pattern


def overlap(one: str, other: str) -> bool:
    """Whether a table can match both patterns."""
    return all(_meet(*parts) for parts in zip(one.split(".", 1), other.split(".", 1), strict=True))


def any_overlap(patterns: Collection[str]) -> bool:
    """Whether a table can match two of these different patterns."""
    wildcards = [pattern for pattern in patterns if is_wildcard(pattern)]
    return any(overlap(wildcard, other) for wildcard in wildcards for other in patterns if other != wildcard)


def _meet(one: str, other: str) -> bool:
    if one.endswith("%") and other.endswith("%"):
        return one[:-1].startswith(other[:-1]) or other[:-1].startswith(one[:-1])
    return _matches(one, other) or _matches(other, one)
