"""All cases of some files: each compared, none skipped, what a case's config is made of shared among its cases."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from tests.conformance import evaluation, oplog, reprocess, sources
from tests.conformance.cases import NUMBERING, Case, alternatives, tagged
from tests.conformance.evaluation import Sides
from tests.conformance.naming import Renaming, best, renamings
from tests.conformance.world import World


class Outcome(NamedTuple):
    """One case's comparison; `got` is a traceback where it could not be made."""

    id: str
    passed: bool
    expected: Any
    got: Any


def run(cases: Iterable[Case]) -> list[Outcome]:
    """The outcome of each case, in their order."""
    listed = list(cases)
    groups: dict[Any, list[int]] = {}
    for at, case in enumerate(listed):
        groups.setdefault(_group(case, at), []).append(at)
    outcomes: dict[int, Outcome] = {}
    for members in groups.values():
        outcomes.update(zip(members, _outcomes([listed[at] for at in members]), strict=True))
    return [outcomes[at] for at in range(len(listed))]


def _group(case: Case, at: int) -> Any:
    """Cases of one config are compared under one renaming."""
    return (case["definition_yaml"], case["default_schema"]) if "definition_yaml" in case and _renamed(case) else at


def _renamed(case: Case) -> bool:
    return tagged(case, NUMBERING) or case["kind"] == "visibility"  # which is independent of bucket names


_WHOLE: dict[str, Callable[[Case], tuple[Any, Any]]] = {
    "reprocess": reprocess.compare,
    "source_value": sources.compare,
    "oplog": oplog.compare,
}


def _outcomes(cases: list[Case]) -> Iterator[Outcome]:
    kind = cases[0]["kind"]
    if kind in _WHOLE or kind == "unknown":
        yield from map(_whole, cases)
        return
    compared = [_compared(case) for case in cases]
    buckets, lookups = _renamings(cases, compared)
    for case, one in zip(cases, compared, strict=True):
        yield one if isinstance(one, Outcome) else one.outcome(case["id"], buckets, lookups)


def _whole(case: Case) -> Outcome:
    try:
        if case["kind"] not in _WHOLE:
            return Outcome(str(case.get("id")), False, "a kind of case that is known", case)
        expected, got = _WHOLE[case["kind"]](case)
    except Exception:
        return Outcome(case["id"], False, case.get("expected"), traceback.format_exc())
    return Outcome(case["id"], expected == got, expected, got)


@dataclass(frozen=True)
class _Compared:
    """The pairs of expected and got, one of which has to agree."""

    pairs: list[tuple[Sides, Sides]]

    def agrees(self, side: str, renaming: Renaming) -> bool:
        plain = Renaming()
        return any(plain(getattr(expected, side)) == renaming(getattr(got, side)) for expected, got in self.pairs)

    def outcome(self, name: str, buckets: Renaming, lookups: Renaming) -> Outcome:
        plain = Renaming()
        told = [
            ((plain(expected.buckets), plain(expected.lookups)), (buckets(got.buckets), lookups(got.lookups)))
            for expected, got in self.pairs
        ]
        passed = next(((expected, got) for expected, got in told if expected == got), None)
        expected, got = passed or told[-1]
        return Outcome(name, passed is not None, expected, got)


def _compared(case: Case) -> _Compared | Outcome:
    try:
        world = _world(case)
        return _Compared(
            [(evaluation.expected(case, each), evaluation.got(case, each, world)) for each in alternatives(case)]
        )
    except Exception:
        return Outcome(case["id"], False, case["expected"], traceback.format_exc())


def _world(case: Case) -> World:
    if "source_schema" in case:
        return World(case["definition_yaml"], case["default_schema"], case["source_schema"])
    return _shared_world(case["definition_yaml"], case["default_schema"])


@lru_cache(maxsize=64)
def _shared_world(text: str, default_schema: str) -> World:
    return World(text, default_schema)


def _renamings(cases: list[Case], compared: list[_Compared | Outcome]) -> tuple[Renaming, Renaming]:
    """The renaming of buckets and the one of lookups under which the fewest cases fail; none where none is allowed."""
    pairs = [one for one in compared if isinstance(one, _Compared)]
    if not pairs or not _renamed(cases[0]):
        return Renaming(), Renaming()
    world = _world(cases[0])
    if world.checked.config is None:
        return Renaming(), Renaming()
    candidates = renamings(world.bucket_sizes(), world.lookup_sizes())
    found = [
        best(each, lambda renaming, side=side: sum(not one.agrees(side, renaming) for one in pairs))  # type: ignore[misc]
        for side, each in zip(("buckets", "lookups"), candidates, strict=True)
    ]
    return found[0], found[1]
