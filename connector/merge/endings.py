"""How deployments end, and with them what is only theirs: given up, failed, cancelled, no longer kept (law 10)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from connector.merge.catalog import MAIN, Catalog, Deployment, DeploymentState, Version, pruned, with_deployment

LONGEST_KEPT = 64 * 1024  # characters of a config that is kept once its deployment is over: the catalog is one record
KEPT_RETAINED = 5  # retained deployments, newest first: main evaluates each one's versions, the catalog has its text
CROWDED_OUT = f"{KEPT_RETAINED} newer ones are kept"
VERIFY_PATIENCE_MS = 2 * 60 * 1000  # an aligned verify that nobody keeps or drops goes by itself after so long


def dropped(catalog: Catalog, deployment: Deployment, reason: str) -> Catalog:
    """A verify or a pending deploy is given up: its versions and tributary go, all else stays (law 10)."""
    return _given_up(catalog, deployment, "dropped", reason)


def cancelled(catalog: Catalog, deployment: Deployment) -> Catalog:
    """A person gives up what is on its way, of whatever kind: all else stays as it is (law 10)."""
    return _given_up(catalog, deployment, "cancelled", "cancelled on request")


def failed(catalog: Catalog, deployment: Deployment, reason: str) -> Catalog:
    """A pending deployment cannot be exposed any more: it goes, all else stays (law 10)."""
    return _given_up(catalog, deployment, "failed", reason)


def _given_up(catalog: Catalog, deployment: Deployment, state: DeploymentState, reason: str) -> Catalog:
    mine = {t.name for t in catalog.tributaries if t.generation == deployment.generation}
    return _ended(
        replace(
            with_deployment(catalog, replace(deployment, state=state, config="", reason=reason, comparisons=())),
            versions=tuple(v for v in catalog.versions if v.stream not in mine or v.state in ("exposed", "retained")),
            tributaries=tuple(t for t in catalog.tributaries if t.name not in mine),
            rewinds={s: n for s, n in catalog.rewinds.items() if s not in mine},
        )
    )


def expired(catalog: Catalog, now: int) -> Catalog:
    """What time ends: retained versions past their date, or of deployments that many have followed; a verify that
    nobody came back for."""
    for deployment in catalog.deployments:
        stands = deployment.kind == "verify" and deployment.state == "aligned"
        if stands and now >= deployment.switched_at + VERIFY_PATIENCE_MS:
            catalog = dropped(catalog, deployment, "its command was not heard of for 2 minutes")
    crowded = _crowded_out(catalog)
    return released(catalog, {v.version for v in idle(catalog) if now >= v.dropped_at or v.version in crowded})


def _retained(catalog: Catalog) -> list[Deployment]:
    """The newest last."""
    return sorted((d for d in catalog.deployments if d.state == "retained"), key=lambda d: d.switched_at)


def _holding(catalog: Catalog) -> list[Deployment]:
    """Those because of which versions are retained, the newest last."""
    retained = {v.version for v in catalog.versions if v.state == "retained"}
    return [d for d in _retained(catalog) if d.versions() & retained]


def _crowded_out(catalog: Catalog) -> set[int]:
    """Versions that only deployments have which are not among the newest retained ones."""
    holding = _holding(catalog)
    older, newest = (
        {number for d in some for number in d.versions()}
        for some in (holding[:-KEPT_RETAINED], holding[-KEPT_RETAINED:])
    )
    return older - newest


def idle(catalog: Catalog) -> list[Version]:
    """Retained versions that no deployment on its way brings back."""
    coming = [d for d in catalog.deployments if d.pending or d.state == "aligned"]
    wanted = {number for d in coming for number in d.versions()}
    return [v for v in catalog.versions if v.state == "retained" and v.version not in wanted]


def released(catalog: Catalog, numbers: Collection[int], reason: str = "") -> Catalog:
    """These retained versions are kept no longer, nor the deployments of which nothing is left."""
    if not numbers:
        return _ended(catalog)
    kept = tuple(v for v in catalog.versions if v.version not in numbers)
    still = {v.stream for v in kept}
    live = tuple(t for t in catalog.tributaries if t.state != "taking_over" or t.name in still)
    names = {MAIN, *(t.name for t in live)}
    rewinds = {stream: count for stream, count in catalog.rewinds.items() if stream in names}
    return _ended(replace(catalog, versions=kept, tributaries=live, rewinds=rewinds), reason)


def _ended(catalog: Catalog, reason: str = "") -> Catalog:
    """Retained deployments are dropped where nothing of them is retained any more, or newer ones are enough.

    One whose versions are all exposed stays too: a rollback to it replays nothing.
    """
    exposed = {v.version for v in catalog.versions if v.state == "exposed"}
    whole = [d for d in _retained(catalog) if d.versions() <= exposed]
    others = [d for d in _retained(catalog) if d not in whole]
    kept = {d.generation for some in (_holding(catalog), whole) for d in some[-KEPT_RETAINED:]}
    newest = {d.generation for some in (others, whole) for d in some[-KEPT_RETAINED:]}
    deployments = tuple(
        d
        if d.state != "retained" or d.generation in kept
        else _over(d, reason if d.generation in newest else CROWDED_OUT)
        for d in catalog.deployments
    )
    return catalog if deployments == catalog.deployments else replace(catalog, deployments=pruned(deployments))


def _over(deployment: Deployment, reason: str) -> Deployment:
    config = deployment.config if len(deployment.config) <= LONGEST_KEPT else ""
    return replace(deployment, state="dropped", reason=reason, config=config)
