"""What `deploy` and `status` show of a deployment on its way, and afterwards."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios
from dataclasses import replace
from typing import Any

import pytest

from connector.cli.outcome_text import outcome_lines
from connector.cli.progress_text import Screen, progress_lines
from connector.cli.status import lines, summary
from connector.deploy.outcome import outcome
from connector.deploy.progress import progress
from connector.deploy.rates import Rate
from connector.deploy.status import status
from connector.merge.catalog import Catalog, Comparison, DeployedDefinition, DeployedPart, Overlay, ReplayEnd
from tests.builders import TODOS, catalog, deployment, tributary, version
from tests.cli.test_plan import NOTES, SIZES, plan
from tests.definitions.test_diff import LISTS
from tests.definitions.test_diff import TODOS as MINE


def on_its_way(**changes: Any) -> Catalog:
    """Generation 2 replays versions 2 and 3 by t2: 100 records of one table, 300 of the other."""
    fields: dict[str, Any] = {
        "bounded": True,
        "bounded_at": 10_000,
        "ends": (ReplayEnd(TODOS, 0, 100), ReplayEnd("public.notes", 0, 300)),
    }
    return catalog(
        version(1),
        version(2, state="pending", stream="t2"),
        replace(version(3, state="pending", stream="t2"), tables=("public.notes",)),
        deployments=(deployment(1, [1]), deployment(2, [1, 2, 3], state="replaying")),
        tributaries=(replace(tributary(2, [2, 3]), **fields | changes),),
    )


def commit(taken: dict[str, int], **fields: Any) -> dict[str, Any]:
    partitions = [{"table": t, "partition": 0, "taken": n, "done": False, "rows": n} for t, n in taken.items()]
    streams = [{"stream": "main", "position": 9}, {"stream": "t2", "position": 4, "partitions": partitions}]
    return {"written_at": 12_000, "streams": streams, "versions": [], "waits": []} | fields


def shown(known: Catalog, record: dict[str, Any] | None) -> dict[str, Any]:
    return progress(known.deployments[1], known, record)


def test_each_part_has_its_own_rows_and_all_of_it_rate_and_time_left() -> None:
    seen = shown(on_its_way(), commit({TODOS: 100, "public.notes": 100}))
    assert [(p["version"], p["rows"], p["of"]) for p in seen["parts"]] == [(2, 100, 100), (3, 100, 300)]
    replay = seen["replay"]
    assert (replay["rows"], replay["of"], replay["rows_per_second"], replay["seconds_left"]) == (200, 400, 100, 2.0)
    told = progress_lines(seen)
    assert " ".join(told[0].split()) == "replaying ██████████ 200 of 400 rows 50 % 100 rows/s 2.0 s left"
    assert " ".join(told[1].split()) == "d2 bucket replaying 100 of 100 rows"
    assert " ".join(told[2].split()) == "d3 bucket replaying 100 of 300 rows 50 rows/s 2.0 s left"


def test_the_time_left_of_a_part_counts_what_is_read_before_it() -> None:
    """Its table has not had its turn: it has no rate of its own yet."""
    first, second = shown(on_its_way(), commit({TODOS: 50, "public.notes": 0}))["parts"]
    assert (first["rows_per_second"], first["seconds_left"]) == (25, 2.0)
    assert (second["rows_per_second"], second["seconds_left"]) == (None, 14.0)


def overlaid(kind: str, **changes: Any) -> Catalog:
    """t2 evaluates version 1 anew, as version 4."""
    known = on_its_way(versions=(2, 3, 4), overlays=(Overlay(4, 1),))
    fields: dict[str, Any] = {"kind": kind, "state": "replaying"}
    return replace(
        known,
        versions=(*known.versions, version(4, state="throwaway", stream="t2", definition="d1")),
        deployments=(known.deployments[0], deployment(2, [], **fields | changes)),
    )


def test_a_part_that_is_evaluated_anew_is_shown_by_its_version() -> None:
    """A change of `config:` alone has no other."""
    known = overlaid("deploy", definitions=deployment(2, [1, 2, 3]).definitions)
    parts = shown(known, commit({TODOS: 40, "public.notes": 0}))["parts"]
    assert [(p["definition"], p["version"], p["rows"], p["of"]) for p in parts] == [
        ("d1", 1, 40, 100),
        ("d2", 2, 40, 100),
        ("d3", 3, 0, 300),
    ]


@pytest.mark.parametrize("kind", ["verify", "resume", "repair"])
def test_what_is_no_deploy_shows_its_parts_too(kind: str) -> None:
    parts = shown(overlaid(kind), commit({TODOS: 40, "public.notes": 0}))["parts"]
    assert [(p["definition"], p["version"]) for p in parts] == [("d2", 2), ("d3", 3), ("d1", 1)]


def test_a_verify_shows_the_versions_that_it_compares_with() -> None:
    known = overlaid("verify", comparisons=(Comparison(4, 0, 1, 0),))
    known = replace(known, tributaries=(replace(known.tributaries[0], overlays=(), versions=(4,)),))
    (part,) = shown(known, commit({TODOS: 40, "public.notes": 0}))["parts"]
    assert (part["definition"], part["version"], part["rows"]) == ("d1", 1, 40)


def test_nothing_is_said_that_is_not_known_yet() -> None:
    begun = on_its_way(bounded=False, bounded_at=0, ends=())
    for record in (None, commit({})):
        replay = shown(begun, record)["replay"]
        assert (replay["rows"], replay["of"], replay["rows_per_second"], replay["seconds_left"]) == (
            0,
            None,
            None,
            None,
        )
        assert progress_lines(shown(begun, record))[0].split() == ["replaying", "starting"]


def test_after_the_replay_positions_and_reasons_count() -> None:
    known = on_its_way(head=7, state="catching_up", replayed_at=11_000)
    waits = [{"generation": 2, "reason": f"{TODOS} is not complete"}, {"generation": 1, "reason": "another's"}]
    seen = shown(known, commit({TODOS: 100, "public.notes": 300}, waits=waits))
    assert progress_lines(seen)[0].split() == ["replaying", "at", "position", "4,", "to", "reach", "7"]
    assert progress_lines(seen)[-1] == f"  waits: {TODOS} is not complete"


def test_status_shows_it_and_has_it_on_one_line() -> None:
    record = commit({TODOS: 50, "public.notes": 0}, waits=[{"generation": 2, "reason": "t2 is replaying"}])
    seen = status(endpoint="", now_ms=0, head=None, progress=None, commit=record, checkpoint=None, catalog=on_its_way())
    assert any("50 of 400 rows" in line for line in lines(seen))
    assert "\n" not in summary(seen)
    assert summary(seen).endswith("waits: t2 is replaying")


@pytest.mark.parametrize("kind", ["verify", "resume", "repair"])
def test_status_shows_what_else_is_on_its_way(kind: str) -> None:
    """It keeps others from beginning, and can be cancelled."""
    own = deployment(2, [], kind=kind, state="replaying")
    known = replace(on_its_way(), deployments=(deployment(1, [1]), own))
    record = commit({TODOS: 50, "public.notes": 0}, waits=[{"generation": 2, "reason": "t2 is replaying"}])
    seen = status(endpoint="", now_ms=0, head=None, progress=None, commit=record, checkpoint=None, catalog=known)
    assert (seen["pending"]["kind"], seen["pending"]["waits"]) == (kind, ["t2 is replaying"])
    assert next(iter(lines(seen))).endswith(f"generation 1 active, pending {kind}, generation 2 replaying")
    assert f"{kind}, generation 2 replaying" in summary(seen)


def test_status_shows_that_a_verify_is_being_compared() -> None:
    own = deployment(2, [], kind="verify", state="aligned")
    known = replace(on_its_way(head=3, state="aligned"), deployments=(deployment(1, [1]), own))
    seen = status(endpoint="", now_ms=0, head=None, progress=None, commit=None, checkpoint=None, catalog=known)
    assert seen["pending"]["waits"] == ["the command that asked for it compares"]


def test_status_shows_how_far_a_huge_transaction_is() -> None:
    """Rule M6."""
    state = {"tables": {}, "order": {"open": [77, 300_000], "events": 1_000_000}}
    seen = status(
        endpoint="", now_ms=0, head=None, progress={"state": state}, commit=None, checkpoint=None, catalog=Catalog()
    )
    assert seen["source"]["transaction"] == {"row": 300_000, "of": 1_000_000}
    assert "transaction  row 300,000 of 1,000,000 is in the change log" in list(lines(seen))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_drawn_over_and_a_file_gets_a_line_now_and_then() -> None:
    terminal, file = Terminal(), io.StringIO()
    for out in (terminal, file):
        screen = Screen(out)
        screen.draw(["one", "  part", "  waits: a table"])
        screen.draw(["two"])
    first, second = terminal.getvalue().split("\x1b[3F")
    assert first == "\x1b[?7lone\x1b[K\n  part\x1b[K\n  waits: a table\x1b[K\n\x1b[?7h\x1b[J"
    assert second == "\x1b[?7ltwo\x1b[K\n\x1b[?7h\x1b[J"
    assert file.getvalue().startswith("one; waits: a table\n")


def test_a_file_gets_a_summary_once_that_says_itself_what_is_waited_for() -> None:
    file = io.StringIO()
    Screen(file).draw(["replaying; waits: a table"])
    assert file.getvalue() == "replaying; waits: a table\n"


def test_what_a_terminal_has_no_room_for_is_not_drawn() -> None:
    """It would scroll away, and be drawn once more each second."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 4, 20, 0, 0))
    with os.fdopen(theirs, "w") as terminal:
        Screen(terminal).draw([f"line {number}" for number in range(9)])
        drawn = os.read(ours, 1000).decode()
    os.close(ours)
    assert [line.split("\x1b[K")[0] for line in drawn.splitlines()][:3] == [
        "\x1b[?7lline 0",
        "line 1",
        "… and 7 more lines",
    ]
    assert drawn.count("\n") == 3


