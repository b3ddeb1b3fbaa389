"""What a commit decides beyond its rows: switch, alignment, what time ends, and whether it is a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from connector.definitions.patterns import expanded, is_wildcard
from connector.merge.catalog import Catalog, Deployment, Version, aligned, replayed, switched, with_deployment
from connector.merge.draft import Draft
from connector.merge.endings import expired, failed
from connector.merge.judge import scanned
from connector.merge.overlay import is_laid, landing, resumed, to_land
from connector.merge.pending import overdue, started
from connector.merge.state import Merge, Wait, commit_record, is_checkpoint

# Table → Q, the position from which it is complete; None: not yet (rule D3). Refused tables are not in it.
Complete = Mapping[str, int | None]


def settle(draft: Draft, *, now: int, complete: Complete, retain_ms: int) -> None:
    """Decide at the end of a draft, before its ops are written."""
    draft.state = _with(draft.state, _due(draft.state, now))
    draft.state = _with(draft.state, _measured(draft.state, now))
    for deployment in draft.state.catalog.deployments:
        if is_laid(draft.state.catalog, deployment) or (
            deployment.pending and ready(draft.state, deployment, complete)
        ):
            draft.state = _with(draft.state, _landed(draft.state, deployment, now, retain_ms))
            draft.state = _with(draft.state, expired(draft.state.catalog, now))
    draft.state = _with(draft.state, _dated(draft, now))
    draft.state = replace(draft.state, waits=(*_told(draft.state, complete), *_holding(draft)))


def _due(state: Merge, now: int) -> Catalog:
    """What time and places decide, whatever stands ready."""
    main = state.main
    catalog = expired(overdue(_hopeless(state), now), now)
    return started(catalog, position=main.position, change_offset=main.change_offset, now=now)


def _hopeless(state: Merge) -> Catalog:
    """A deployment that waits for a retained version which has missed an answer would wait for ever: it fails."""
    catalog = state.catalog
    for deployment in catalog.deployments:
        missed = next((v for v in _coming_back(state, deployment) if _has_missed(state, v)), None)
        if missed is not None:
            at = state.versions[missed.version].position
            reason = f"version {missed.version}, which was to come back, missed its answer at position {at + 1}"
            catalog = failed(catalog, deployment, reason)
    return catalog


def _coming_back(state: Merge, deployment: Deployment) -> list[Version]:
    wanted = deployment.versions() if deployment.pending else frozenset()
    return [v for v in state.catalog.versions if v.version in wanted and v.state == "retained"]


def _has_missed(state: Merge, version: Version) -> bool:
    """Its stream is past it, and what a stream has passed it does not answer for again (rule M1)."""
    return state.versions[version.version].position < state.streams[version.stream].position


def _dated(draft: Draft, now: int) -> Catalog:
    """What is pending no more since the last commit has ended then."""
    catalog = draft.state.catalog
    for deployment in catalog.deployments:
        known = draft.base.catalog.deployment(deployment.generation)
        if not deployment.pending and (known is None or known.pending):
            catalog = with_deployment(catalog, replace(deployment, ended_at=now))
    return catalog


def ready(state: Merge, deployment: Deployment, complete: Complete) -> bool:
    """The deployment stands with everything exposed at one boundary P, P ≥ F and P ≥ Q of its tables (rules D3, D4)."""
    return not any(True for _ in waits(state, deployment, complete)) and is_checkpoint(state)


def waits(state: Merge, deployment: Deployment, complete: Complete) -> Iterator[str]:
    """What keeps a deployment from its switch, other than that no boundary is reached."""
    position = state.main.position
    for tributary in (t for t in state.catalog.tributaries if t.generation == deployment.generation):
        if tributary.state != "catching_up" or tributary.head is None:
            yield f"{tributary.name} is {tributary.state}"
        elif not scanned(state, tributary):  # F can be announced before the last replay record is taken (rule T6)
            yield f"the replay of {tributary.name} is not wholly taken"
        elif position < tributary.head:
            yield f"main is at {position}, before {tributary.head} where the replay ended"
        elif (at := state.streams[tributary.name].position) != position or tributary.name in state.cursors:
            yield f"{tributary.name} is at {at}, main at {position}"
        own = set(tributary.versions)
        yield from _incomplete(
            {p for v in state.catalog.versions if v.version in own for p in v.tables}, complete, position
        )
    for version in _coming_back(state, deployment):  # it may lag (rule M6)
        reached = state.versions[version.version].position
        if reached != position or version.stream in state.cursors:
            yield f"version {version.version} is at {reached}, main at {position}"


def _incomplete(patterns: set[str], complete: Complete, position: int) -> Iterator[str]:
    """Of a wildcard the tables count that the sequencer knows: one that comes later has its first row in the log."""
    if not complete and any(map(is_wildcard, patterns)):
        yield "no table is known yet"
    for table in expanded(patterns, complete):
        needed = complete.get(table)
        if needed is None or position < needed:
            yield f"{table} is not complete"


def _told(state: Merge, complete: Complete) -> Iterator[Wait]:
    """Why each pending deployment is not exposed, for whoever looks at it."""
    for deployment in state.catalog.deployments:
        if deployment.pending:
            reasons = list(waits(state, deployment, complete)) or ["a source transaction is not wholly taken"]
            yield from (Wait(deployment.generation, reason) for reason in reasons)


def _holding(draft: Draft) -> Iterator[Wait]:
    """Which streams hold main up, and with it every checkpoint (rule M6) and every switch."""
    state = draft.state
    generations = [state.catalog.generation, *(d.generation for d in state.catalog.deployments if d.pending)]
    for stream in sorted(draft.held & state.streams.keys()):
        at = state.streams[stream].position
        said = f"main waits for {stream}, which is at {at} and not taken over yet"
        yield from (Wait(generation, said) for generation in generations)


def _measured(state: Merge, now: int) -> Catalog:
    """The catalog with rows and duration of every replay that is taken since the last commit."""
    catalog = state.catalog
    for tributary in state.catalog.tributaries:
        if tributary.bounded_at and not tributary.replayed_at and scanned(state, tributary):
            rows = sum(r.rows for r in state.streams[tributary.name].partitions.values())
            catalog = replayed(catalog, tributary, rows, now)
    return catalog


def finish(draft: Draft, oplog_offsets: Mapping[int, int], *, now: int) -> tuple[dict[str, object], Catalog | None]:
    """(Commit record, catalog to write or None), once the ops are in their logs."""
    draft.written(oplog_offsets)
    catalog = draft.state.catalog
    if catalog is not draft.base.catalog:
        catalog = replace(_compared(catalog, draft.state), number=draft.base.catalog.number + 1, written_at=now)
        draft.state = replace(draft.state, catalog=catalog)
    record = commit_record(draft.state, exposed=is_checkpoint(draft.state), now=now)
    return record, None if catalog is draft.base.catalog else catalog


def _with(state: Merge, catalog: Catalog) -> Merge:
    return state if catalog is state.catalog else state.with_catalog(catalog)


def _landed(state: Merge, deployment: Deployment, now: int, retain_ms: int) -> Catalog:
    position, commit = state.main.position, state.number
    if (tributary := to_land(state.catalog, deployment)) is not None:
        return landing(state.catalog, tributary)
    if deployment.kind == "verify":
        return aligned(state.catalog, deployment, position=position, commit=commit, now=now)
    if deployment.kind in ("resume", "repair"):
        return resumed(state.catalog, deployment, position=position, commit=commit, now=now)
    return switched(state.catalog, deployment, position=position, commit=commit, now=now, dropped_at=now + retain_ms)


def _compared(catalog: Catalog, state: Merge) -> Catalog:
    """A verify that aligned in this commit learns how far its op logs reach; what has stopped meanwhile is left out."""
    stopped = {v.version for v in catalog.versions if v.stopped_at}
    for deployment in catalog.deployments:
        if deployment.state == "aligned" and deployment.commit == state.number:
            comparisons = tuple(
                replace(
                    c,
                    offset=state.versions[c.version].oplog_offset,
                    original_offset=state.versions[c.original].oplog_offset,
                )
                for c in deployment.comparisons
                if c.original not in stopped
            )
            catalog = with_deployment(catalog, replace(deployment, comparisons=comparisons))
    return catalog
