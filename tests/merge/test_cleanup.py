"""What may be deleted (rule D7)."""

from __future__ import annotations

from tests.builders import catalog, tributary, version
from topologies.cleanup import superfluous_groups, superfluous_topics
from topologies.follow import has_begun, has_ended

KNOWN = catalog(version(3), tributaries=(tributary(2, [3]),), next_generation=6, next_version=8)


def test_only_topics_of_what_the_catalog_does_not_know() -> None:
    names = [
        "a.oplog.3",
        "a.oplog.4",
        "a.oplog.x",
        "a.evaluated.main",
        "a.evaluated.t1",
        "a.evaluated.t2",
        "a.stream.t1-__assignor-__leader",
        "a.stream.t2-__assignor-__leader",
        "a.evaluated.t3r",
        "a.stream.main-__assignor-__leader",
        "a.b.oplog.4",
        "b.oplog.4",
        "a.changes",
    ]
    assert superfluous_topics("a", KNOWN, names) == [
        "a.evaluated.t1",
        "a.evaluated.t3r",
        "a.oplog.4",
        "a.stream.t1-__assignor-__leader",
    ]


def test_only_groups_of_tributaries_that_have_ended() -> None:
    names = ["a.stream.main", "a.stream.t1", "a.stream.t2", "a.stream.t3r", "a.stream.t1x", "b.stream.t1", "a.assigned"]
    assert superfluous_groups("a", KNOWN, names) == ["a.stream.t1", "a.stream.t3r"]


def test_a_merge_that_was_held_up_deletes_nothing_that_came_since() -> None:
    """Another has its place (law 8): version 8, t6, and t2 that started over are not in the catalog it knows."""
    names = ["a.oplog.8", "a.evaluated.t6", "a.evaluated.t2r", "a.stream.t6-__assignor-__leader"]
    assert superfluous_topics("a", KNOWN, names) == []
    assert superfluous_groups("a", KNOWN, ["a.stream.t6", "a.stream.t2r"]) == []


def test_a_queued_tributary_has_not_begun() -> None:
    """It has no S0 yet: a replay that began would leave rows out (rule T5)."""
    known = catalog(version(3), tributaries=(tributary(2, [3], state="queued"), tributary(4, [3])))
    assert [name for name in ("main", "t2", "t4", "t5") if has_begun(known, name)] == ["main", "t4"]
    assert [name for name in ("main", "t2", "t4", "t5") if has_ended(known, name)] == ["t5"]
