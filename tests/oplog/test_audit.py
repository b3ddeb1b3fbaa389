"""An op log that cannot be right is found, whatever compaction has made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.cli.comparing import LISTED, Verified
from connector.cli.verify_text import as_json, lines
from connector.merge.compaction import rewrites_of
from connector.oplog.audit import history_faults
from connector.oplog.ops import Op, clear, move
from connector.store.history import History
from tests.oplog.test_compare import LIVE, REBUILT, Logs


def compacted(*rewrites: Op) -> Logs:
    """a was put twice; b put and removed; then c was put: ops 1 to 5."""
    logs = Logs()
    for text in ("old", "new"):
        logs.put(LIVE, "[]", "a", text)
    logs.put(LIVE, "[]", "b", "x")
    logs.remove(LIVE, "[]", "b")
    logs.put(LIVE, "[]", "c", "y")
    logs.put(REBUILT, "[]", "a", "new")
    logs.put(REBUILT, "[]", "c", "y")
    logs.ops[LIVE] += rewrites
    return logs


OPS = compacted().ops[LIVE]
SUM = sum(op["checksum"] for op in OPS[:4])


def found(logs: Logs, folder: Path) -> list[str]:
    verified = logs.verified(folder)
    assert verified.different == 0, "all rows are as the rebuild has them"
    assert verified.equal == (not verified.faulty)
    return [fault.what for fault in verified.faults]


def test_a_right_history_has_no_faults(tmp_path: Path) -> None:
    assert found(compacted(), tmp_path / "1") == []
    moves = (move(OPS[0], 2), move(OPS[2], 4))
    assert found(compacted(*moves), tmp_path / "2") == []
    assert found(compacted(*moves, clear(OPS[0], OPS[0]["checksum"], 2)), tmp_path / "3") == []


def test_a_clear_with_a_wrong_checksum_is_found(tmp_path: Path) -> None:
    (told,) = found(compacted(clear(OPS[0], 7, 2)), tmp_path)
    assert told.startswith("its ops come to checksum ")


def test_a_clear_that_hides_a_live_row_is_found(tmp_path: Path) -> None:
    logs = compacted(clear(OPS[3], SUM, 4))
    assert found(logs, tmp_path) == ["CLEAR hides a live row, of op 2"]
    verified = logs.verified(tmp_path / "again")
    assert [(f.bucket, f.op_id) for f in verified.faults] == [("1#d1[]", 4)]
    assert lines(verified, 1.0)[:3] == [
        "rows are equal: 1 parts, 1 buckets, 2 rows, 0 lookups at position 3",
        "damaged: 1 faults in op logs, which clients' checksums may not match; deploy without these definitions, "
        "`syncline gc`, and deploy them again",
        "  1#d1[] op 4: CLEAR hides a live row, of op 2",
    ]


def test_a_move_that_hides_a_live_row_or_has_another_checksum_is_found(tmp_path: Path) -> None:
    assert found(compacted(move(OPS[1], 5)), tmp_path / "1") == ["MOVE hides a live row, of op 2"]
    wrong: Any = {**move(OPS[0], 2), "checksum": 9}
    (told,) = found(compacted(wrong), tmp_path / "2")
    assert told.startswith("its ops come to checksum ")


def test_a_rewrite_of_no_op_is_found(tmp_path: Path) -> None:
    stray: Any = {**clear(OPS[0], OPS[0]["checksum"], 2), "op_id": 99}
    assert "CLEAR in the place of no op" in found(compacted(stray), tmp_path)


def test_a_wrong_checksum_of_a_row_that_is_gone_is_found(tmp_path: Path) -> None:
    """No live row shows it, and clients that have the whole history count it."""
    for index, told in ((0, "PUT with checksum 5, its hash's is "), (3, "REMOVE with checksum 5, its row's is ")):
        logs = compacted()
        logs.ops[LIVE][index] = {**logs.ops[LIVE][index], "checksum": 5}
        (what,) = found(logs, tmp_path / str(index))
        assert what.startswith(told)


def test_op_ids_must_rise(tmp_path: Path) -> None:
    logs = compacted()
    logs.ops[LIVE][2] = {**logs.ops[LIVE][2], "op_id": 2}
    assert found(logs, tmp_path) == ["PUT comes after op 2"]


def test_the_list_of_faults_is_bounded_and_the_count_exact(tmp_path: Path) -> None:
    logs = Logs()
    for number in range(LISTED + 20):
        for version in (LIVE, REBUILT):
            logs.put(version, "[]", f"k{number}", "a")
            logs.ops[version][-1] = {**logs.ops[version][-1], "checksum": 5}
    verified = logs.verified(tmp_path)
    told = as_json(verified, 1.0)
    assert (told["equal"], told["faulty"], len(verified.faults)) == (False, LISTED + 20, LISTED)
    assert f"  and {LISTED} more (--json lists {LISTED})" in lines(verified, 1.0)


CHANGES = st.lists(
    st.tuples(st.sampled_from(["[1]", "[12]"]), st.sampled_from("abc"), st.sampled_from(["x", "y", None])), max_size=20
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(CHANGES, st.integers(0, 20), st.integers(0, 20))
def test_our_own_compaction_is_right_whatever_was_written(
    tmp_path_factory: Any, changes: Any, first: int, second: int
) -> None:
    """Also compacted twice, with further ops between."""
    logs = Logs()
    for number, (bucket, name, text) in enumerate(changes):
        if text is not None:
            logs.put(LIVE, bucket, name, text)
        elif any(op["object_id"] == name and op["bucket"] == bucket for op in logs.ops[LIVE][-3:]):
            logs.remove(LIVE, bucket, name)
        if number in (first, second):
            whole = logs.ops[LIVE]
            whole += list(rewrites_of(list(whole), max((op["op_id"] for op in whole), default=0)))
    verified: Verified = logs.verified(tmp_path_factory.mktemp("verified"))
    assert verified.faults == []


def test_entries_of_one_bucket_stand_together_by_op_id(tmp_path: Path) -> None:
    history = History(tmp_path / "history")
    logs = compacted(move(OPS[0], 2))
    other: list[Op] = [{**op, "bucket": "[1]"} for op in OPS]
    history.add((op, op["op_id"] == 5) for op in [*reversed(logs.ops[LIVE]), *other])
    entries = list(history.entries())
    assert [(e.bucket, e.op_id, e.kind) for e in entries[:6]] == [
        ("[1]", n, kind) for n, kind in enumerate(("PUT", "PUT", "PUT", "REMOVE", "PUT"), 1)
    ] + [("[]", 1, "PUT")]
    assert (entries[6].kind, entries[-1].live) == ("MOVE", True)
    assert list(history_faults(entries)) == []
    history.close()
