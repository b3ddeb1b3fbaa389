"""What the catalog still tells of deployments that are over."""

from __future__ import annotations

from connector.merge.catalog import KEPT_ENDED, KEPT_OTHERS, Catalog, Deployment, pruned
from tests.builders import deployment
from tests.merge.test_requests import ONE, OTHER, TWO, active, ask, deploy


def over(generation: int, kind: str = "deploy", switched_at: int = 1) -> Deployment:
    return deployment(generation, [], kind=kind, state="dropped", switched_at=switched_at)


def test_verifies_erase_no_deploy() -> None:
    """They are made by the dozen, by whoever looks after the app."""
    catalog = ask(active(OTHER, active(ONE)), "gc").catalog
    for _ in range(3 * KEPT_ENDED):
        verify = ask(catalog, "verify")
        catalog = ask(verify.catalog, "drop", generation=verify.generation).catalog
    assert [d.generation for d in catalog.deployments if d.kind == "deploy"] == [1, 2]
    assert catalog.deployments[0].config == ONE
    assert len([d for d in catalog.deployments if d.kind == "verify"]) <= KEPT_OTHERS + 1  # the next one makes room


def test_deploys_that_never_were_active_erase_none_that_was() -> None:
    catalog: Catalog = ask(active(OTHER, active(ONE)), "gc").catalog
    for _ in range(3 * KEPT_ENDED):
        catalog = ask(deploy(catalog, TWO).catalog, "cancel").catalog
    assert catalog.deployments[0].config == ONE
    assert len(catalog.deployments) == 2 + KEPT_ENDED + 1


def test_the_oldest_of_each_kind_go() -> None:
    kinds = ("deploy", "verify", "resume", "repair")
    kept = pruned(tuple(over(4 * n + i, kind) for n in range(2 * KEPT_ENDED) for i, kind in enumerate(kinds)))
    of = {kind: [d.generation for d in kept if d.kind == kind] for kind in kinds}
    assert of["deploy"] == [4 * n for n in range(KEPT_ENDED, 2 * KEPT_ENDED)]
    for index, kind in enumerate(kinds[1:], 1):
        assert of[kind] == [4 * n + index for n in range(2 * KEPT_ENDED - KEPT_OTHERS, 2 * KEPT_ENDED)]
