"""Row events, commits and compactions: what a client ends up with, checksums, what compaction leaves.

Not compared: which ops an unchanged row gives, and their numbers. Law 4 differs there on purpose (no op without a
change), so the recorded ops stand for ours: reduced, they must be the rows of a fresh evaluation.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from connector.oplog.compaction import compact, rewritten
from connector.oplog.ops import Op, put_checksum, remove_checksum, signed
from connector.values import Row
from tests.conformance.cases import Case
from tests.conformance.encoding import row
from tests.conformance.world import World
from tests.oplog.cases import recorded_op

Rows = dict[tuple[str, str], Row]  # by table and key
State = dict[str, list[Op]]


def compare(case: Case) -> tuple[Any, Any]:
    """Expected and got, per state that is recorded."""
    world = World(case["definition_yaml"], "public")
    expected, got = [], []
    rows: Rows = {}
    before: State = {}
    checkpoint, compacted = 0, False
    for step in case["steps"]:
        if step["event"] == "commit":
            checkpoint = int(step.get("checkpoint_op") or checkpoint)
        elif step["event"] == "compact":
            compacted = not step["options"].get("maxOpId")
        elif step["event"] == "state":
            after = {name: [recorded_op(name, op) for op in bucket["ops"]] for name, bucket in step["buckets"].items()}
            expected.append(_recorded(step, after, before if compacted else {}))
            got.append(_ours(world, rows, after, before if compacted else {}, checkpoint))
            before, compacted = after, False
        else:
            _apply(rows, step, case["replica_identity"].get(step["table"], ["id"]), world)
            before, compacted = {}, False
    return expected, got


def _recorded(step: dict[str, Any], after: State, before: State) -> dict[str, Any]:
    buckets = step["buckets"]
    return {
        "rows": {name: _reduced(ops) for name, ops in after.items()},
        "checksums": {name: [op["checksum"] for op in ops] for name, ops in after.items()},
        "sums": {name: (bucket["checksum"], bucket["count"]) for name, bucket in buckets.items()},
        "compacted": {name: _brief(after[name]) for name in before if name in after},
    }


def _ours(world: World, rows: Rows, after: State, before: State, checkpoint: int) -> dict[str, Any]:
    held: dict[str, list[Any]] = {name: [] for name in after}
    for (table, _), content in rows.items():
        for part, output in world.outputs("bucket", world.table(table), content):
            assert not isinstance(output, str), output
            held.setdefault(part.label + output.bucket, []).append((output.type, output.id, output.data))
    return {
        "rows": {name: sorted(held[name]) for name in after},
        "checksums": {name: [_checksum(op) for op in ops] for name, ops in after.items()},
        "sums": {name: (signed(sum(op["checksum"] for op in ops)), len(ops)) for name, ops in after.items()},
        "compacted": {
            name: _brief(rewritten(ops, compact(ops, checkpoint))) for name, ops in before.items() if name in after
        },
    }


def _reduced(ops: list[Op]) -> list[Any]:
    """The rows that a client has after these ops (powersync.md 3.3)."""
    rows: dict[Any, Any] = {}
    for op in ops:
        identity = (op["object_type"], op["object_id"], op["subkey"])
        if op["op"] == "CLEAR":
            rows = {}
        elif op["op"] == "PUT":
            rows[identity] = (op["object_type"], op["object_id"], op["data"])
        elif op["op"] == "REMOVE":
            rows.pop(identity, None)
    return sorted(rows.values())


def _brief(ops: list[Op]) -> list[Any]:
    return [(op["op_id"], op["op"], op["checksum"] & 0xFFFFFFFF) for op in ops]


def _checksum(op: Op) -> int:
    """Of a PUT and a REMOVE from what they say; a MOVE and a CLEAR carry that of others."""
    if op["op"] == "PUT":
        text = f"put.{op['object_type']}.{op['object_id']}.{op['data']}"
        return put_checksum(sha256(text.encode()).digest())
    return remove_checksum(op["subkey"]) if op["op"] == "REMOVE" else op["checksum"]


def _apply(rows: Rows, step: dict[str, Any], identity: list[str], world: World) -> None:
    table = step["table"]
    if step["event"] in ("truncate", "drop"):
        for key in [key for key in rows if key[0] == table]:
            del rows[key]
    if "before_key" in step:
        rows.pop((table, _key(step["before_key"], identity)), None)
    if "after" in step:
        rows[table, _key(step["after"], identity)] = row(step["after"], world.options)


def _key(columns: dict[str, Any], identity: list[str]) -> str:
    return repr([columns.get(name) for name in identity])
