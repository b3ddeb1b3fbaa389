"""Two op logs of one part compared by their live rows, in memory that does not grow with them (law 9)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.cli.comparing import LISTED, Verified, compare_part
from connector.cli.verify_text import as_json, lines
from connector.merge.catalog import Comparison
from connector.oplog.compare import pairs, row_key, row_of
from connector.oplog.fold import fold
from connector.oplog.ops import Op, clear, move, put, remove
from connector.store.folded import FoldedRows
from tests.builders import out, source_key, version

LIVE, REBUILT = 1, 7


class Logs:
    """Op logs in lists; same interface as topologies.oplogs.OpLogReader."""

    def __init__(self) -> None:
        self.ops: dict[int, list[Op]] = {LIVE: [], REBUILT: []}

    def put(self, number: int, bucket: str, name: str, text: str) -> None:
        o, at = out(bucket, name, text), len(self.ops[number]) + 1
        self.ops[number].append(put(at, number, bucket, (o.type, o.id, source_key(name)), o.hash, o.data, True, 1))

    def remove(self, number: int, bucket: str, name: str) -> None:
        at = len(self.ops[number]) + 1
        self.ops[number].append(remove(at, number, bucket, ("todos", name, source_key(name)), 1))

    def until(self, number: int, end: int) -> Iterator[tuple[int, Op]]:
        yield from list(enumerate(self.ops[number]))[:end]

    def at(self, number: int, place: int) -> Op | None:
        return self.ops[number][place]

    def verified(self, folder: Path, kind: str = "bucket") -> Verified:
        both = Comparison(REBUILT, len(self.ops[REBUILT]), LIVE, len(self.ops[LIVE]))
        found = Verified(3)
        compare_part(found, self, both, version(LIVE, kind=kind), folder, lambda: None)  # type: ignore[arg-type]
        return found


def test_equal_rows_by_another_history_are_equal(tmp_path: Path) -> None:
    logs = Logs()
    for text in ("old", "new"):
        logs.put(LIVE, "[]", "a", text)
    logs.put(LIVE, "[]", "gone", "x")
    logs.remove(LIVE, "[]", "gone")
    old = logs.ops[LIVE][0]
    logs.ops[LIVE] += [move(old, 2), clear(old, old["checksum"], 2)]
    logs.put(REBUILT, "[]", "a", "new")
    found = logs.verified(tmp_path)
    assert (found.different, found.parts, found.buckets, found.rows) == (0, 1, 1, 1)
    assert lines(found, 1.0)[0].startswith("equal: 1 parts, 1 buckets, 1 rows, 0 lookups at position 3")


def test_a_difference_names_bucket_row_and_both_values(tmp_path: Path) -> None:
    logs = Logs()
    logs.put(LIVE, "[1]", "a", "live text")
    logs.put(REBUILT, "[1]", "a", "rebuilt text")
    logs.put(LIVE, "[1]", "b", "too many")
    logs.put(REBUILT, "[2]", "c", "missing")
    found = logs.verified(tmp_path)
    told = [(d.bucket, d.object_id, d.live_data, d.rebuilt_data) for d in found.found]
    assert told == [
        ("1#d1[1]", "a", "live text", "rebuilt text"),
        ("1#d1[1]", "b", "too many", None),
        ("1#d1[2]", "c", None, "missing"),
    ]
    assert found.found[1].live is not None
    assert (found.found[1].rebuilt, found.different) == (None, 3)
    assert "    live     live text" in lines(found, 1.0)
    assert "    rebuilt  absent" in lines(found, 1.0)


def test_lookups_are_compared_too(tmp_path: Path) -> None:
    logs = Logs()
    for number, outputs in ((LIVE, '[{"u":1}]'), (REBUILT, '[{"u":2}]')):
        logs.put(number, '["x"]', "a", outputs)
    found = logs.verified(tmp_path, kind="index")
    assert (found.different, found.lookups, found.rows) == (1, 1, 0)


@pytest.mark.parametrize("field", ["data", "checksum"])
def test_a_text_or_checksum_that_is_not_its_hashs_differs(tmp_path: Path, field: str) -> None:
    logs = Logs()
    for number in (LIVE, REBUILT):
        logs.put(number, "[]", "a", "text")
    torn: Any = {"data": "torn", "checksum": 1}
    logs.ops[LIVE][0] = {**logs.ops[LIVE][0], field: torn[field]}  # type: ignore[misc]
    assert logs.verified(tmp_path).different == 1


def test_the_list_is_bounded_and_the_count_exact(tmp_path: Path) -> None:
    logs = Logs()
    for n in range(LISTED + 50):
        logs.put(LIVE, "[]", f"k{n}", "a")
    found = logs.verified(tmp_path)
    assert len(found.found) == LISTED
    told = as_json(replace(found, stopped=("d9",)), 1.0)
    assert (told["different"], told["stopped"], told["equal"]) == (LISTED + 50, ["d9"], False)
    assert f"  and {LISTED + 30} more (--json lists {LISTED})" in lines(found, 1.0)


NAMES = st.text(alphabet='a"\\ !é\n', max_size=3)
CHANGES = st.lists(st.tuples(NAMES, NAMES, st.one_of(st.none(), st.sampled_from(["a", "b"]))), max_size=12)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(CHANGES, CHANGES)
def test_pairs_are_the_difference_of_two_folds(tmp_path_factory: Any, one: Any, other: Any) -> None:
    """Whatever the names are made of: both sides are sorted by the very keys that are compared."""
    logs = Logs()
    for number, changes in ((LIVE, one), (REBUILT, other)):
        for bucket, name, text in changes:
            if text is None:
                logs.remove(number, bucket, name)
            else:
                logs.put(number, bucket, name, text)
    folded = FoldedRows(tmp_path_factory.mktemp("folded") / "rows")
    for number, ops in logs.ops.items():
        folded.apply(number, enumerate(ops))
    found = {row_of(p.key): p.equal for p in pairs(folded.rows(LIVE), folded.rows(REBUILT))}
    folded.close()
    sides = []
    for number in (LIVE, REBUILT):
        buckets = fold(logs.ops[number]).of_version(number)
        sides.append({(b, *row): digest for b, bucket in buckets.items() for row, digest in bucket.rows.items()})
    live, rebuilt = sides
    assert found == {row: live.get(row) == rebuilt.get(row) for row in live.keys() | rebuilt.keys()}


def test_the_rows_of_a_bucket_stand_together() -> None:
    """So that buckets can be counted as they come."""
    names = ["a", "a!", "a b", 'a"', "a\\", "b"]
    keys = sorted(row_key({"bucket": b, "object_type": t, "object_id": "", "subkey": ""}) for b in names for t in names)  # type: ignore[typeddict-item]
    buckets = [row_of(key)[0] for key in keys]
    assert len([b for b, before in zip(buckets, [None, *buckets], strict=False) if b != before]) == len(names)
