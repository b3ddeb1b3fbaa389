"""Where values of a compiled query come from: instances of tables, json_each calls, parameters of the request.

They are the `sources` of terms, and equal to nothing but themselves: two instances of one table are two sources.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TypeGuard

from sqlglot import exp

from connector.definitions.source import Report
from connector.definitions.terms import Term


class Request(Enum):
    """The connection that a client makes, as the owner of its parameters."""

    OWNER = "request"


@dataclass(frozen=True, eq=False)
class Table:
    """One instance of a physical table: its pattern, the name that `node` gives it, its alias if it has one."""

    pattern: str
    name: str
    alias: str | None
    alias_quoted: bool
    node: exp.Expr


@dataclass(frozen=True, eq=False)
class Parameter:
    """One mention of a value of the request; clients can send anything for one that is not authenticated."""

    authenticated: bool
    node: exp.Expr
    report: Report


@dataclass(frozen=True, eq=False)
class Each:
    """One json_each call, whose rows are `["key", number]` and `["value", number]`; no argument where that failed."""

    number: int
    argument: Term | None
    node: exp.Expr
    report: Report


Source = Table | Parameter | Each
Owner = Table | Request | None


def owner_of(source: Source) -> Owner:
    """Whose rows decide a source's values; None for json_each of a constant, which may join anybody's."""
    if isinstance(source, Table):
        return source
    if isinstance(source, Parameter):
        return Request.OWNER
    return owner(source.argument)


def owner(term: Term | None) -> Owner:
    """The one owner of a term's sources, which its translation has seen to; None for a constant."""
    owners = {owner_of(source) for source in sources(term)} - {None}
    return min(owners, key=lambda each: isinstance(each, Request)) if owners else None


def sources(term: Term | None) -> list[Source]:
    """The sources of a term, json_each calls without those of their arguments."""
    return [source for source in term.sources if _is_source(source)] if term is not None else []


def eaches(terms: Iterable[Term | None]) -> set[Each]:
    """The json_each calls that terms need, those in arguments of others included."""
    found: set[Each] = set()
    for term in terms:
        own = {source for source in sources(term) if isinstance(source, Each)}
        found |= own | eaches(each.argument for each in own)
    return found


def parameters(terms: Iterable[Term | None]) -> list[Parameter]:
    """The mentions of the request in terms and in the arguments of their json_each calls."""
    found: list[Parameter] = []
    for term in terms:
        for source in sources(term):
            if isinstance(source, Parameter):
                found.append(source)
            elif isinstance(source, Each):
                found += parameters([source.argument])
    return found


def _is_source(source: object) -> TypeGuard[Source]:
    return isinstance(source, Table | Parameter | Each)
