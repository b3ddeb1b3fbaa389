"""The way of the tributaries of pending deployments: queued, started, started over, adopted by a later deploy
(rules D2, T5, T7)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from connector.merge.catalog import Catalog, Deployment, Tributary, with_deployment, with_tributary
from connector.merge.endings import failed

PLACES = 3  # tributaries that replay at once (rule D2)
REPLAY_PATIENCE_MS = 10 * 60 * 1000  # what `init` sets the snapshot topics' min.compaction.lag.ms to, at least
OVERTAKEN = "its replay took so long that compaction may have overtaken it"
AGAIN = "r"  # ends the name of a tributary whose replay has started over


def started(catalog: Catalog, *, position: int, change_offset: int, now: int) -> Catalog:
    """Queued tributaries begin, the oldest first, while there are places: S0 is main's position in this commit."""
    replaying = sum(t.state == "replaying" for t in catalog.tributaries)  # others may wait for those in the queue
    queued = [t for t in catalog.tributaries if t.state == "queued"]
    for tributary in queued[: max(0, PLACES - replaying)]:
        begun = replace(tributary, state="replaying", start=position, start_offset=change_offset, started_at=now)
        catalog = with_tributary(catalog, begun)
    return catalog


def superseded(catalog: Catalog, older: Deployment, generation: int, wanted: Collection[int]) -> Catalog:
    """A later deploy takes an older one's place: the tributaries with versions that it wants go on under its
    generation, less the others (rule D2)."""
    mine = {t.name for t in catalog.tributaries if t.generation == older.generation}
    kept = [
        replace(t, generation=generation, versions=versions, overlays=())
        if t.name in mine and (versions := tuple(v for v in t.versions if v in wanted))
        else t
        for t in catalog.tributaries
        if t.name not in mine or any(v in wanted for v in t.versions)
    ]
    names = {t.name for t in kept}
    ended = replace(older, state="dropped", config="", reason=f"superseded by generation {generation}")
    return replace(
        with_deployment(catalog, ended),
        versions=tuple(v for v in catalog.versions if v.stream not in mine or v.version in wanted),
        tributaries=tuple(kept),
        rewinds={s: n for s, n in catalog.rewinds.items() if s not in mine or s in names},
    )


def overdue(catalog: Catalog, now: int) -> Catalog:
    """A replay that outlasts the snapshot topics' compaction lag may have missed rows (rule T7)."""
    for tributary in catalog.tributaries:
        late = tributary.state == "replaying" and now >= tributary.started_at + patience_ms(tributary.lag_ms)
        if late and catalog.tributary(tributary.name) is not None:
            catalog = given_another_start(catalog, tributary, OVERTAKEN)
    return catalog


def patience_ms(lag_ms: int) -> int:
    """How long a replay may take whose topics have this compaction lag; a lower one is for `init` to mend."""
    return max(REPLAY_PATIENCE_MS, lag_ms)


def given_another_start(catalog: Catalog, tributary: Tributary, why: str) -> Catalog:
    """The tributary starts over; where it has done so before, its deployment fails."""
    deployment = catalog.deployment(tributary.generation)
    if deployment is None:
        return catalog
    if tributary.name.endswith(AGAIN):
        return failed(catalog, deployment, f"for the second time {why}")
    return _started_over(catalog, tributary, deployment)


def _started_over(catalog: Catalog, tributary: Tributary, deployment: Deployment) -> Catalog:
    """The same parts under new version numbers, from a new S0: nothing of the first scan is kept."""
    name = f"{tributary.name}{AGAIN}"
    numbers = {old: catalog.next_version + index for index, old in enumerate(tributary.versions)}
    again = replace(
        tributary,
        name=name,
        versions=tuple(numbers.values()),
        state="queued",
        ends=(),
        bounded=False,
        head=None,
        bounded_at=0,
        replayed_at=0,
        lag_ms=0,
        overlays=tuple(replace(o, shadow=numbers.get(o.shadow, o.shadow)) for o in tributary.overlays),
    )
    begun = replace(
        with_deployment(catalog, _renumbered(deployment, numbers)),
        next_version=catalog.next_version + len(numbers),
        versions=tuple(
            replace(v, version=numbers[v.version], stream=name) if v.version in numbers else v for v in catalog.versions
        ),
        tributaries=tuple(again if t.name == tributary.name else t for t in catalog.tributaries),
        rewinds={s: n for s, n in catalog.rewinds.items() if s != tributary.name},
    )
    return staged(begun, deployment.generation)


def _renumbered(deployment: Deployment, numbers: Mapping[int, int]) -> Deployment:
    return replace(
        deployment,
        comparisons=tuple(replace(c, version=numbers.get(c.version, c.version)) for c in deployment.comparisons),
        definitions=tuple(
            replace(d, parts=tuple(replace(p, version=numbers.get(p.version, p.version)) for p in d.parts))
            for d in deployment.definitions
        ),
    )


def headed(catalog: Catalog, tributary: Tributary, head: int) -> Catalog:
    """Every partition of the tributary is done and F is captured: it catches up."""
    caught = with_tributary(catalog, replace(tributary, head=head, state="catching_up"))
    return staged(caught, tributary.generation)


def staged(catalog: Catalog, generation: int) -> Catalog:
    """A pending deployment is catching up once all of its tributaries are (rule D2)."""
    deployment = catalog.deployment(generation)
    if deployment is None or not deployment.pending:
        return catalog
    scanning = any(t.head is None for t in catalog.tributaries if t.generation == generation)
    return with_deployment(catalog, replace(deployment, state="replaying" if scanning else "catching_up"))
