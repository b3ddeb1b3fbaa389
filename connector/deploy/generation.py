"""How a deploy becomes a generation of its own: its versions and their numbers, its tributary, its place (rule D2)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from connector.definitions.model import Definition, Options, Part, SyncConfig
from connector.definitions.stored import stored
from connector.deploy.decision import Decision, Moment, Request
from connector.deploy.diff import PartChange
from connector.deploy.known import pending_deploys, under_way
from connector.merge.catalog import (
    Catalog,
    DeployedDefinition,
    DeployedPart,
    Deployment,
    Overlay,
    Tributary,
    Version,
    added,
    tributary_name,
)
from connector.merge.endings import dropped
from connector.merge.pending import staged, superseded


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What a deploy would bring: its definitions, and the versions and overlays that are not there yet."""

    definitions: tuple[DeployedDefinition, ...]
    versions: tuple[Version, ...]
    overlays: tuple[Overlay, ...]


def begun(
    catalog: Catalog, request: Request, moment: Moment, config: SyncConfig, changes: Iterable[PartChange]
) -> Decision:
    """The deploy begins, in the place of what is pending; or nothing does, where all of it is there already."""
    generation, active = catalog.next_generation, catalog.active
    new = _newcomer(catalog, config, changes)
    if (same := _followed(catalog, config, new)) is not None:
        return Decision("unchanged", "the pending deployment has all of it", same.generation, catalog)
    if active is not None and _has_all(active, new):
        if not pending_deploys(catalog):
            return Decision("unchanged", "the active deployment has all of it", active.generation, catalog)
        return Decision("accepted", "", active.generation, _in_place_of(catalog, active.generation, frozenset()))
    deployment = new_deployment(generation, request, moment, config.evaluation, new.definitions)
    tributary = None
    if new.versions:
        tributary = replace(new_tributary(generation, new.versions, request), overlays=new.overlays)
    catalog = _in_place_of(catalog, generation, deployment.versions())
    return Decision("accepted", "", generation, staged(added(catalog, deployment, new.versions, tributary), generation))


def followed(catalog: Catalog, config: SyncConfig, changes: Iterable[PartChange]) -> Deployment | None:
    """The pending deploy that has all of it already: another of the same is answered with it."""
    return _followed(catalog, config, _newcomer(catalog, config, changes))


def is_active(catalog: Catalog, config: SyncConfig, changes: Iterable[PartChange]) -> bool:
    """The active deployment has all of it already, whatever its text was: a deploy of it is answered `unchanged`."""
    return catalog.active is not None and _has_all(catalog.active, _newcomer(catalog, config, changes))


def _has_all(active: Deployment, new: Newcomer) -> bool:
    return not new.overlays and _same(active.definitions, new.definitions)


def _followed(catalog: Catalog, config: SyncConfig, new: Newcomer) -> Deployment | None:
    mine = (d for d in pending_deploys(catalog) if d.evaluation == config.evaluation)
    return next((d for d in mine if _same(d.definitions, new.definitions)), None)


def _newcomer(catalog: Catalog, config: SyncConfig, changes: Iterable[PartChange]) -> Newcomer:
    stream = tributary_name(catalog.next_generation)
    numbers: dict[tuple[str, str, str], tuple[int, str]] = {}
    versions: list[Version] = []
    overlays: list[Overlay] = []
    for change in changes:
        if not isinstance(change.part, Part):
            continue
        number = change.version
        if change.kind == "new" or number is None:
            number = catalog.next_version + len(versions)
            versions.append(_version(change.part, number, config.evaluation, stream))
        elif change.kind == "reevaluated":
            overlays.append(Overlay(catalog.next_version + len(versions), number))
            anew = _version(change.part, overlays[-1].shadow, config.evaluation, stream)
            versions.append(replace(anew, state="throwaway"))
        numbers[change.part.definition, change.part.kind, change.part.label] = (number, change.reason)
    definitions = tuple(_definition(d, config.options, numbers) for d in config.definitions)
    return Newcomer(definitions, tuple(versions), tuple(overlays))


def _in_place_of(catalog: Catalog, generation: int, wanted: frozenset[int]) -> Catalog:
    """The catalog in which nothing is pending but what this generation wants of it."""
    for deployment in under_way(catalog):
        if deployment.kind == "deploy":
            catalog = superseded(catalog, deployment, generation, wanted)
        else:
            catalog = dropped(catalog, deployment, "a deploy came")
    return catalog


def _version(part: Part, number: int, evaluation: str, stream: str) -> Version:
    return Version(
        version=number,
        kind=part.kind,
        definition=part.definition,
        label=part.label,
        canonical=part.canonical,
        plan=json.dumps(part.plan, separators=(",", ":"), ensure_ascii=False),
        evaluation=evaluation,
        tables=tuple(part.tables),
        state="pending",
        stream=stream,
        dropped_at=0,
    )


def _definition(
    definition: Definition, options: Options, numbers: Mapping[tuple[str, str, str], tuple[int, str]]
) -> DeployedDefinition:
    parts = []
    for part in definition.parts:
        number, reason = numbers[part.definition, part.kind, part.label]
        parts.append(DeployedPart(kind=part.kind, label=part.label, version=number, reason=reason))
    return DeployedDefinition(definition.name, definition.priority, stored(definition, options), tuple(parts))


def _same(one: Iterable[DeployedDefinition], other: Iterable[DeployedDefinition]) -> bool:
    """The same definitions in any order, whatever was once the reason for their versions."""
    return _essence(one) == _essence(other)


def _essence(definitions: Iterable[DeployedDefinition]) -> list[tuple[object, ...]]:
    return sorted(
        (d.name, d.priority, d.queriers, tuple((p.kind, p.label, p.version) for p in d.parts)) for d in definitions
    )


def new_deployment(
    generation: int,
    request: Request,
    moment: Moment,
    evaluation: str,
    definitions: tuple[DeployedDefinition, ...],
) -> Deployment:
    """As it stands in the catalog from its first commit on."""
    return Deployment(
        generation=generation,
        kind=request["kind"],
        state="replaying",
        config=request["config"],
        path=request["path"],
        evaluation=evaluation,
        requested_at=moment.now,
        switched_at=0,
        position=0,
        commit=0,
        reason="",
        comparisons=(),
        definitions=definitions,
        planned=request["planned"],
        estimate=request.get("estimate", ""),
    )


def new_tributary(generation: int, versions: Iterable[Version], request: Request) -> Tributary:
    """Queued: it begins with the commit in which there is a place for it, at once if there is one."""
    return Tributary(
        name=tributary_name(generation),
        generation=generation,
        versions=tuple(v.version for v in versions),
        state="queued",
        start=0,
        start_offset=0,
        ends=(),
        bounded=False,
        head=None,
        max_rate=request.get("max_rate", 0),
    )
