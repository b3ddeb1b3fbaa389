"""How the merge decides a request: a pure function from catalog and request to answer and catalog (rule D1)."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from connector.definitions import Definition, Options, Part, SyncConfig, check
from connector.definitions.model import check_version
from connector.definitions.patterns import expanded
from connector.definitions.stored import loaded, stored
from connector.deploy.diff import Deployed, PartChange, diff
from connector.deploy.plan import planned
from connector.deploy.resume import shadows, stopped_versions
from connector.merge.catalog import (
    Catalog,
    Comparison,
    DeployedDefinition,
    DeployedPart,
    Deployment,
    Overlay,
    ReplayEnd,
    Tributary,
    Version,
    added,
    bounded,
    cancelled,
    dropped,
    idle,
    released,
    tributary_name,
)
from connector.merge.overlay import landing_tributary
from connector.merge.pending import headed, staged, superseded

Request = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Moment:
    """Where the merge stands: its clock in ms, and the versions that are taken as far as main is."""

    now: int
    standing: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer (accepted, unchanged, stale, expired, differs, refused) and the catalog that follows from it."""

    outcome: str
    reason: str
    generation: int
    catalog: Catalog

    def answer(self, request: Request) -> dict[str, Any]:
        """As an Answer record."""
        return {
            "id": request["id"],
            "outcome": self.outcome,
            "reason": self.reason,
            "generation": self.generation,
        }


