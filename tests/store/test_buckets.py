"""The bucket store: one checkpoint at a time, whole (rules V1, V2)."""

from __future__ import annotations

import resource
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from connector.errors import Unavailable
from connector.oplog.fold import fold
from connector.oplog.ops import Op, clear, move, put, remove
from connector.position import op_id
from connector.store import rocks
from connector.store.buckets import KEY, LOOKUPS, BucketStore, Changed, Exposed, View
from tests.builders import out, source_key

KINDS = {1: "bucket", 2: "index"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BucketStore]:
    made = BucketStore(tmp_path / "buckets")
    yield made
    made.close()


@pytest.fixture
def impatient_threads() -> Iterator[None]:
    """Readers come between any two steps of the writer."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def put_of(commit: int, index: int, name: str, text: str, *, bucket: str = "[]", added: bool = True) -> Op:
    o = out(bucket, name, text)
    identity = ("todos", name, source_key(name))
    return put(op_id(commit, index), 1, bucket, identity, o.hash, text, added, commit)


def ops(view: View, bucket: str, *, version: int = 1, beyond: int = 0) -> list[dict[str, Any]]:
    """All of a bucket's ops that the view shows, as clients read them."""
    return [orjson.loads(text) for text in view.portion(version, bucket, beyond=beyond, count=100, size=10_000).texts]


def exposed(commit: int, *versions: int) -> Exposed:
    return Exposed("log", commit, commit, dict.fromkeys(versions or (1,), commit))


def test_ops_show_only_once_their_checkpoint_is_exposed(store: BucketStore) -> None:
    store.add([put_of(1, 0, "a", "x")], KINDS)
    assert ops(store.view(), "[]") == []
    store.expose(exposed(1))
    store.add([put_of(2, 0, "b", "y")], KINDS)
    view = store.view()
    assert [o["object_id"] for o in ops(view, "[]")] == ["a"]
    assert view.sums(1, "[]").rows == 1


def test_a_view_stays_at_its_checkpoint(store: BucketStore) -> None:
    store.add([put_of(1, 0, "a", "x")], KINDS)
    store.expose(exposed(1))
    view = store.view()
    store.add([put_of(2, 0, "b", "y")], KINDS)
    store.expose(exposed(2))
    assert [o["object_id"] for o in ops(view, "[]")] == ["a"]
    assert view.sums(1, "[]").ops == 1
    assert [o["object_id"] for o in ops(store.view(), "[]", beyond=op_id(1, 0))] == ["b"]


def test_sums_are_those_of_the_fold(store: BucketStore) -> None:
    written = [put_of(1, 0, "a", "x"), put_of(1, 1, "b", "y"), put_of(2, 0, "a", "z", added=False)]
    written.append(remove(op_id(2, 1), 1, "[]", ("todos", "b", source_key("b")), 2))
    store.add(written, KINDS)
    store.expose(exposed(2))
    bucket = fold(written).buckets[1, "[]"]
    assert store.view().sums(1, "[]") == (bucket.checksum, bucket.count, len(bucket.rows), bucket.last_op)


def test_a_restart_before_the_checkpoint_adds_again_and_counts_once(tmp_path: Path) -> None:
    first = BucketStore(tmp_path / "buckets")
    first.add([put_of(1, 0, "a", "x")], KINDS)
    first.close()
    again = BucketStore(tmp_path / "buckets")
    assert again.exposed == Exposed()
    again.add([put_of(1, 0, "a", "x"), put_of(1, 1, "b", "y")], KINDS)
    again.expose(exposed(1))
    assert again.view().sums(1, "[]")[1:3] == (2, 2)
    again.close()


def test_compaction_is_applied_with_the_checkpoint(store: BucketStore) -> None:
    written = [put_of(1, 0, "a", "x"), put_of(1, 1, "b", "x"), put_of(2, 0, "a", "y", added=False)]
    store.add(written, KINDS)
    store.expose(exposed(2))
    before = store.view().sums(1, "[]")
    cleared = clear(written[0], written[0]["checksum"], written[2]["op_id"])
    store.add([move(written[0], written[2]["op_id"]), cleared], KINDS)
    assert [o["op"] for o in ops(store.view(), "[]")] == ["PUT", "PUT", "PUT"]
    store.expose(exposed(3))
    assert [o["op"] for o in ops(store.view(), "[]")] == ["CLEAR", "PUT", "PUT"]
    assert store.view().sums(1, "[]") == before


