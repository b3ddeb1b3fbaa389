"""What the catalog still has of deployments that are over, or only kept."""

from __future__ import annotations

from dataclasses import replace

from connector.deploy.known import retained as kept_up_to_date
from connector.merge.catalog import KEPT_ENDED, KEPT_OTHERS, Catalog, Deployment, pruned
from connector.merge.endings import CROWDED_OUT, KEPT_RETAINED, expired
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


def test_many_deploys_within_the_hour_keep_few_versions() -> None:
    """Main evaluates each, and the catalog is one record."""
    catalog = Catalog()
    for n in range(20):
        catalog = expired(active(f"{ONE}      - SELECT id FROM todos WHERE n = {n}\n", catalog), 2000)
    retained = [d.generation for d in catalog.deployments if d.state == "retained"]
    assert retained == list(range(20 - KEPT_RETAINED, 20))
    assert [v.version for v in catalog.versions if v.state == "retained"] == retained
    assert {d.reason for d in catalog.deployments if d.state == "dropped"} == {CROWDED_OUT}
    instant = kept_up_to_date(catalog, {v.version for v in catalog.versions})
    assert sorted(part.version for part in instant) == retained, "without a replay"


def test_a_version_stays_that_one_of_the_newest_has() -> None:
    catalog = Catalog()
    for n in range(2 * KEPT_RETAINED + 1):
        catalog = expired(active(ONE if n % 2 else OTHER, catalog), 2000)
    assert [(v.version, v.state) for v in catalog.versions] == [(1, "exposed"), (2, "retained")]


def test_one_that_only_lacks_something_of_the_next_is_retained() -> None:
    """A rollback to it replays nothing; of those too the newest are enough, and they crowd no version out."""
    catalog = expired(active(OTHER, active(ONE)), 2000)
    text = OTHER
    for n in range(2 * KEPT_RETAINED):
        text += f"  more{n}:\n    data:\n      - SELECT id FROM more{n}\n"
        catalog = expired(active(text, catalog), 2000)
    assert [v.version for v in catalog.versions if v.state == "retained"] == [1]
    retained = [d.generation for d in catalog.deployments if d.state == "retained"]
    assert retained == [1, *range(2 + KEPT_RETAINED, 2 + 2 * KEPT_RETAINED)]
    assert catalog.deployment(2).reason == CROWDED_OUT  # type: ignore[union-attr]
    after = ask(catalog, "gc").catalog
    assert [d.generation for d in after.deployments if d.state == "retained"] == retained[1:]
    assert after.deployment(1).reason == "collected on request"  # type: ignore[union-attr]


def test_what_comes_back_stays_until_it_has() -> None:
    catalog, texts = Catalog(), [f"{ONE}      - SELECT id FROM todos WHERE n = {n}\n" for n in range(9)]
    for text in texts[: KEPT_RETAINED + 1]:
        catalog = expired(active(text, catalog), 2000)
    coming = deploy(catalog, texts[0]).catalog
    crowded = expired(replace(coming, deployments=(*coming.deployments, retained_beside(coming))), 2000)
    assert 1 in {v.version for v in crowded.versions}


def retained_beside(catalog: Catalog) -> Deployment:
    """One more, newer than all others."""
    versions = [v.version for v in catalog.versions if v.version > 1]
    return deployment(99, versions, state="retained", switched_at=9000)
