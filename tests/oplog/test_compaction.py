"""Compaction against the recorded cases, and its law for every client (powersync.md 3.3, 3.4)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.oplog.compaction import compact, rewritten
from connector.oplog.fold import fold
from connector.oplog.ops import Op, put, remove, signed
from tests.builders import out
from tests.oplog.cases import compactions

Client = tuple[dict[tuple[str, str, str], str | None], int]


def reduce(ops: list[Op], client: Client = ({}, 0)) -> Client:
    """What a client makes of ops: rows and checksum (powersync.md 3.3)."""
    rows, checksum = dict(client[0]), client[1]
    for op in ops:
        identity = (op["object_type"], op["object_id"], op["subkey"])
        if op["op"] == "CLEAR":
            rows, checksum = {}, 0
        elif op["op"] == "PUT":
            rows[identity] = op["data"]
        elif op["op"] == "REMOVE":
            rows.pop(identity, None)
        checksum = (checksum + op["checksum"]) & 0xFFFFFFFF
    return rows, checksum


@pytest.mark.parametrize(("name", "before", "after", "limit"), compactions())
def test_recorded_cases(name: str, before: list[Op], after: list[dict[str, Any]], limit: int) -> None:
    held = rewritten(before, compact(before, limit))
    assert [(str(o["op_id"]), o["op"], o["checksum"] & 0xFFFFFFFF) for o in held] == [
        (o["op_id"], o["op"], o["checksum"] & 0xFFFFFFFF) for o in after
    ]


STEPS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["x", "y", None])), max_size=20)


def history(steps: list[tuple[int, str | None]]) -> list[Op]:
    """A bucket's ops as the merge writes them: no REMOVE of what is not there."""
    ops: list[Op] = []
    held: set[int] = set()
    for number, (row, text) in enumerate(steps, 1):
        identity = ("todos", f"r{row}", f"k{row}")
        if text is not None:
            ops.append(put(number, 1, "[]", identity, out("[]", f"r{row}", text).hash, text, row not in held, number))
            held.add(row)
        elif row in held:
            held.discard(row)
            ops.append(remove(number, 1, "[]", identity, number))
    return ops


@given(STEPS, st.integers(0, 20), st.integers(0, 20))
def test_no_client_notices(steps: list[tuple[int, str | None]], limit: int, seen: int) -> None:
    """A client at any earlier op goes on to the same rows and checksum as one who saw it all; so does a fresh one."""
    ops = history(steps)
    rewrites = compact(ops, limit)
    after = rewritten(ops, rewrites)
    early = reduce([op for op in ops if op["op_id"] <= seen])
    assert reduce([op for op in after if op["op_id"] > seen], early) == reduce(ops)
    assert reduce(after) == reduce(ops)
    assert rewritten(after, compact(after, limit)) == after
    assert all(op["op_id"] <= limit and op["target_op"] <= limit for op in rewrites)


@given(STEPS, st.integers(0, 20))
def test_the_fold_knows_compaction(steps: list[tuple[int, str | None]], limit: int) -> None:
    """Folding the log with its rewrites appended is folding what the bucket then holds."""
    ops = history(steps)
    rewrites = compact(ops, limit)
    appended, whole = fold([*ops, *rewrites]), fold(ops)
    if not ops:
        return
    bucket, original = appended.buckets[1, "[]"], whole.buckets[1, "[]"]
    assert bucket.rows == original.rows
    assert bucket.checksum == original.checksum == signed(reduce(ops)[1])
    assert bucket.count == len(rewritten(ops, rewrites))