@pytest.mark.parametrize(
    ("ops", "changed", "moved", "told"),
    [
        (0, 0, 0, "0"),
        (7, 7, 3, "0 by the deploy, 7 by 3 batches of changes that came meanwhile"),
        (7, 5, 3, "2 by the deploy, 5 by 3 batches of changes that came meanwhile"),
    ],
)
def test_the_outcome_stands_beside_the_estimate(ops: int, changed: int, moved: int, told: str) -> None:
    before = {"lists": LISTS, "mine": MINE}
    made = plan(before, {**before, "lists": NOTES}, rate=Rate(2000.0, 4.0))
    names = {"lists": (("bucket", "lists", 9),), "mine": (("bucket", "mine", 2), ("index", "mine#1", 3))}
    definitions = tuple(
        DeployedDefinition(name, 3, "[]", tuple(DeployedPart(*part, "") for part in parts))
        for name, parts in names.items()
    )
    fields = {"requested_at": 1000, "switched_at": 9000, "replayed_rows": 5800, "replay_ms": 2000}
    done = outcome(
        made,
        deployment(2, [], definitions=definitions, **fields),
        before=counted({2: 10, 3: 5}, 5),
        after=counted({2: 10 + ops, 3: 5, 9: 5800}, 5 + moved, {2: changed, 9: 20}),
        replays=[{"partitions": [{"table": table, "rows": size.rows - 100} for table, size in SIZES.items()]}],
        seconds=8.5,
    )
    lines = list(outcome_lines(made, done))
    assert " ".join(lines[1].split()) == "lists lists changed 1 → 9 6,000 rows 5,800 rows 1 2 5,800"
    assert lines[2].split() == ["mine", "mine", "unchanged", "2", "1", "2", str(ops)]
    sums = {line[:14].strip(): line[14:].split() for line in lines[4:] if line}
    assert sums["rows replayed"] == ["6,000", "5,800"]
    assert sums["rows/s"] == ["2,000", "2,900"]
    assert sums["active after"] == ["7.0", "s", "8.0", "s"]
    assert lines[-1] == f"ops on unchanged parts: {told}"


def counted(ops: dict[int, int], position: int, changed: dict[int, int] | None = None) -> dict[str, Any]:
    versions = [
        {"version": number, "buckets": 1, "rows": 2, "ops": count, "changed_ops": (changed or {}).get(number, 0)}
        for number, count in ops.items()
    ]
    return {"versions": versions, "streams": [{"stream": "main", "position": position}]}
