"""The deployment that clients are served: from a client's request, at one checkpoint, to the buckets it gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from connector.definitions.model import Definition
from connector.definitions.request import MAX_ROWS, Bucket, Connection, Failure, Queriers
from connector.definitions.stored import loaded
from connector.deploy.catalog import Catalog, Deployment
from connector.oplog.ops import bucket_name
from connector.store.buckets import View

Place = tuple[int, str]  # version and parameters: of a bucket, or of a lookup


@dataclass(frozen=True, slots=True)
class Wanted:
    """A bucket that a client gets. `reasons` as in request.Bucket; `definition` is the one that they are of."""

    place: Place
    priority: int
    definition: str
    reasons: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Stream:
    """A definition that a client is subscribed to, and what of it could not be asked."""

    name: str
    is_default: bool
    errors: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A client's buckets by name, its streams, and the lookups that all of it rests on."""

    buckets: Mapping[str, Wanted]
    streams: tuple[Stream, ...]
    lookups: frozenset[Place]


class Served:
    """The active deployment of a catalog, compiled once for all clients."""

    def __init__(self, deployment: Deployment, catalog: Catalog) -> None:
        self.key = (deployment.generation, deployment.definitions)
        kept = [loaded(one.name, one.priority, one.queriers) for one in deployment.definitions]
        self._definitions = [definition for definition, _ in kept]
        self._versions = {part.label: part.version for one in deployment.definitions for part in one.parts}
        self._names = {version.version: version.definition for version in catalog.versions}
        self._queriers = Queriers(self._definitions, kept[0][1]) if kept else None

    def answer(self, connection: Connection, view: View) -> Answer:
        """What the client gets at the view's checkpoint. Raises RequestRefused where it is too much."""
        if self._queriers is None:
            return Answer({}, (), frozenset())

        def lookup(label: str, key: str) -> Sequence[Mapping[str, Any]]:
            found = (row for text in view.lookup(self._versions[label], key) for row in orjson.loads(text))
            return list(islice(found, MAX_ROWS + 1))  # one too many is refused, whatever else there is

        found = self._queriers.answer(connection, lookup)
        return Answer(
            dict(self._named(found.buckets)),
            tuple(self._streams(connection, found.failures)),
            frozenset((self._versions[label], key) for label, key in found.lookups),
        )

    def _named(self, buckets: Iterable[Bucket]) -> Iterable[tuple[str, Wanted]]:
        for one in buckets:
            version = self._versions[one.label]
            name = bucket_name(version, self._names[version], one.parameters)
            yield name, Wanted((version, one.parameters), one.priority, one.definition, one.reasons)

    def _streams(self, connection: Connection, failures: Iterable[Failure]) -> Iterable[Stream]:
        asked = {one.stream for one in connection.subscriptions}
        for one in self._definitions:
            if _default(one, connection) or one.name in asked:
                errors = tuple(failure for failure in failures if failure.definition == one.name)
                yield Stream(one.name, _by_default(one), errors)


def _by_default(definition: Definition) -> bool:
    return definition.kind == "buckets" or definition.auto_subscribe


def _default(definition: Definition, connection: Connection) -> bool:
    return definition.kind == "buckets" or (definition.auto_subscribe and connection.include_defaults)


def served(catalog: Catalog, before: Served | None) -> Served | None:
    """The catalog's active deployment; `before` itself where nothing of it has changed, None where none is active."""
    active = catalog.active
    if active is None:
        return None
    if before is not None and before.key == (active.generation, active.definitions):
        return before
    return Served(active, catalog)
