"""Markers among the changes of a source (rule V4)."""

from __future__ import annotations

import orjson
import pytest

from connector.errors import BadRecord
from connector.position import Position
from connector.source import markers
from connector.source.batches import MAX_ROWS, Batcher
from connector.source.markers import LARGEST, LONGEST, Marker
from tests.source.debezium import row

MARKER = Marker("ann", "phone", 7, 1000)


@pytest.mark.parametrize(("user", "client"), [("ann", "phone"), ("ü", None), ('a"\\', ""), ("\0", "\n")])
@pytest.mark.parametrize("number", [1, -1, LARGEST])
def test_what_a_node_emits_is_read(user: str, client: str | None, number: int) -> None:
    content = f"{markers.opening(user, client)}{number}}}"
    assert content.isascii()
    assert markers.read(content.encode(), 5) == Marker(user, client, number, 5)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"[]",
        b"7",
        b'{"user":"a","id":1}',
        b'{"user":1,"client":null,"id":1}',
        b'{"user":"a","client":1,"id":1}',
        b'{"user":"a","client":null,"id":"1"}',
        b'{"user":"a","client":null,"id":true}',
        b'{"user":"a","client":null,"id":1.0}',
        b'{"user":"a","client":null,"id":9223372036854775808}',
        b'{"user":"\xff","client":null,"id":1}',
        orjson.dumps({"user": "a" * LONGEST, "client": None, "id": 1}),
    ],
)
def test_anything_else_is_no_marker(content: bytes) -> None:
    with pytest.raises(BadRecord):
        markers.read(content, 0)


def test_keys_tell_users_and_clients_apart() -> None:
    keys = [markers.key(*each) for each in (("a", None), ("a", ""), ("a", "b"), ('a","b', None), ("a/b", None))]
    assert len(set(keys)) == len(keys)


def test_a_marker_alone_makes_a_batch() -> None:
    batcher = Batcher(Position(4), 10)
    batcher.mark(MARKER)
    assert len(batcher) == 1
    batch = batcher.close(boundary=True)
    assert (batch.position, batch.rows, batch.changes, batch.markers) == (5, 10, (), (MARKER,))
    assert batch.committed_at == MARKER.at
    assert len(batcher) == 0


def test_markers_fill_a_batch_as_rows_do() -> None:
    batcher = Batcher(Position(0), 0)
    for _ in range(MAX_ROWS):
        assert batcher.fits(row(0, 0))
        batcher.mark(MARKER)
    assert not batcher.fits(row(0, 0))