def test_several_clears_of_a_bucket_in_one_checkpoint(tmp_path: Path) -> None:
    """A node that fills an empty store gets them all at once."""
    written = [put_of(n, 0, "a", str(n), added=n == 1) for n in range(1, 8)]
    clears = [clear(written[n], 5, written[n + 1]["op_id"]) for n in (2, 3, 5)]
    at_once, one_by_one = BucketStore(tmp_path / "one"), BucketStore(tmp_path / "other")
    at_once.add([*written, *clears], KINDS)
    at_once.expose(exposed(11))
    for number, op in enumerate([*written, *clears], 1):
        one_by_one.add([op], KINDS)
        one_by_one.expose(exposed(number))
    one_by_one.expose(exposed(11))
    views = at_once.view(), one_by_one.view()
    assert [o["op"] for o in ops(views[0], "[]")] == ["CLEAR", "PUT"]
    assert ops(views[0], "[]") == ops(views[1], "[]")
    assert [view.sums(1, "[]").ops for view in views] == [2, 2]
    del views
    at_once.close()
    one_by_one.close()


def test_what_a_row_gave_before_is_forgotten(store: BucketStore) -> None:
    """A lookup that changes all the time stays as quick as it was; who looks at the past still sees it."""
    for commit in range(1, 100):
        store.add([{**put_of(commit, 0, "a", f"[{commit}]", bucket='["u1"]'), "version": 2}], KINDS)
        store.expose(exposed(commit, 1, 2))
        if commit == 50:
            past = store.view()
    assert list(past.lookup(2, '["u1"]')) == ["[50]"]
    now = store.view()
    assert list(now.lookup(2, '["u1"]')) == ["[99]"]
    assert len(list(now._cursor.items(KEY.pack(LOOKUPS, 2), KEY.pack(LOOKUPS, 3)))) == 1


def test_lookups_give_each_rows_newest_outputs(store: BucketStore) -> None:
    def outputs(commit: int, name: str, text: str) -> Op:
        return {**put_of(commit, 0, name, text, bucket='["u1"]'), "version": 2}

    gone = remove(op_id(3, 0), 2, '["u1"]', ("", "", source_key("b")), 3)
    store.add([outputs(1, "a", "[1]"), outputs(1, "b", "[2]"), outputs(2, "a", "[3]"), gone], KINDS)
    store.expose(exposed(2, 1, 2))
    assert list(store.view().lookup(2, '["u1"]')) == ["[3]", "[2]"]
    store.expose(exposed(3, 1, 2))
    assert list(store.view().lookup(2, '["u1"]')) == ["[3]"]
    assert list(store.view().lookup(2, '["u"]')) == []


def test_a_dropped_version_goes_whole(store: BucketStore) -> None:
    store.add([put_of(1, 0, "a", "x")], KINDS)
    store.expose(exposed(1, 1, 2))
    store.expose(exposed(2, 2))
    assert list(store.view().buckets(1)) == []
    assert ops(store.view(), "[]") == []


def test_readers_during_writes_see_whole_checkpoints(store: BucketStore, impatient_threads: None) -> None:
    """Rule V1: two buckets that change in the same transaction are never seen apart."""
    torn: list[object] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            view = store.view()
            one, other = (view.sums(1, b).ops for b in ("[1]", "[2]"))
            found = [len(view.portion(1, b, beyond=0, count=10_000, size=10**7).texts) for b in ("[1]", "[2]")]
            if not one == other == found[0] == found[1] == view.exposed.commit:
                torn.append((one, other, found, view.exposed.commit))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for commit in range(1, 1200):
        store.add([put_of(commit, 0, "a", str(commit), bucket="[1]", added=commit == 1)], KINDS)
        store.add([put_of(commit, 1, "a", str(commit), bucket="[2]", added=commit == 1)], KINDS)
        store.expose(exposed(commit))
    ended.set()
    for reader in readers:
        reader.join()
    assert torn == []


