"""What a deploy keeps, builds and drops: the wanted parts against the deployed ones. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from connector.definitions.model import Part, SyncConfig
from connector.deploy.reasons import first_difference


@dataclass(frozen=True, slots=True)
class Deployed:
    """One part as the catalog has it: its version, and the texts that equality is decided by."""

    version: int
    kind: str
    definition: str
    label: str
    canonical: str
    evaluation: str


@dataclass(frozen=True, slots=True)
class PartChange:
    """What happens to one part. `version` is the deployed one, None for a new part.

    A reevaluated part has the same text under other `config:` options, or another level of evaluation: it is replayed
    into the same buckets, and clients download only rows that come out otherwise (rule D6). An adopted part is one that
    a pending deploy replays already: its replay goes on (rule D2). A restored part is a retained version that comes
    back: nothing is replayed, clients download its buckets again.

    `reason`: for an unchanged part "equal" or how it was called before, for a removed one "removed" or what replaces
    it, for a new one "added" or what differs, as two lines (old, new).
    """

    part: Part | Deployed
    kind: Literal["unchanged", "reevaluated", "adopted", "restored", "new", "removed"]
    version: int | None
    reason: str


def diff(
    active: Sequence[Deployed],
    wanted: SyncConfig,
    *,
    pending: Sequence[Deployed] = (),
    retained: Sequence[Deployed] = (),
) -> tuple[PartChange, ...]:
    """The wanted parts in their order, then the removed ones by version; `pending` are those of deploys on their way,
    `retained` those of earlier deployments.

    A part is unchanged where kind, canonical text and evaluation are equal texts, whatever it is called: that is a
    rename. Each deployed version is used at most once, by the part of the same name and label if there is one.
    """
    parts = _parts(wanted)
    current = [one for one in active if one.evaluation == wanted.evaluation]
    kept = _match(current, dict(enumerate(parts)))
    anew = _match([one for one in active if one not in current], _others(parts, kept))
    adopted = _match([one for one in pending if one.evaluation == wanted.evaluation], _others(parts, kept, anew))
    before = [one for one in retained if one.evaluation == wanted.evaluation]
    back = _match(before, _others(parts, kept, anew, adopted))
    used = {deployed.version for deployed in (*kept.values(), *anew.values())}
    removed = sorted((one for one in active if one.version not in used), key=lambda one: one.version)
    changes = []
    for index, part in enumerate(parts):
        if index in kept:
            changes.append(PartChange(part, "unchanged", kept[index].version, _kept_reason(part, kept[index])))
        elif index in anew:
            reason = f"old: evaluation {anew[index].evaluation}\nnew: evaluation {wanted.evaluation}"
            changes.append(PartChange(part, "reevaluated", anew[index].version, reason))
        elif index in adopted:
            changes.append(PartChange(part, "adopted", adopted[index].version, "the pending deploy replays it already"))
        elif index in back:
            changes.append(PartChange(part, "restored", back[index].version, "kept since an earlier deployment"))
        else:
            old = _predecessor(removed, part)
            changes.append(PartChange(part, "new", None, _new_reason(old, part)))
    added = {
        (part.definition, part.label) for index, part in enumerate(parts) if index not in kept.keys() | anew.keys()
    }
    changes += [
        PartChange(one, "removed", one.version, "replaced" if (one.definition, one.label) in added else "removed")
        for one in removed
    ]
    return tuple(changes)


def _parts(wanted: SyncConfig) -> list[Part]:
    """Each part once: definitions may share one, which then carries the name of the first."""
    unique = {(part.kind, part.definition, part.label): part for one in wanted.definitions for part in one.parts}
    return list(unique.values())


def _others(parts: Sequence[Part], *matched: Mapping[int, Deployed]) -> dict[int, Part]:
    return {i: part for i, part in enumerate(parts) if not any(i in found for found in matched)}


def _match(active: Sequence[Deployed], parts: Mapping[int, Part]) -> dict[int, Deployed]:
    """Per index of a wanted part the deployed one whose text it equals."""
    free: dict[tuple[str, str], list[Deployed]] = defaultdict(list)
    for one in sorted(active, key=lambda one: one.version):
        free[one.kind, one.canonical].append(one)
    kept: dict[int, Deployed] = {}
    for same in (_same_name_and_label, _same_name, _any_name):
        for index, part in parts.items():
            candidates = free[part.kind, part.canonical]
            found = next((one for one in candidates if same(part, one)), None)
            if index not in kept and found is not None:
                kept[index] = found
                candidates.remove(found)
    return kept


def _same_name_and_label(part: Part, one: Deployed) -> bool:
    return (part.definition, part.label) == (one.definition, one.label)


def _same_name(part: Part, one: Deployed) -> bool:
    return part.definition == one.definition


def _any_name(part: Part, one: Deployed) -> bool:
    return True


def _predecessor(removed: Sequence[Deployed], part: Part) -> Deployed | None:
    """The removed part that a new one replaces: of its definition and label, or the only one of its kind there."""
    related = [one for one in removed if (one.definition, one.kind) == (part.definition, part.kind)]
    named = next((one for one in related if one.label == part.label), None)
    return named or (related[0] if len(related) == 1 else None)


def _kept_reason(part: Part, old: Deployed) -> str:
    return "equal" if part.definition == old.definition else f'renamed from "{old.definition}"'


def _new_reason(old: Deployed | None, part: Part) -> str:
    if old is None:
        return "added"
    was, now = first_difference(json.loads(old.canonical), json.loads(part.canonical))
    return f"old: {was}\nnew: {now}"
