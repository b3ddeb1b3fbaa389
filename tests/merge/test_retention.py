"""How much of the change log stays, and what is let go where it is too long (rule M5)."""

from __future__ import annotations

from dataclasses import replace

from connector.merge.draft import Draft
from connector.merge.endings import expired
from connector.merge.retention import OUTGROWN, Answered, needed_from, relieved
from connector.merge.state import Merge, Stream
from tests.builders import catalog, deployment, tributary, version
from tests.merge.test_requests import ONE, OTHER, active, ask, deploy

PENDING = catalog(
    version(1),
    version(2, state="pending", stream="t2"),
    deployments=(deployment(1, [1]), deployment(2, [1, 2], state="replaying")),
    tributaries=(tributary(2, [2], start=10, start_offset=20),),
    next_generation=3,
    next_version=3,
)


def standing(known: object = PENDING, *, main: int = 90, other: int | None = None) -> Merge:
    """Main, and where `other` says so t2, with the offsets of the change log that they need next."""
    merge = Merge(streams={"main": Stream("main", position=50, change_offset=main)}).with_catalog(known)  # type: ignore[arg-type]
    return merge if other is None else merge.with_stream(replace(merge.streams["t2"], change_offset=other))


def test_the_change_log_is_needed_from_the_slowest_stream_on() -> None:
    """The last batch taken stays, so that whoever asks for the head of the log finds one."""
    assert needed_from(standing(catalog(version(1)))) == 89
    assert needed_from(standing(other=60)) == 59
    assert needed_from(standing(main=40, other=60)) == 39
    assert needed_from(Merge()) == 0


def test_requests_stay_for_an_hour_after_their_answers() -> None:
    """A command that waits reads its answer from among them."""
    answered = Answered(0.0, 7).seen(9, 3599.0)
    assert answered.long_since == 0
    answered = answered.seen(12, 3600.0)
    assert answered.long_since == 7
    assert answered.seen(90, 7000.0).long_since == 7
    assert answered.seen(90, 7200.0).long_since == 12


def test_a_tributary_that_has_not_begun_needs_it_from_its_start_on() -> None:
    assert needed_from(standing()) == 19


def test_a_queued_and_an_aligned_tributary_need_nothing() -> None:
    for state in ("queued", "aligned"):
        waiting = replace(PENDING, tributaries=(replace(PENDING.tributaries[0], state=state),))  # type: ignore[arg-type]
        assert needed_from(standing(waiting)) == 89


def test_versions_that_are_only_kept_go_first() -> None:
    kept = replace(
        PENDING,
        versions=(PENDING.versions[0], replace(PENDING.versions[1], state="retained", dropped_at=9_000_000)),
        deployments=(deployment(2, [2], state="retained"), deployment(3, [1])),
        tributaries=(replace(PENDING.tributaries[0], state="taking_over"),),
    )
    after = relieved(standing(kept, other=30))
    assert [v.version for v in after.versions] == [1]
    assert after.tributaries == ()
    assert [(d.state, d.reason) for d in after.deployments] == [("dropped", OUTGROWN), ("active", "")]
    assert relieved(standing(kept, main=20, other=30)) is kept, "main is the slowest: nothing is won"


def test_then_a_pending_replay_starts_over_and_fails_the_second_time() -> None:
    draft = Draft(standing(other=30))
    draft.relieve()
    assert draft.changed
    assert [(t.name, t.versions, t.state) for t in draft.state.catalog.tributaries] == [("t2r", (3,), "queued")]
    assert needed_from(draft.state) == 89
    again = replace(draft.state.catalog.tributaries[0], state="replaying", start_offset=40)
    ended = relieved(standing(replace(draft.state.catalog, tributaries=(again,))))
    assert [(d.state, d.reason) for d in ended.deployments][1] == ("failed", f"for the second time {OUTGROWN}")


def test_a_replay_that_is_as_far_as_main_goes_on() -> None:
    """It may not pass main (rule M4), so where main is slow both stand at one place, and a new start wins nothing."""
    level = standing(main=30, other=30)
    assert relieved(level) is level.catalog


def test_nothing_calls_a_landing_off() -> None:
    """Another tributary of the same deployment would begin again from nothing, and be exposed so at the switch."""
    both = (tributary(2, [2], state="catching_up", start_offset=20), tributary(3, [], state="landing", start_offset=90))
    landing = standing(replace(PENDING, tributaries=both), other=30)
    assert relieved(landing) is landing.catalog


def test_gc_drops_what_is_only_kept_but_nothing_that_comes_back() -> None:
    kept = active(OTHER, active(ONE))
    decision = ask(kept, "gc")
    assert (decision.outcome, [v.version for v in decision.catalog.versions]) == ("accepted", [2])
    assert [(d.state, d.reason) for d in decision.catalog.deployments] == [
        ("dropped", "collected on request"),
        ("active", ""),
    ]
    assert ask(decision.catalog, "gc").outcome == "unchanged"
    coming_back = deploy(kept, ONE).catalog
    assert ask(coming_back, "gc").outcome == "unchanged"


def test_what_is_kept_goes_at_its_date_with_its_rewinds() -> None:
    known = replace(
        PENDING,
        versions=(PENDING.versions[0], replace(PENDING.versions[1], state="retained", dropped_at=5)),
        deployments=(deployment(1, [1]),),
        tributaries=(replace(PENDING.tributaries[0], state="taking_over"),),
        rewinds={"main": 1, "t2": 1},
    )
    assert expired(known, 4) is known
    assert expired(known, 5).rewinds == {"main": 1}
