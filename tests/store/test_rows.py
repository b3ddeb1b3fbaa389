"""The row state on RocksDB: the same answers as a dict, and a function of the op logs (rule M3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.merge.rows import Changes
from connector.store.rows import Applied, RowState
from tests.builders import TODOS, out, source_key
from tests.merge.desk import DictRows


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[RowState]:
    made = RowState(tmp_path / "rows")
    yield made
    made.close()


ENTRY = ["[1]", "todos", "k1", "00", 7]


def test_what_was_written_is_read_after_a_new_start(tmp_path: Path) -> None:
    first = RowState(tmp_path / "rows")
    first.write(Applied("log", 3, {1: 9}), {(1, source_key("k1")): [ENTRY]}, {(1, "[1]"): 1})
    first.close()
    again = RowState(tmp_path / "rows")
    assert again.applied == Applied("log", 3, {1: 9})
    assert again.get_many([(1, source_key("k1")), (2, source_key("k1"))]) == [[ENTRY], []]
    assert again.bucket_rows([(1, "[1]"), (1, "[2]")]) == [1, 0]
    again.close()


def test_a_table_is_walked_without_its_neighbours(rows: RowState) -> None:
    keys = [source_key("b"), source_key("a"), source_key("a", "public.todos2"), source_key("a", "public.todo")]
    rows.write(Applied(), {(1, key): [ENTRY] for key in keys} | {(2, source_key("c")): [ENTRY]}, {})
    assert [key for key, _ in rows.of_table(1, TODOS)] == [source_key("a"), source_key("b")]


def test_a_dropped_version_goes_whole(rows: RowState) -> None:
    rows.write(Applied(), {(v, source_key("a")): [ENTRY] for v in (1, 2, 3)}, {(2, "[1]"): 1})
    rows.write(Applied(), {}, {}, dropped=[2])
    assert rows.get_many([(v, source_key("a")) for v in (1, 2, 3)]) == [[ENTRY], [], [ENTRY]]
    assert rows.bucket_rows([(2, "[1]")]) == [0]


def test_a_store_that_hangs_in_another_process_is_passed_by(tmp_path: Path) -> None:
    """A zombie holds its store open until it is fenced; its successor must not wait for that."""
    zombie = RowState(tmp_path / "rows")
    zombie.write(Applied("log", 3), {(1, "k"): [ENTRY]}, {})
    successor = RowState(tmp_path / "rows")
    assert successor.applied == Applied()
    successor.close()
    zombie.close()


def test_a_corrupt_store_is_emptied(tmp_path: Path) -> None:
    first = RowState(tmp_path / "rows")
    first.write(Applied("log", 3), {(1, "k"): [ENTRY]}, {})
    first.close()
    (tmp_path / "rows" / "CURRENT").write_text("nothing\n")
    again = RowState(tmp_path / "rows")
    assert again.applied == Applied()
    again.close()


CHANGE = st.tuples(
    st.integers(0, 4), st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy")), max_size=3, unique=True)
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commits=st.lists(st.lists(CHANGE, max_size=4), max_size=6), cut=st.integers(0, 30))
def test_written_and_replayed_are_equal(
    tmp_path_factory: pytest.TempPathFactory, commits: list[list[tuple[int, list[tuple[str, str]]]]], cut: int
) -> None:
    """Rule M3: what is read back from the op log, in any two portions, is what was written."""
    folder = tmp_path_factory.mktemp("rows")
    written, replayed, fake = RowState(folder / "written"), RowState(folder / "replayed"), DictRows()
    ops = []
    for number, commit in enumerate(commits, 1):
        changes = Changes(number << 20)
        for name, outputs in commit:
            key = (1, source_key(f"k{name}"))
            unique = {bucket: {"versions": [1], **out(bucket, "i", text)._asdict()} for bucket, text in outputs}
            changes.compare(key, changes.before([key], written)[0], list(unique.values()), number)
        places = list(changes.bucket_deltas)
        counts = {p: n + changes.bucket_deltas[p] for p, n in zip(places, written.bucket_rows(places), strict=True)}
        written.write(Applied("log", number), changes.writes, counts)
        fake.write(changes.writes, counts)
        ops += changes.ops
    for portion in (ops[:cut], ops[cut:]):
        replayed.replay(portion, Applied())
    keys = [(1, source_key(f"k{n}")) for n in range(5)]
    buckets = [(1, "a"), (1, "b")]
    looks: list[Callable[[RowState | DictRows], object]] = [
        lambda rows: [sorted(entries) for entries in rows.get_many(keys)],
        lambda rows: rows.bucket_rows(buckets),
    ]
    for look in looks:
        assert look(written) == look(replayed) == look(fake)
    written.close()
    replayed.close()
