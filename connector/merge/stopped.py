"""A bad definition alone suffers: which versions a record stops, and the catalog in which they are (law 11, rule T2).

A stopped version is taken no further: its buckets stay as they were after its last good position, still exposed, and
all others go on without it. A pending one takes its deployment with it, and nothing else (law 10).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from connector.merge.catalog import MAIN, Catalog, Deployment, Version, taken_over
from connector.merge.endings import failed
from connector.merge.state import Evaluated, Merge, RejectedRow


@dataclass(frozen=True, slots=True)
class Patience:
    """How many rejected rows a version may have until it is exposed, and again from then on (0: any number), and the
    definitions that may have none."""

    stop_after: int = 0
    none_for: frozenset[str] = frozenset()


ENDLESS = Patience()
UNABLE = "this release cannot evaluate it as it was deployed: deploy the config again"


def stops(state: Merge, record: Evaluated, versions: frozenset[int], patience: Patience) -> dict[int, str]:
    """The versions that must not be taken any further than to the position before the record, and why."""
    hung, unable = frozenset(record.get("hung", ())), frozenset(record.get("unable", ()))
    if not record["rejected"] and not hung and not unable:
        return {}
    refused = Counter(row["version"] for row in record["rejected"])
    last = {row["version"]: row for row in record["rejected"]}
    found = {}
    for number in versions & (hung | unable | refused.keys()):
        version = state.catalog.version(number)
        if version is None or not (_can_stop(state, version, record) or _must_stop(version, hung, unable)):
            continue
        names = definitions_of(state.catalog, _original(state.catalog, number))
        counted = state.versions[number]
        total = counted.rejected - counted.excused + refused[number]
        if number in unable:
            found[number] = UNABLE
        elif number in hung:
            found[number] = f"its evaluation did not end at position {record['position']}"
        elif names & patience.none_for:
            found[number] = f"on_error is stop; {_told(last[number])}"
        elif 0 < patience.stop_after < total:
            found[number] = (
                f"{total:,} rows rejected, more than stop_after = {patience.stop_after:,}; {_told(last[number])}"
            )
    return found


def _told(row: RejectedRow) -> str:
    return f"{row['key']}: {row['reason']}"


def _can_stop(state: Merge, version: Version, record: Evaluated) -> bool:
    """Not for rejected rows of one that nobody sees: a retained one, or the copy of a verify. Nor one that is exposed
    once main has taken anything of that position: the rest of its definition would stop at another."""
    if version.state == "exposed":
        return record["position"] > state.main.position and MAIN not in state.cursors
    return version.state == "pending" or _original(state.catalog, version.version) != version.version


def _must_stop(version: Version, hung: frozenset[int], unable: frozenset[int]) -> bool:
    """It was asked for no row of the record at all: whoever brought a retained one back would bring back holes, and a
    verify that nobody can evaluate would find every row different."""
    unasked = hung | unable if version.state == "retained" else unable if version.state == "throwaway" else ()
    return version.version in unasked


def _original(catalog: Catalog, number: int) -> int:
    """The version that a shadow is evaluated for; else the version itself."""
    return next((o.version for t in catalog.tributaries for o in t.overlays if o.shadow == number), number)


def definitions_of(catalog: Catalog, number: int) -> frozenset[str]:
    """The definitions that have this version as a part, in the active deployment or one on its way there."""
    wanted = [one for one in catalog.deployments if one.pending or one.state == "active"]
    return frozenset(d.name for one in wanted for d in one.definitions if number in {p.version for p in d.parts})


def stopped(catalog: Catalog, reasons: Mapping[int, str], positions: Mapping[int, int], now: int) -> Catalog:
    """The catalog in which these versions are stopped, each with the rest of its definition.

    `positions`: up to where each version is taken. A tributary that delivers a stopped version is done with it.
    """
    for number, why in reasons.items():
        version = catalog.version(number)
        if version is not None and version.state in ("exposed", "retained"):
            catalog = _frozen(catalog, _with_the_rest(catalog, number), why, positions, now)
        else:
            for deployment in _needing(catalog, number):
                catalog = failed(catalog, deployment, f"version {number} would be stopped: {why}")
    return catalog


def _frozen(catalog: Catalog, numbers: Collection[int], why: str, positions: Mapping[int, int], now: int) -> Catalog:
    ended = frozenset(v.version for v in catalog.versions if v.version in numbers and not v.stopped_at)
    marked = tuple(
        replace(v, stopped_at=now, stopped_position=positions[v.version], stopped_because=why)
        if v.version in ended
        else v
        for v in catalog.versions
    )
    return taken_over(replace(catalog, versions=marked), ended)


def _with_the_rest(catalog: Catalog, number: int) -> frozenset[int]:
    """The version, and what only its own definitions have beside it: lookups and buckets stay of one position."""
    active = catalog.active.definitions if catalog.active is not None else ()
    own = {p.version for d in active for p in d.parts if number in {part.version for part in d.parts}}
    others = {p.version for d in active for p in d.parts if number not in {part.version for part in d.parts}}
    exposed = {v.version for v in catalog.exposed()}
    return frozenset((own - others) & exposed | {number})


def _needing(catalog: Catalog, number: int) -> list[Deployment]:
    """The deployments on their way that cannot be without this version."""
    generations = {t.generation for t in catalog.tributaries if number in t.versions}
    return [d for d in catalog.deployments if d.pending and (number in d.versions() or d.generation in generations)]
