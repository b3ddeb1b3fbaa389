"""How the merge decides a request: a pure function from catalog and request to answer and catalog (rule D1)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from connector.definitions.check import check
from connector.definitions.model import check_version
from connector.definitions.patterns import expanded
from connector.definitions.stored import loaded
from connector.deploy.decision import Decision, Moment, Request, expired, refused
from connector.deploy.diff import diff
from connector.deploy.generation import begun, new_deployment, new_tributary
from connector.deploy.known import adoptable, deployed, pending_generation, retained, under_way
from connector.deploy.plan import pending_moved, planned
from connector.deploy.resume import shadows, stopped_versions
from connector.merge.catalog import (
    Catalog,
    Comparison,
    ReplayEnd,
    Version,
    added,
    bounded,
    tributary_name,
    with_deployment,
)
from connector.merge.endings import cancelled, dropped, idle, released
from connector.merge.overlay import landing_tributary
from connector.merge.pending import headed


def decide(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    """Decide one request against the catalog in force. Refuses what it does not know; never raises."""
    turned_down = _turned_down(catalog, request, moment)
    return DECISIONS[request["kind"]](catalog, request, moment) if turned_down is None else turned_down


def reads_config(catalog: Catalog, request: Request, moment: Moment) -> bool:
    """The decision hangs on what is found in the request's config, which may take seconds to parse."""
    return request["kind"] == "deploy" and _turned_down(catalog, request, moment) is None


def _turned_down(catalog: Catalog, request: Request, moment: Moment) -> Decision | None:
    """A request that is not looked into any further."""
    if why := expired(request, moment.now):
        return Decision("expired", why, catalog.generation, catalog)
    landing = landing_tributary(catalog)
    if landing is not None and request["kind"] in ("deploy", "verify", "resume", "repair", "cancel"):
        return refused(catalog, f"generation {landing.generation} is being laid over its buckets: try again at once")
    if request["kind"] not in DECISIONS:
        return refused(catalog, f'there is no request "{request["kind"]}"')
    if request["kind"] == "deploy" and (moved := _moved_on(catalog, request)) is not None:
        return Decision("stale", moved, catalog.generation, catalog)
    return None


def check_plans(catalog: Catalog) -> None:
    """Raises BadConfig where the catalog has plans or queriers of a version that this release does not know."""
    for version in catalog.versions:
        check_version(json.loads(version.plan), f"version {version.version} of {version.label}")
    for definition in catalog.active.definitions if catalog.active is not None else ():
        loaded(definition.name, definition.priority, definition.queriers)