def test_a_version_that_was_never_exposed_leaves_nothing(tmp_path: Path) -> None:
    """It may go before any checkpoint shows it, or while the node is down."""
    store = BucketStore(tmp_path / "buckets")
    store.add([put_of(1, 0, "a", "x")], KINDS)
    store.expose(exposed(1))
    store.add([{**put_of(2, 0, "b", "y"), "version": 3}], {3: "bucket"})
    store.expose(exposed(2))
    assert ops(store.view(), "[]", version=3) == []
    store.add([{**put_of(3, 0, "b", "y"), "version": 4}], {4: "bucket"})
    store.close()
    again = BucketStore(tmp_path / "buckets")
    again.expose(exposed(3, 1, 4))
    assert ops(again.view(), "[]", version=4) == []
    assert [o["object_id"] for o in ops(again.view(), "[]")] == ["a"]
    again.close()


def test_a_portion_is_bounded_and_says_whether_there_is_more(store: BucketStore) -> None:
    store.add([put_of(1, number, str(number), "x" * 100) for number in range(10)], KINDS)
    store.expose(exposed(1))
    view = store.view()
    first = view.portion(1, "[]", beyond=0, count=4, size=10_000)
    assert (len(first.texts), first.last, first.more) == (4, op_id(1, 3), True)
    rest = view.portion(1, "[]", beyond=first.last, count=6, size=10_000)
    assert (len(rest.texts), rest.last, rest.more) == (6, op_id(1, 9), False)
    assert view.portion(1, "[]", beyond=rest.last, count=6, size=10_000) == ([], rest.last, False)
    assert len(view.portion(1, "[]", beyond=0, count=10, size=1).texts) == 1


def test_a_checkpoint_says_what_it_changed(store: BucketStore) -> None:
    store.add([put_of(1, 0, "a", "x", bucket="[1]"), put_of(1, 1, "b", "x", bucket="[2]")], KINDS)
    store.add([{**put_of(1, 2, "a", "[1]", bucket='["u1"]'), "version": 2}], KINDS)
    assert store.expose(exposed(1, 1, 2)) == Changed(frozenset({(1, "[1]"), (1, "[2]")}), frozenset({(2, '["u1"]')}))
    store.add([put_of(2, 0, "a", "y", bucket="[1]", added=False)], KINDS)
    assert store.expose(exposed(2, 1, 2)) == Changed(frozenset({(1, "[1]")}), frozenset())


def test_a_damaged_store_is_seen_by_whoever_reads_it_and_made_anew(tmp_path: Path) -> None:
    """What cannot be read is not the same as what is not there."""
    folder = tmp_path / "damaged"
    store = BucketStore(folder)
    ops = [put_of(1, index, f"i{index}", "x" * 300) for index in range(5_000)]
    store.add(ops, KINDS)
    store.expose(Exposed("log", 1, 1, {1: 1}))
    store.close()
    (table,) = [file for file in folder.glob("*.sst") if file.stat().st_size > 50_000]
    content = bytearray(table.read_bytes())
    content[len(content) // 3] ^= 0xFF
    table.write_bytes(content)
    opened = BucketStore(folder)
    view = opened.view()
    with pytest.raises(Unavailable, match="damaged"):
        view.portion(1, "[]", beyond=0, count=10_000, size=10**9)
    with pytest.raises(Unavailable, match="damaged"):
        opened.check()
    opened.close()
    again = BucketStore(folder)
    again.check()
    assert again.exposed == Exposed()
    again.close()


def test_a_machine_that_has_no_room_costs_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = BucketStore(tmp_path / "buckets")
    store.expose(Exposed("log", 1, 1, {1: 1}))
    store.close()

    def full(*_: object) -> None:
        raise Exception("IO error: No space left on device: While appending to file")

    with monkeypatch.context() as patched:
        patched.setattr(rocks, "Rdict", full)
        with pytest.raises(Unavailable, match="No space left"):
            BucketStore(tmp_path / "buckets")
    again = BucketStore(tmp_path / "buckets")
    assert again.exposed.commit == 1
    again.close()


def test_a_file_that_may_not_grow_costs_no_store(tmp_path: Path) -> None:
    store = BucketStore(tmp_path / "buckets")
    store.expose(Exposed("log", 1, 1, {1: 1}))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(Unavailable, match="File too large"):
            store.add([put_of(2, n, f"{n}", "x" * 1000) for n in range(1000)], KINDS)
        with pytest.raises(Unavailable, match="File too large"):
            store.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    again = BucketStore(tmp_path / "buckets")
    assert again.exposed.commit == 1
    again.close()
