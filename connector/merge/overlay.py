"""Overlay: versions evaluated anew into the same buckets; only what differs becomes ops (rule D6).

A shadow version is replayed and catches up in a tributary. Where it stands beside main at a boundary, it lands:
1. main and the tributary are held there, and no commit is a checkpoint;
2. the rows of both are compared; what the shadow has not is removed;
3. what the shadow has and the version has not, or has otherwise, is put, with the texts from the shadow's op log;
4. the version takes the shadow's plan and evaluation, and what the tributary delivers from then on is the version's.
An equal row gives no op (law 4), so that a crash needs no memory of how far it was: all is compared again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from connector.errors import Gap
from connector.merge.catalog import (
    Catalog,
    Deployment,
    Overlay,
    Tributary,
    Version,
    taken_over,
    with_deployment,
    with_tributary,
)
from connector.merge.draft import OPS_PER_TRANSACTION, Draft
from connector.merge.rows import Rows
from connector.oplog.ops import Op

PORTION = 1_000  # rows compared with one look into the row state
ROWS_PER_DRAFT = 20_000  # rows compared before the merge looks at its other work again


class OpLogs(Protocol):
    """The op logs as committed."""

    def read(self, version: int, start: int, end: int, count: int) -> Sequence[tuple[int, Op]]:
        """Up to `count` ops from offset `start` on and before `end`, each with the offset behind it."""


def landing(catalog: Catalog, tributary: Tributary) -> Catalog:
    """The tributary stands beside main: from now on its overlays are laid, and nothing can call it off."""
    return with_tributary(catalog, replace(tributary, state="landing"))


def laid(catalog: Catalog, tributary: Tributary) -> Catalog:
    """Every overlay is laid: the versions go on as the shadows were evaluated, which are gone."""
    shadows = {o.version: catalog.version(o.shadow) for o in tributary.overlays}
    gone = {o.shadow for o in tributary.overlays}
    versions = tuple(
        _renewed(v, shadow, tributary) if (shadow := shadows.get(v.version)) is not None else v
        for v in catalog.versions
        if v.version not in gone
    )
    landed = with_tributary(replace(catalog, versions=versions), replace(tributary, state="taking_over"))
    return taken_over(landed, frozenset())


def _renewed(version: Version, shadow: Version, tributary: Tributary) -> Version:
    return replace(
        version,
        canonical=shadow.canonical,
        plan=shadow.plan,
        evaluation=shadow.evaluation,
        tables=shadow.tables,
        stream=tributary.name,
        stopped_at=0,
        stopped_position=0,
        stopped_because="",
    )


def to_land(catalog: Catalog, deployment: Deployment) -> Tributary | None:
    """A tributary of the deployment whose overlays are to be laid before the deployment can be anything more."""
    own = (t for t in catalog.tributaries if t.generation == deployment.generation)
    return next((t for t in own if t.overlays and t.state == "catching_up"), None)


def is_laid(catalog: Catalog, deployment: Deployment) -> bool:
    """It was held up by its overlays alone, and they are laid."""
    own = [t for t in catalog.tributaries if t.overlays and t.generation == deployment.generation]
    return deployment.pending and bool(own) and all(t.state == "taking_over" for t in own)


def resumed(catalog: Catalog, deployment: Deployment, *, position: int, commit: int, now: int) -> Catalog:
    """What a resume or a repair was for goes on from this position; as a deployment it is over."""
    over = replace(
        deployment, state="dropped", reason=f"{deployment.kind} done", position=position, commit=commit, switched_at=now
    )
    return with_deployment(catalog, over)


def landing_tributary(catalog: Catalog) -> Tributary | None:
    """The tributary whose overlays are being laid."""
    return next((t for t in catalog.tributaries if t.state == "landing"), None)


class Laying:
    """How far one tributary's overlays are laid. Lost in a crash, without harm."""

    def __init__(self, tributary: Tributary) -> None:
        self._tributary = tributary.name
        self._left = list(tributary.overlays)
        self._begin()

    def _begin(self) -> None:
        self._key: str | None = ""  # the last row that was compared; None: all are
        self._missing = 0  # outputs of the shadow that the version is still to get
        self._offset = 0  # in the shadow's op log

    def portion(self, draft: Draft, rows: Rows, oplogs: OpLogs) -> bool:
        """Lay some more into the draft; True when all is laid, and the draft has the catalog that says so."""
        budget = ROWS_PER_DRAFT
        while self._left and budget > 0 and not draft.full:
            if self._key is not None:
                budget -= self._compare(self._left[0], self._key, draft, rows)
            elif self._missing:
                found = self._put(self._left[0], draft, rows, oplogs)
                if not found:
                    break
                budget -= found
            else:
                self._left.pop(0)
                self._begin()
        if self._left:
            return False
        tributary = draft.state.catalog.tributary(self._tributary)
        assert tributary is not None
        _finish(draft, tributary)
        return True

    def _compare(self, overlay: Overlay, key: str, draft: Draft, rows: Rows) -> int:
        """Go on with the rows of both: remove what the shadow lacks, count what it alone has."""
        live, shadow = (rows.beyond(number, key, PORTION) for number in (overlay.version, overlay.shadow))
        known = [found[-1][0] for found in (live, shadow) if len(found) == PORTION]  # behind it there may be more
        held, kept = dict(live), dict(shadow)
        keys = [k for k in sorted(held.keys() | kept.keys()) if not known or k <= min(known)]
        for each in keys:
            before, after = held.get(each, []), kept.get(each, [])
            if draft.changes.ops and len(draft.changes.ops) + len(before) > OPS_PER_TRANSACTION:
                return ROWS_PER_DRAFT  # the next commit goes on with it
            if [e[:4] for e in before] != [e[:4] for e in after]:
                draft.changes.thin((overlay.version, each), before, after, draft.state.main.position)
                self._missing += sum(e[:4] not in [b[:4] for b in before] for e in after)
            self._key = each
        if not known:
            self._key = None
        return max(1, len(keys))

    def _put(self, overlay: Overlay, draft: Draft, rows: Rows, oplogs: OpLogs) -> int:
        """Go on with the shadow's op log, which has the texts."""
        end = draft.state.versions[overlay.shadow].oplog_offset
        if self._offset >= end:
            raise Gap(f"{self._missing} rows of version {overlay.shadow} are not in its op log", where=self._tributary)
        found = oplogs.read(
            overlay.shadow, self._offset, end, min(PORTION, OPS_PER_TRANSACTION - len(draft.changes.ops))
        )
        if found:
            before = len(draft.changes.ops)
            _put_current(overlay, [op for _, op in found], draft, rows)
            self._missing -= len(draft.changes.ops) - before
            self._offset = found[-1][0]
        return len(found)


