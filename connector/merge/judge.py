"""Whether a stream's next record is taken: dense positions, contiguous replay, the hold-back (rules M1, M4, T3, T6)."""

from __future__ import annotations

from enum import Enum

from connector.merge.catalog import MAIN, Tributary, Version, shadows_of
from connector.merge.state import Evaluated, Merge, ReplayRange, is_landing


class Verdict(Enum):
    TAKE = "take"
    HOLD = "hold"  # its turn comes later
    LOOK = "look"  # its turn comes after main's, which waits to know whether it stops a version
    DROP = "drop"  # taken already
    REFUSE = "refuse"  # an answer that the catalog does not ask for; the true one is still to come
    JUMP = "jump"  # a hole lies before it: the stream must rewind


def judge(state: Merge, stream: str, record: Evaluated) -> Verdict:
    """The verdict on the record that comes next in the stream's evaluated topic."""
    if record["stream"] != stream:
        return Verdict.REFUSE
    if stream == MAIN:
        return _judge_main(state, record)
    tributary = state.catalog.tributary(stream)
    if tributary is None or tributary.state in ("aligned", "landing"):
        return Verdict.HOLD
    if record["replay"] is not None:
        return _judge_replay(state, tributary, record, record["replay"])
    return _judge_tributary(state, tributary, record)


def answering(state: Merge, stream: str, record: Evaluated) -> frozenset[int]:
    """The versions for which the record is the next one, by the evaluation that the catalog says (rule T3).

    A record of main also answers for versions that a tributary delivers after its switch: that is their
    take-over (rule D5). One that is only kept may lag (rule M6) and catch up while main's record is being taken: what
    has been passed of the record was not taken for it, so that it waits for the next one. Nor does main answer for a
    version that its release cannot evaluate, where a tributary's can.
    """
    shadows = shadows_of(state.catalog, stream)
    begun = stream in state.cursors
    given = {shadows.get(e["version"], e["version"]): e["evaluation"] for e in record["versions"]}
    unable = frozenset(record.get("unable", ())) if stream == MAIN else frozenset()
    replay = record["replay"] is not None
    return frozenset(
        v.version
        for v in state.catalog.versions
        if given.get(v.version) == v.evaluation
        and not v.stopped_at
        and (v.version not in unable or (v.stream == MAIN and not begun))
        and (v.stream == stream or (stream == MAIN and awaits_takeover(v) and not (begun and v.state == "retained")))
        and (replay or state.versions[v.version].position == record["position"] - 1)
    )


def awaits_takeover(version: Version) -> bool:
    """Switched, and still delivered by its tributary."""
    return version.stream != MAIN and version.state in ("exposed", "retained")


def _judge_main(state: Merge, record: Evaluated) -> Verdict:
    taken = state.main.position
    if is_landing(state.catalog):
        return Verdict.HOLD
    if record["position"] <= taken:
        return Verdict.DROP
    if record["position"] > taken + 1:
        return Verdict.JUMP
    if _behind(state):
        return Verdict.HOLD  # what is exposed is taken in step (rule M2)
    answered = answering(state, MAIN, record)
    if not answered.issuperset(v.version for v in state.catalog.advancing() if v.stream == MAIN):
        return Verdict.REFUSE
    return Verdict.HOLD if held_by(state, record) else Verdict.TAKE


def held_by(state: Merge, record: Evaluated) -> frozenset[str]:
    """The tributaries for which main's next record waits: they deliver what is exposed and main has not taken over."""
    behind = _behind(state)
    if behind or MAIN in state.cursors:
        return behind
    answered = answering(state, MAIN, record)
    awaited = {v.stream for v in state.catalog.advancing() if v.version not in answered}
    return frozenset(stream for stream in awaited if state.looked.get(stream, 0) <= state.main.position)


def _behind(state: Merge) -> frozenset[str]:
    advancing = (v for v in state.catalog.advancing() if v.stream != MAIN)
    return frozenset(v.stream for v in advancing if state.versions[v.version].position < state.main.position)


def _judge_replay(state: Merge, tributary: Tributary, record: Evaluated, scan: ReplayRange) -> Verdict:
    replayed = state.streams[tributary.name].partitions.get((scan["table"], scan["partition"]))
    if replayed is None:
        return Verdict.REFUSE
    if replayed.done or scan["start"] < replayed.taken:
        return Verdict.DROP
    if scan["start"] > replayed.taken:
        return Verdict.JUMP
    return Verdict.TAKE if answering(state, tributary.name, record) >= _own(state, tributary) else Verdict.REFUSE


def _judge_tributary(state: Merge, tributary: Tributary, record: Evaluated) -> Verdict:
    stream = state.streams[tributary.name]
    if record["position"] <= stream.position:
        return Verdict.DROP
    if record["position"] > stream.position + 1 or not scanned(state, tributary):
        return Verdict.JUMP
    ahead = record["position"] - state.main.position
    if ahead > 1 or (ahead == 1 and not _to_look(state, tributary, record)):
        return Verdict.HOLD  # nothing beyond main, exposed or not (rule M4)
    if not answering(state, tributary.name, record) >= _own(state, tributary):
        return Verdict.REFUSE
    return Verdict.LOOK if ahead == 1 else Verdict.TAKE


def _to_look(state: Merge, tributary: Tributary, record: Evaluated) -> bool:
    """What is exposed is stopped before a record, and all of a definition at one position: so main takes none before
    the tributaries' records of that position are known, and are looked at where all stand level (rule T2).

    Nothing is stopped inside a record of main, which is taken in portions, nor beside an overlay that lands: main's
    record, once begun, waits for no look.
    """
    return (
        tributary.state == "taking_over"
        and MAIN not in state.cursors
        and not is_landing(state.catalog)
        and state.looked.get(tributary.name, 0) < record["position"]
        and all(state.versions[v.version].position == state.main.position for v in state.catalog.advancing())
    )


def scanned(state: Merge, tributary: Tributary) -> bool:
    """Every replay record of the tributary is taken (rule T6)."""
    return tributary.bounded and all(r.done for r in state.streams[tributary.name].partitions.values())


def _own(state: Merge, tributary: Tributary) -> frozenset[int]:
    return frozenset(v.version for v in state.catalog.versions if v.stream == tributary.name)