def _deploy(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    checked = moment.checked or check(request["config"], path=request["path"])
    if checked.config is None:
        fatal = [d for d in checked.diagnostics if d.severity == "fatal"]
        return refused(catalog, "; ".join(f"{d.span}: {d.message}" for d in fatal[:3]) or "unusable sync config")
    changes = diff(
        deployed(catalog), checked.config, pending=adoptable(catalog), retained=retained(catalog, moment.standing)
    )
    if (own := planned(changes)) != request["planned"]:
        return Decision("differs", f"the merge sees {own}", catalog.generation, catalog)
    return begun(catalog, request, moment, checked.config, changes)


def _moved_on(catalog: Catalog, request: Request) -> str | None:
    """What the catalog no longer is that a deploy was planned against; older commands do not say what was pending."""
    if request["base"] != catalog.generation:
        return f"planned against generation {request['base']}, active is {catalog.generation}"
    pending, planned_beside = pending_generation(catalog), request.get("pending")
    if planned_beside is not None and planned_beside != pending:
        return pending_moved(planned_beside, pending)
    return None


def _verify(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    active = catalog.active
    if active is None:
        return refused(catalog, "nothing is deployed")
    for deployment in under_way(catalog):
        ends_it = f"; `syncline cancel {deployment.generation}` ends it" if deployment.kind == "verify" else ""
        told = f"generation {deployment.generation} ({deployment.kind}) is {deployment.state}{ends_it}"
        return refused(catalog, told)
    generation, name = catalog.next_generation, tributary_name(catalog.next_generation)
    originals = [v for v in catalog.versions if v.version in active.versions() and not v.stopped_at]
    if not originals:
        return refused(catalog, "no active part goes on, so that there is nothing to compare")
    numbers = {v.version: catalog.next_version + i for i, v in enumerate(originals)}
    copies = [replace(v, version=numbers[v.version], state="throwaway", stream=name, dropped_at=0) for v in originals]
    deployment = replace(
        new_deployment(generation, request, moment, active.evaluation, ()),
        path=active.path,
        comparisons=tuple(Comparison(numbers[v.version], 0, v.version, 0) for v in originals),
    )
    return Decision(
        "accepted", "", generation, added(catalog, deployment, copies, new_tributary(generation, copies, request))
    )


def _resume(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    """A verify gives way; a deploy on its way does not, since it may have another version of the definition."""
    name, active = request["definition"], catalog.active
    known = [d.name for d in active.definitions] if active is not None else []
    if active is None or name not in known:
        return refused(catalog, f'no definition "{name}" is active; active: {", ".join(known) or "none"}')
    if not (stopped := stopped_versions(catalog, name)):
        return Decision("unchanged", f'"{name}" is not stopped', active.generation, catalog)
    return _overlaid(catalog, request, moment, stopped)


def _repair(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    """Every active part that goes on is evaluated anew into its own buckets."""
    active = catalog.active
    if active is None:
        return refused(catalog, "nothing is deployed")
    going_on = [v for v in catalog.advancing() if v.version in active.versions()]
    if not going_on:
        return refused(catalog, "no active part goes on, so that nothing can be repaired")
    return _overlaid(catalog, request, moment, going_on)


def _overlaid(catalog: Catalog, request: Request, moment: Moment, versions: Sequence[Version]) -> Decision:
    for deployment in under_way(catalog):
        if deployment.kind != "verify":
            return refused(catalog, f"generation {deployment.generation} ({deployment.kind}) is {deployment.state}")
        catalog = dropped(catalog, deployment, f"a {request['kind']} came")
    generation = catalog.next_generation
    copies, overlays = shadows(versions, catalog.next_version, tributary_name(generation))
    deployment = new_deployment(generation, request, moment, catalog.active.evaluation if catalog.active else "", ())
    deployment = replace(deployment, path=request["definition"])
    tributary = replace(new_tributary(generation, copies, request), overlays=overlays)
    return Decision("accepted", "", generation, added(catalog, deployment, copies, tributary))


def _cancel(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    """Generation 0 means what is on its way, of which there is one at most, of whatever kind: a later deploy takes an
    earlier one's place, and all else is refused or ended beside it."""
    going = [d for d in under_way(catalog) if request["generation"] in (0, d.generation)]
    if going:
        return Decision("accepted", going[0].kind, going[0].generation, cancelled(catalog, going[0]))
    known = catalog.deployment(request["generation"])
    if known is None:
        what = f"generation {request['generation']} is not known" if request["generation"] else "nothing is pending"
        return refused(catalog, what)
    if known.state == "cancelled":
        return Decision("unchanged", "it is cancelled", known.generation, catalog)
    return refused(catalog, f"generation {known.generation} is {known.state}, only what is pending can be cancelled")


def _drop(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    generation = request["generation"]
    deployment = catalog.deployment(generation)
    if deployment is None or deployment.over:
        return Decision("unchanged", "it is gone", generation, catalog)
    landing = landing_tributary(catalog)
    if (landing is not None and landing.generation == generation) or not (
        deployment.pending or deployment.state == "aligned"
    ):
        return refused(catalog, f"generation {generation} is {deployment.state}")
    return Decision("accepted", "", generation, dropped(catalog, deployment, "dropped on request"))


def _keep(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    """Somebody still compares what an aligned verify has: its time begins anew."""
    deployment = catalog.deployment(request["generation"])
    if deployment is None or deployment.over:
        why = f" as {deployment.state}: {deployment.reason}" if deployment is not None else ""
        return refused(catalog, f"generation {request['generation']} has ended{why}")
    if deployment.kind != "verify" or deployment.state != "aligned":
        return Decision("unchanged", f"it is {deployment.state}", deployment.generation, catalog)
    kept = replace(deployment, switched_at=moment.now)
    return Decision("accepted", "", deployment.generation, with_deployment(catalog, kept))


def _bounds(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    tributary = catalog.tributary(request["tributary"])
    if tributary is None or tributary.state == "queued":
        return refused(catalog, f'no replay "{request["tributary"]}" is under way')
    if tributary.bounded:
        return Decision("unchanged", "the ends are in the catalog already", tributary.generation, catalog)
    ends = tuple(ReplayEnd(e["table"], e["partition"], e["end"]) for e in request["ends"])
    own = set(tributary.versions)
    patterns = {pattern for v in catalog.versions if v.version in own for pattern in v.tables}
    missing = {*expanded(patterns, ())} - {e.table for e in ends}  # which tables a wildcard means, the worker knows
    if missing:
        return refused(catalog, f"no ends for {', '.join(sorted(missing))}")
    known = bounded(catalog, tributary, ends, now=moment.now, lag_ms=request.get("lag_ms", 0))
    return Decision("accepted", "", tributary.generation, known)


def _head(catalog: Catalog, request: Request, moment: Moment) -> Decision:
    tributary = catalog.tributary(request["tributary"])
    if tributary is None or not tributary.bounded:
        return refused(catalog, f'there is no replay "{request["tributary"]}" with ends')
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
    "keep": _keep,
    "bounds": _bounds,
    "head": _head,
    "compact": _compact,
    "gc": _gc,
}
