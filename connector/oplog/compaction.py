"""Compaction: a bucket's history shrinks, and no client notices (powersync.md 3.3, 3.4).

Required of it: the final state is equal, and a client that had reduced the bucket up to any earlier op and then
downloads the rest gets the same state and checksum.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from connector.oplog.ops import Op, clear, move

SHORTEST_RUN = 2  # ops that a CLEAR is worth


def compact(ops: Sequence[Op], limit: int) -> list[Op]:
    """The MOVEs and CLEARs to write for one bucket's ops, which are given by rising op id.

    Only ops at or below `limit`, the last checkpoint's, are touched or make another superfluous (rule M4). Applying
    them and compacting again gives none.
    """
    reached = [op for op in ops if op["op_id"] <= limit]
    moved = _moved(reached)
    history = [moved.get(op["op_id"], op) for op in reached]
    run = _leading_run(history)
    if len(run) < SHORTEST_RUN:
        return list(moved.values())
    cleared = clear(run[-1], sum(op["checksum"] for op in run), _newest_target(run))
    return [*(op for op in moved.values() if op["op_id"] > cleared["op_id"]), cleared]


def rewritten(ops: Iterable[Op], rewrites: Iterable[Op]) -> list[Op]:
    """The ops that a bucket holds once MOVEs and CLEARs have taken their places."""
    held = {op["op_id"]: op for op in ops}
    for rewrite in rewrites:
        if rewrite["op"] == "CLEAR":
            held = {op_id: op for op_id, op in held.items() if op_id > rewrite["op_id"]}
        held[rewrite["op_id"]] = rewrite
    return [held[op_id] for op_id in sorted(held)]


def _moved(ops: Sequence[Op]) -> dict[int, Op]:
    """A MOVE for each op whose row has a newer one, by rising op id."""
    newest: dict[tuple[str, str, str], int] = {}
    moved: dict[int, Op] = {}
    for op in reversed(ops):
        if op["op"] not in ("PUT", "REMOVE"):
            continue
        identity = (op["object_type"], op["object_id"], op["subkey"])
        target = newest.setdefault(identity, op["op_id"])
        if target != op["op_id"]:
            moved[op["op_id"]] = move(op, target)
    return dict(reversed(moved.items()))


def _leading_run(ops: Sequence[Op]) -> list[Op]:
    for index, op in enumerate(ops):
        if op["op"] == "PUT":
            return list(ops[:index])
    return list(ops)


def _newest_target(run: Sequence[Op]) -> int:
    return max(op["target_op"] for op in run)