def _put_current(overlay: Overlay, ops: Sequence[Op], draft: Draft, rows: Rows) -> None:
    """Put what these ops of the shadow's log say, where they are still its rows' last outputs."""
    puts = [op for op in ops if op["op"] == "PUT"]
    shadows = rows.get_many([(overlay.shadow, op["subkey"]) for op in puts])
    current = [op for op, row in zip(puts, shadows, strict=True) if any(e[4] == op["op_id"] for e in row)]
    keys = list(dict.fromkeys((overlay.version, op["subkey"]) for op in current))
    before = dict(zip(keys, draft.changes.before(keys, rows), strict=True))
    for op in current:
        key = (overlay.version, op["subkey"])
        held = draft.changes.writes.get(key, before[key])
        draft.changes.overlay(key, held, op, draft.state.main.position)


def _finish(draft: Draft, tributary: Tributary) -> None:
    """The catalog in which all is laid; each version stands where its shadow stood."""
    counted = dict(draft.state.versions)
    for overlay in tributary.overlays:
        if overlay.version in counted:
            shadow = counted[overlay.shadow]
            counted[overlay.version] = replace(
                counted[overlay.version], position=shadow.position, rejected=shadow.rejected, excused=shadow.rejected
            )
    draft.state = replace(draft.state, versions=counted).with_catalog(laid(draft.state.catalog, tributary))
