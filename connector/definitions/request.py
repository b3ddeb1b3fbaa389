"""Which buckets a client gets, with what priority and why (powersync.md 1.4 to 1.6, 4.1).

Every bucket definition is asked, every stream that is subscribed by default, and each subscription of a stream. What
several of them give is one bucket: the least priority counts, the reasons are listed. Static queriers come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from connector.definitions.evaluate import ROW_ERRORS
from connector.definitions.model import Definition, Options, Request, SyncConfig
from connector.definitions.queriers import MAX_BUCKETS, Lookup, Querier, compile_querier
from connector.errors import BadConfig, RequestRefused
from connector.values import SqliteValue

MAX_ROWS = 1_000  # of lookups, of one connection
MAX_LOOKUPS = 5_000  # of one connection: what a client's own parameters may ask, 30 µs each

Reason = int | Literal["default"]  # the number of a subscription of the request, or by default


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription that a client asks for; `priority` overrides that of the stream."""

    stream: str
    parameters: Mapping[str, Any] | None = None
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """A client: the content of its token, its parameters, its subscriptions, and whether defaults are wanted."""

    token: Mapping[str, Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    subscriptions: Sequence[Subscription] = ()
    include_defaults: bool = True


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket that a client gets: `label` of its part and `parameters` (`["u1"]`) name it.

    `definition` is the first one that gave it, which need not be the one in its label.
    """

    label: str
    parameters: str
    definition: str
    priority: int
    reasons: tuple[Reason, ...]

    @property
    def name(self) -> str:
        """As clients would see it, but for the version."""
        return self.label + self.parameters


@dataclass(frozen=True, slots=True)
class Failure:
    """A definition that could not be asked for one reason; what else it gave stands."""

    definition: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Answer:
    """`lookups` are those that the answer rests on: index label and key."""

    buckets: tuple[Bucket, ...]
    failures: tuple[Failure, ...]
    lookups: frozenset[tuple[str, str]]


class Queriers:
    """The queriers of all definitions, compiled once for many requests."""

    def __init__(self, definitions: Iterable[Definition], options: Options) -> None:
        self._definitions = [(one, _compiled(one, options)) for one in definitions]

    def answer(self, connection: Connection, lookup: Lookup) -> Answer:
        """The client's buckets. Raises RequestRefused where they, or the lookups' rows, are too many."""
        rows = _Rows(lookup)
        found = _Found()
        for static in (True, False):
            for definition, queriers in self._definitions:
                chosen = [querier for querier in queriers if querier.static is static]
                for occasion in _occasions(definition, connection) if chosen else ():
                    found.ask(definition.name, chosen, occasion, rows)
        return Answer(tuple(found.buckets.values()), tuple(found.failures.values()), frozenset(rows.known))


def buckets(config: SyncConfig, connection: Connection, lookup: Lookup) -> Answer:
    """One answer; for many requests keep the `Queriers`."""
    return Queriers(config.definitions, config.options).answer(connection, lookup)


def _compiled(definition: Definition, options: Options) -> list[Querier]:
    try:
        return [compile_querier(querier, options) for querier in definition.queriers]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BadConfig(f'a querier of "{definition.name}" is damaged: {error!r}') from error


class _Occasion(NamedTuple):
    """One reason to ask a definition; `priority` overrides its own."""

    reason: Reason
    request: Request
    priority: int | None


def _occasions(definition: Definition, connection: Connection) -> Iterator[_Occasion]:
    """Each of a stream's subscriptions, then the default."""
    if definition.kind == "stream":
        for number, one in enumerate(connection.subscriptions):
            if one.stream == definition.name:
                request = Request(connection.token, connection.parameters, one.parameters or {})
                yield _Occasion(number, request, one.priority)
    if definition.kind == "buckets" or (definition.auto_subscribe and connection.include_defaults):
        yield _Occasion("default", Request(connection.token, connection.parameters, {}), None)


class _Rows:
    """The rows of lookups, each asked for once, within the limit."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._left = MAX_ROWS
        self.known: dict[tuple[str, str], Sequence[Mapping[str, SqliteValue]]] = {}

    def __call__(self, index: str, key: str) -> Sequence[Mapping[str, SqliteValue]]:
        if (index, key) not in self.known:
            if len(self.known) >= MAX_LOOKUPS:
                raise RequestRefused(
                    f"more than {MAX_LOOKUPS:,} lookups for one client, the last of them of {index}",
                    hint="let the client's parameters name fewer values",
                )
            rows = self.known[index, key] = self._lookup(index, key)
            self._left -= len(rows)
            if self._left < 0:
                raise RequestRefused(
                    f"more than {MAX_ROWS:,} parameter rows for one client, the last of them from {index}",
                    hint="let the parameter queries give fewer rows for a client",
                )
        return self.known[index, key]


class _Found:
    """Buckets as they are found, equal ones merged."""

    def __init__(self) -> None:
        self.buckets: dict[tuple[str, str], Bucket] = {}
        self.failures: dict[tuple[str, Reason], Failure] = {}

    def ask(self, definition: str, queriers: Sequence[Querier], occasion: _Occasion, rows: _Rows) -> None:
        for querier in queriers:
            try:
                parameters = querier.parameters(occasion.request, rows)
            except ROW_ERRORS as error:
                failure = Failure(definition, occasion.reason, f"Error evaluating bucket ids: {error}")
                self.failures.setdefault((definition, occasion.reason), failure)
                continue
            priority = querier.priority if occasion.priority is None else occasion.priority
            for text, count in parameters.items():
                reasons = (occasion.reason,) * min(count, MAX_ROWS)
                self._add(Bucket(querier.bucket, text, definition, priority, reasons))

    def _add(self, bucket: Bucket) -> None:
        name = (bucket.label, bucket.parameters)
        known = self.buckets.get(name)
        if known is None:
            self.buckets[name] = bucket
            self._check_limit(bucket.definition)
            return
        reasons = (known.reasons + bucket.reasons)[:MAX_ROWS]
        priority = min(known.priority, bucket.priority)
        self.buckets[name] = Bucket(known.label, known.parameters, known.definition, priority, reasons)

    def _check_limit(self, definition: str) -> None:
        if len(self.buckets) > MAX_BUCKETS:
            own = sum(bucket.definition == definition for bucket in self.buckets.values())
            raise RequestRefused(
                f'more than {MAX_BUCKETS:,} buckets for one client, the last of them from "{definition}"',
                hint=f'"{definition}" gives {own:,} of them; let buckets hold more rows each',
            )
