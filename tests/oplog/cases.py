"""The recorded op-log cases (oplog_cases.jsonl of the reference), as far as they are about compaction and checksums.

Law 4 differs on purpose: here an update that changes no output writes no PUT; so the cases are entered below the
evaluation, with the ops they recorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.oplog.ops import Op

FILE = Path(__file__).parent.parent / "cases" / "oplog_cases.jsonl"


def cases() -> list[dict[str, Any]]:
    return [json.loads(line) for line in FILE.read_text().splitlines()]


def recorded_ops() -> Iterator[dict[str, Any]]:
    """Every op recorded anywhere."""
    for case in cases():
        for step in case["steps"]:
            for bucket in step.get("buckets", {}).values():
                yield from bucket["ops"]


def compactions() -> list[Any]:
    """(id, ops before, ops after, checkpoint) of each recorded compaction of a bucket seen just before it."""
    return [pytest.param(*found, id=f"{found[0]} {i}") for i, found in enumerate(_compactions())]


def _compactions() -> Iterator[tuple[str, list[Op], list[dict[str, Any]], int]]:
    for case in cases():
        before: dict[str, list[Op]] = {}
        checkpoint, compacted = 0, False
        for step in case["steps"]:
            if step["event"] == "commit":
                checkpoint = int(step.get("checkpoint_op") or checkpoint)
            elif step["event"] == "compact":
                compacted = not step.get("options", {}).get("maxOpId")
            elif step["event"] == "state":
                for name, bucket in step["buckets"].items():
                    if compacted and name in before:
                        yield case["id"], before[name], bucket["ops"], checkpoint
                    before[name] = [recorded_op(name, op) for op in bucket["ops"]]
                compacted = False
            else:
                before = {}  # more was written since the last state
                compacted = False


def recorded_op(bucket: str, op: dict[str, Any]) -> Op:
    """An op as the case files write it, of version 1."""
    return {
        "op_id": int(op["op_id"]),
        "op": op["op"],
        "version": 1,
        "bucket": bucket,
        "object_type": op.get("object_type", ""),
        "object_id": op.get("object_id", ""),
        "subkey": op.get("subkey", ""),
        "checksum": op["checksum"],
        "hash": b"",
        "data": op.get("data"),
        "added": False,
        "target_op": 0,
        "position": 0,
    }
