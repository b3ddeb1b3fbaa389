"""Ops, their checksums, and the fold (powersync.md 3.1)."""

from __future__ import annotations

from hashlib import sha256

from connector.oplog.fold import fold
from connector.oplog.ops import bucket_name, put, put_checksum, remove, remove_checksum, signed
from tests.builders import out, source_key
from tests.oplog.cases import cases, recorded_ops


def test_checksums_are_the_recorded_ones() -> None:
    seen = set()
    for op in recorded_ops():
        seen.add(op["op"])
        if op["op"] == "PUT":
            text = f"put.{op['object_type']}.{op['object_id']}.{op['data']}"
            assert put_checksum(sha256(text.encode()).digest()[:16]) == op["checksum"]
        elif op["op"] == "REMOVE":
            assert remove_checksum(op["subkey"]) == op["checksum"]
    assert {"PUT", "REMOVE", "CLEAR"} <= seen


def test_bucket_checksums_are_the_recorded_ones() -> None:
    for case in cases():
        for step in case["steps"]:
            for bucket in step.get("buckets", {}).values():
                assert signed(sum(op["checksum"] for op in bucket["ops"])) == bucket["checksum"]


def test_a_bucket_name() -> None:
    assert bucket_name(7, "by_user", '["u1"]') == '7#by_user["u1"]'


def test_the_fold_of_puts_and_removes() -> None:
    a, b = out("[1]", "a", "x"), out("[1]", "b", "y")
    identities = [("todos", n, source_key(n)) for n in "ab"]
    ops = [
        put(10, 1, "[1]", identities[0], a.hash, a.data, True, 1),
        put(11, 1, "[1]", identities[1], b.hash, b.data, True, 1),
        put(12, 2, "[1]", identities[1], b.hash, b.data, True, 1),
        remove(13, 1, "[1]", identities[0], 2),
    ]
    folded = fold(ops)
    bucket = folded.of_version(1)["[1]"]
    assert bucket.rows == {identities[1]: b.hash}
    assert (bucket.count, bucket.last_op) == (3, 13)
    assert bucket.checksum == signed(sum(op["checksum"] for op in ops if op["version"] == 1))


def test_an_emptied_bucket_is_not_listed() -> None:
    a = out("[1]", "a", "x")
    identity = ("todos", "a", source_key("a"))
    folded = fold([put(10, 1, "[1]", identity, a.hash, a.data, True, 1), remove(11, 1, "[1]", identity, 2)])
    assert folded.of_version(1) == {}
    assert folded.buckets[1, "[1]"].count == 2


def test_rows_of_one_type_and_id_from_two_sources_coexist() -> None:
    """Rule V5."""
    a = out("[1]", "a", "x")
    ops = [
        put(10 + i, 1, "[1]", ("todos", "a", source_key("a", table)), a.hash, a.data, True, 1)
        for i, table in enumerate(["public.todos", "public.old_todos"])
    ]
    assert len(fold(ops).of_version(1)["[1]"].rows) == 2
