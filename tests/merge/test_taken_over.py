"""Take-over of versions that are only kept and lag behind main (rules D5, M6; law 9)."""

from __future__ import annotations

import pytest

from tests.builders import (
    TODOS,
    by_owner,
    catalog,
    evaluated,
    everywhere,
    row,
    source_key,
    table_of,
    tributary,
    version,
)
from tests.merge.desk import Desk
from tests.oracle import compare

BOTH = {1: by_owner, 2: everywhere}


def test_a_version_that_lags_is_not_taken_over_in_the_middle_of_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Main's record 2 takes several commits; between them t2 brings version 2 up to position 1. What of the record was
    passed before that was not taken for it."""
    monkeypatch.setattr("connector.merge.draft.OPS_PER_TRANSACTION", 3)
    monkeypatch.setattr("connector.merge.draft.SLICE", 1)
    kept = version(2, stream="t2", state="retained", dropped_at=9_000_000)
    known = catalog(version(1), kept, tributaries=(tributary(2, [2], state="taking_over", bounded=True, head=0),))
    desk = Desk(known)
    rows = {source_key(f"k{n}"): row(f"k{n}") for n in range(8)}
    first = {source_key("k0"): row("k0", text="b")}
    desk.feed(evaluated(1, [table_of(first, {1: by_owner})]), evaluated(2, [table_of(rows, BOTH)]))
    while not desk.state.cursors.get("main"):
        assert desk.round()
    desk.feed(evaluated(1, [table_of(first, {2: everywhere})], stream="t2"))
    desk.round()
    desk.feed(evaluated(2, [table_of(rows, {2: everywhere})], stream="t2"))
    desk.run()
    assert desk.counted(2)["position"] == 2
    assert compare({TODOS: rows}, BOTH, desk.folded()) == []