def decide(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    """Decide one request against the catalog in force. Refuses what it does not know; never raises."""
    if request["expires_at"] and moment.now > request["expires_at"]:
        return Decision("expired", f"{moment.now - request['expires_at']} ms too late", catalog.generation, catalog)
    decision = DECISIONS.get(request["kind"])
    landing = landing_tributary(catalog)
    if landing is not None and request["kind"] in ("deploy", "verify", "resume", "repair", "cancel"):
        return _refused(catalog, f"generation {landing.generation} is being laid over its buckets: try again at once")
    if decision is None:
        return _refused(catalog, f'there is no request "{request["kind"]}"')
    return decision(catalog, request, moment)


def check_plans(catalog: Catalog) -> None:
    """Raises BadConfig where the catalog has plans or queriers of a version that this release does not know."""
    for version in catalog.versions:
        check_version(json.loads(version.plan), f"version {version.version} of {version.label}")
    for definition in catalog.active.definitions if catalog.active is not None else ():
        loaded(definition.name, definition.priority, definition.queriers)


def deployed(catalog: Catalog) -> list[Deployed]:
    """The parts of the active deployment, each once, under the name it has there now; what a diff compares with."""
    return _parts(catalog, [catalog.active] if catalog.active is not None else [], "exposed")


def pending_deploys(catalog: Catalog) -> list[Deployment]:
    return [d for d in catalog.deployments if d.kind == "deploy" and d.pending]


def adoptable(catalog: Catalog) -> list[Deployed]:
    """Parts that a pending deploy replays, which a later one may take over as far as they are (rule D2)."""
    return _parts(catalog, pending_deploys(catalog), "pending")


def retained(catalog: Catalog, standing: Collection[int]) -> list[Deployed]:
    """Parts that were deployed before and are still kept up to date, under their newest names.

    A version that has missed an answer never catches up with main (rule M1), so only those at its position count.
    """
    before = [d for d in catalog.deployments if d.state == "retained"]
    found = _parts(catalog, sorted(before, key=lambda d: -d.generation), "retained")
    return [one for one in found if one.version in standing]


def _parts(catalog: Catalog, deployments: Iterable[Deployment], state: str) -> list[Deployed]:
    found: dict[int, Deployed] = {}
    for definition in (definition for deployment in deployments for definition in deployment.definitions):
        for part in definition.parts:
            version = catalog.version(part.version)
            if version is None or version.state != state or part.version in found:
                continue  # a part shared by two goes by the first's name
            found[part.version] = Deployed(
                version=part.version,
                kind=version.kind,
                definition=definition.name,
                label=part.label,
                canonical=version.canonical,
                evaluation=version.evaluation,
            )
    return list(found.values())


def _refused(catalog: Catalog, reason: str) -> Decision:
    return Decision("refused", reason, catalog.generation, catalog)


def _deploy(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    if request["base"] != catalog.generation:
        reason = f"planned against generation {request['base']}, active is {catalog.generation}"
        return Decision("stale", reason, catalog.generation, catalog)
    checked = check(request["config"], path=request["path"])
    if checked.config is None:
        fatal = [d for d in checked.diagnostics if d.severity == "fatal"]
        return _refused(catalog, "; ".join(f"{d.span}: {d.message}" for d in fatal[:3]) or "unusable sync config")
    changes = diff(
        deployed(catalog), checked.config, pending=adoptable(catalog), retained=retained(catalog, moment.standing)
    )
    if (own := planned(changes)) != request["planned"]:
        return Decision("differs", f"the merge sees {own}", catalog.generation, catalog)
    return _begun(catalog, request, moment, checked.config, changes)


def _pending(catalog: Catalog) -> list[Deployment]:
    return [d for d in catalog.deployments if d.pending or d.state == "aligned"]


def _begun(
    catalog: Catalog, request: Request, moment: Moment, config: SyncConfig, changes: Iterable[PartChange]
) -> Decision:
    generation = catalog.next_generation
    numbers: dict[tuple[str, str, str], tuple[int, str]] = {}
    versions: list[Version] = []
    overlays: list[Overlay] = []
    for change in changes:
        if not isinstance(change.part, Part):
            continue
        number = change.version
        if change.kind == "new" or number is None:
            number = catalog.next_version + len(versions)
            versions.append(_version(change.part, number, config.evaluation, tributary_name(generation)))
        elif change.kind == "reevaluated":
            overlays.append(Overlay(catalog.next_version + len(versions), number))
            anew = _version(change.part, overlays[-1].shadow, config.evaluation, tributary_name(generation))
            versions.append(replace(anew, state="throwaway"))
        numbers[change.part.definition, change.part.kind, change.part.label] = (number, change.reason)
    definitions = tuple(_definition(d, config.options, numbers) for d in config.definitions)
    active, on_their_way = catalog.active, pending_deploys(catalog)
    for one in on_their_way:
        if one.evaluation == config.evaluation and _same(one.definitions, definitions):
            return Decision("unchanged", "the pending deployment has all of it", one.generation, catalog)
    if active is not None and not overlays and _same(active.definitions, definitions):
        if not on_their_way:
            return Decision("unchanged", "the active deployment has all of it", active.generation, catalog)
        return Decision("accepted", "", active.generation, _in_place_of(catalog, active.generation, frozenset()))
    deployment = _deployment(generation, request, moment, config.evaluation, definitions)
    tributary = replace(_tributary(generation, versions, request), overlays=tuple(overlays)) if versions else None
    catalog = _in_place_of(catalog, generation, deployment.versions())
    return Decision("accepted", "", generation, staged(added(catalog, deployment, versions, tributary), generation))


def _in_place_of(catalog: Catalog, generation: int, wanted: frozenset[int]) -> Catalog:
    """The catalog in which nothing is pending but what this generation wants of it."""
    for deployment in _pending(catalog):
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


def _deployment(
    generation: int,
    request: Request,
    moment: Moment,
    evaluation: str,
    definitions: tuple[DeployedDefinition, ...],
) -> Deployment:
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


def _tributary(generation: int, versions: Iterable[Version], request: Request) -> Tributary:
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


def _verify(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    active = catalog.active
    if active is None:
        return _refused(catalog, "nothing is deployed")
    for deployment in _pending(catalog):
        return _refused(catalog, f"generation {deployment.generation} ({deployment.kind}) is {deployment.state}")
    generation, name = catalog.next_generation, tributary_name(catalog.next_generation)
    originals = [v for v in catalog.versions if v.version in active.versions() and not v.stopped_at]
    numbers = {v.version: catalog.next_version + i for i, v in enumerate(originals)}
    copies = [replace(v, version=numbers[v.version], state="throwaway", stream=name, dropped_at=0) for v in originals]
    deployment = replace(
        _deployment(generation, request, moment, active.evaluation, ()),
        path=active.path,
        comparisons=tuple(Comparison(numbers[v.version], 0, v.version, 0) for v in originals),
    )
    return Decision(
        "accepted", "", generation, added(catalog, deployment, copies, _tributary(generation, copies, request))
    )


def _resume(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    """A verify gives way; a deploy on its way does not, since it may have another version of the definition."""
    name, active = request["definition"], catalog.active
    known = [d.name for d in active.definitions] if active is not None else []
    if active is None or name not in known:
        return _refused(catalog, f'no definition "{name}" is active; active: {", ".join(known) or "none"}')
    if not (stopped := stopped_versions(catalog, name)):
        return Decision("unchanged", f'"{name}" is not stopped', active.generation, catalog)
    return _overlaid(catalog, request, moment, stopped)


def _repair(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    """Every active part that goes on is evaluated anew into its own buckets."""
    active = catalog.active
    if active is None:
        return _refused(catalog, "nothing is deployed")
    going_on = [v for v in catalog.advancing() if v.version in active.versions()]
    if not going_on:
        return _refused(catalog, "no active part goes on, so that nothing can be repaired")
    return _overlaid(catalog, request, moment, going_on)


def _overlaid(catalog: Catalog, request: Request, moment: Moment, versions: Sequence[Version]) -> Decision:
    for deployment in _pending(catalog):
        if deployment.kind != "verify":
            return _refused(catalog, f"generation {deployment.generation} ({deployment.kind}) is {deployment.state}")
        catalog = dropped(catalog, deployment, f"a {request['kind']} came")
    generation = catalog.next_generation
    copies, overlays = shadows(versions, catalog.next_version, tributary_name(generation))
    deployment = _deployment(generation, request, moment, catalog.active.evaluation if catalog.active else "", ())
    deployment = replace(deployment, path=request["definition"])
    tributary = replace(_tributary(generation, copies, request), overlays=overlays)
    return Decision("accepted", "", generation, added(catalog, deployment, copies, tributary))


def _cancel(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    """Generation 0 means the pending deploy, of which there is one at most: a later one takes its place."""
    pending = [d for d in pending_deploys(catalog) if request["generation"] in (0, d.generation)]
    if pending:
        return Decision("accepted", "", pending[0].generation, cancelled(catalog, pending[0]))
    known = catalog.deployment(request["generation"])
    if known is None:
        what = f"generation {request['generation']} is not known" if request["generation"] else "no deploy is pending"
        return _refused(catalog, what)
    if known.state == "cancelled":
        return Decision("unchanged", "it is cancelled", known.generation, catalog)
    return _refused(catalog, f"generation {known.generation} is {known.state}, only a pending deploy can be cancelled")


def _drop(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    generation = request["generation"]
    deployment = catalog.deployment(generation)
    if deployment is None or deployment.state in ("dropped", "failed"):
        return Decision("unchanged", "it is gone", generation, catalog)
    landing = landing_tributary(catalog)
    if (landing is not None and landing.generation == generation) or not (
        deployment.pending or deployment.state == "aligned"
    ):
        return _refused(catalog, f"generation {generation} is {deployment.state}")
    return Decision("accepted", "", generation, dropped(catalog, deployment, "dropped on request"))


def _bounds(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    tributary = catalog.tributary(request["tributary"])
    if tributary is None or tributary.state == "queued":
        return _refused(catalog, f'no replay "{request["tributary"]}" is under way')
    if tributary.bounded:
        return Decision("unchanged", "the ends are in the catalog already", tributary.generation, catalog)
    ends = tuple(ReplayEnd(e["table"], e["partition"], e["end"]) for e in request["ends"])
    own = set(tributary.versions)
    patterns = {pattern for v in catalog.versions if v.version in own for pattern in v.tables}
    missing = {*expanded(patterns, ())} - {e.table for e in ends}  # which tables a wildcard means, the worker knows
    if missing:
        return _refused(catalog, f"no ends for {', '.join(sorted(missing))}")
    return Decision("accepted", "", tributary.generation, bounded(catalog, tributary, ends, now=moment.now))


def _head(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    tributary = catalog.tributary(request["tributary"])
    if tributary is None or not tributary.bounded:
        return _refused(catalog, f'there is no replay "{request["tributary"]}" with ends')
    if tributary.head is not None:
        return Decision("unchanged", "the head is in the catalog already", tributary.generation, catalog)
    return Decision("accepted", "", tributary.generation, headed(catalog, tributary, request["head"]))


def _gc(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    """What is only kept goes now, not at its date."""
    after = released(catalog, {v.version for v in idle(catalog)}, "collected on request")
    if after is catalog:
        return Decision("unchanged", "nothing is only kept", catalog.generation, catalog)
    return Decision("accepted", "", catalog.generation, after)


def _compact(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    return Decision("accepted", "", catalog.generation, catalog)


DECISIONS: Mapping[str, Callable[[Catalog, Request, Moment], Decision]] = {
    "deploy": _deploy,
    "verify": _verify,
    "resume": _resume,
    "repair": _repair,
    "cancel": _cancel,
    "drop": _drop,
    "bounds": _bounds,
    "head": _head,
    "compact": _compact,
    "gc": _gc,
}

__all__ = [
    "Decision",
    "Moment",
    "adoptable",
    "check_plans",
    "decide",
    "deployed",
    "pending_deploys",
    "retained",
]
