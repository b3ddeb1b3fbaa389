"""The ends of a replay, as a worker captures them and asks the merge for them; without a broker (rule T5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from connector.errors import RequestRefused
from connector.merge.catalog import Catalog, ReplayEnd, bounded
from connector.settings import Settings
from tests.builders import TODOS, tributary
from tests.stream.feed import versions
from topologies import replay
from topologies.replay import Replay

CONFIG = """
bucket_definitions:
  all:
    data:
      - SELECT id, title FROM todos
"""


class Seen:
    """A follower that sees at once what the merge has decided."""

    commit = None

    def __init__(self) -> None:
        new = versions(CONFIG, state="pending", stream="t1")
        self.catalog = Catalog(versions=new, tributaries=(tributary(1, [v.version for v in new]),))

    def wait_for(self, seen: Any) -> bool:
        return bool(seen(self.catalog))


def test_ends_are_captured_anew_until_the_merge_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot topic that is missing at first: its table has no ends, and comes later."""
    seen, asked = Seen(), list[Any]()
    topics: dict[str, list[int]] = {}

    def ask(_: Settings, kind: str, *, ends: list[dict[str, Any]], **fields: Any) -> None:
        asked.append(ends)
        assert len(asked) <= 2, "the same again"
        topics["app.snapshot.public.todos"] = [0, 1]
        if not ends:
            raise RequestRefused("no ends for public.todos")
        seen.catalog = bounded(seen.catalog, seen.catalog.tributaries[0], [ReplayEnd(**e) for e in ends], now=1)

    monkeypatch.setattr(replay, "ask", ask)
    monkeypatch.setattr(replay, "compaction_lag_ms", lambda *_: 600_000)
    monkeypatch.setattr(replay, "_partitions", lambda _, topic: topics.get(topic, []))
    monkeypatch.setattr(replay.kafka, "consumer", lambda *_, **__: None)
    monkeypatch.setattr(replay.kafka, "uncommitted_ends", lambda _, __, partitions: dict.fromkeys(partitions, 7))
    parts = {"follower": cast(Any, seen), "outlet": cast(Any, None), "check": lambda: None}
    worker = Replay(Settings(Path("f"), "k", "r", "c", "p", app="app"), "t1", cast(Any, None), str, **parts)
    assert worker._bounds() == (ReplayEnd(TODOS, 0, 7), ReplayEnd(TODOS, 1, 7))
    assert [len(ends) for ends in asked] == [0, 2]
