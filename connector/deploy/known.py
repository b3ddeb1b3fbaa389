"""What of the catalog a request is decided against: parts to compare a sync config with, deployments on their way."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from connector.deploy.diff import Deployed
from connector.merge.catalog import Catalog, Deployment


def deployed(catalog: Catalog) -> list[Deployed]:
    """The parts of the active deployment, each once, under the name it has there now; what a diff compares with."""
    return _parts(catalog, [catalog.active] if catalog.active is not None else [], "exposed")


def pending_deploys(catalog: Catalog) -> list[Deployment]:
    """Deploys before their switch; of overlays and verifies none."""
    return [d for d in catalog.deployments if d.kind == "deploy" and d.pending]


def pending_generation(catalog: Catalog) -> int:
    """Of the deploy before its switch, of which there is one at most; 0: none."""
    return max((d.generation for d in pending_deploys(catalog)), default=0)


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


def under_way(catalog: Catalog) -> list[Deployment]:
    """Deployments that are not over: also a verify that has aligned and is still being compared."""
    return [d for d in catalog.deployments if d.pending or d.state == "aligned"]
