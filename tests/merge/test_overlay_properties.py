"""An overlay under live traffic, repeats, holes and crashes: at no checkpoint half of it (rule D6; laws 2, 8, 9).

Version 2 was evaluated wrongly up to a position; a repair evaluates all anew while changes go on.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.definitions.model import Options
from connector.deploy.decision import Moment
from connector.deploy.requests import decide
from connector.merge.catalog import bounded
from connector.merge.pending import headed
from tests import builders
from tests.builders import TODOS, Out, by_owner, catalog, ends, everywhere, row, scan, source_key, table_of, version
from tests.merge.desk import Desk
from tests.merge.test_overlay import LEVEL, NOW, PLAN
from tests.oracle import compare
from topologies.follow import versions_of

Rows = dict[str, Any]
BROKEN_UP_TO = 2
assert Options().evaluation() == LEVEL


def broken(table: str, content: Any) -> tuple[list[Out], list[str]]:
    """Loses rows, and texts."""
    return everywhere(table, {**content, "text": "?"}) if content["id"] > "k2" else ([], [])


def good(number: int) -> Any:
    return by_owner if number == 1 else everywhere


class Play:
    """The source, the streams and the merge; actions are methods, chosen at random."""

    def __init__(self) -> None:
        known = catalog(version(1, evaluation=LEVEL, plan=PLAN), version(2, evaluation=LEVEL, plan=PLAN))
        self.desk = Desk(known, records_per_draft=2)
        self.log: list[tuple[Rows, bool]] = []  # changes, truncate
        self.states: list[dict[str, tuple[Any, int]]] = [{}]  # row and the position that wrote it, after each position
        self.next = {"main": 1, "t2": 1}
        self.checked = 0
        self.scanned = False
        self.rewinds: dict[str, int] = {}

    # The source.
    def change(self, changes: dict[int, str | None]) -> None:
        rows = {source_key(f"k{n}"): row(f"k{n}", text=text) if text else None for n, text in changes.items()}
        self._append(rows, truncate=False)

    def truncate(self) -> None:
        self._append({}, truncate=True)

    def _append(self, rows: Rows, *, truncate: bool) -> None:
        self.log.append((rows, truncate))
        here = len(self.log)
        merged = {} if truncate else {**self.states[-1], **{k: (r, here) for k, r in rows.items()}}
        self.states.append({k: (r, at) for k, (r, at) in merged.items() if r is not None})

    # The streams, by what the catalog says now.
    def main(self, count: int) -> None:
        self._answer("main", count)

    def tributary(self, count: int) -> None:
        entry = self.desk.catalog.tributary("t2")
        if entry is not None and entry.head is not None:
            self._answer("t2", count)

    def repeats(self, stream: str) -> None:
        self.next[stream] = max(1, self.next[stream] - 2)

    def loses(self, stream: str) -> None:
        if self.next[stream] <= len(self.log):
            self.next[stream] += 1

    def _answer(self, stream: str, count: int) -> None:
        if (asked := self.desk.catalog.rewinds.get(stream, 0)) > self.rewinds.get(stream, 0):
            self.rewinds[stream] = asked
            self.next[stream] = self.desk.state.streams[stream].position + 1
        numbers = [v.version for v in versions_of(self.desk.catalog, stream)]
        for position in range(self.next[stream], min(self.next[stream] + count, len(self.log) + 1)):
            rows, truncate = self.log[position - 1]
            wrong = stream == "main" and position <= BROKEN_UP_TO
            evaluators = {n: broken if wrong and n == 2 else self._evaluator(n) for n in numbers}
            fields: dict[str, Any] = {"stream": stream, "versions": numbers, "truncate": TODOS if truncate else None}
            self.desk.feed(builders.evaluated(position, [table_of(rows, evaluators)], evaluation=LEVEL, **fields))
            self.next[stream] = position + 1

    def _evaluator(self, number: int) -> Any:
        return good(number if number < 3 else number - 2)  # 3 and 4 are the shadows of 1 and 2

    # The repair.
    def repair(self) -> None:
        if self.desk.catalog.deployment(2) is None and self.desk.state.main.position >= BROKEN_UP_TO:
            request: Any = {"kind": "repair", "id": "r", "expires_at": 0, "config": "", "path": "", "planned": ""}
            request |= {"estimate": "", "max_rate": 0, "definition": ""}
            self.desk.commit(decide(self.desk.state.catalog, request, Moment(NOW)).catalog)
            self.next["t2"] = self.desk.catalog.tributaries[0].start + 1

    def replay(self) -> None:
        """The newest row per key, now; what is newer than S0 is left to the log."""
        entry = self.desk.catalog.tributary("t2")
        if entry is None or self.scanned:
            return
        self.scanned = True
        self.desk.commit(bounded(self.desk.catalog, entry, ends(10), now=NOW))
        rows = {k: content for k, (content, at) in self.states[-1].items() if at <= entry.start}
        given = table_of(rows, {n: self._evaluator(n) for n in entry.versions})
        whole = scan(0, 10, done=True)
        self.desk.feed(builders.evaluated(0, [given], stream="t2", replay=whole, evaluation=LEVEL))

    def head(self) -> None:
        entry = self.desk.catalog.tributary("t2")
        if entry is not None and self.scanned and entry.head is None:
            self.desk.commit(headed(self.desk.catalog, entry, len(self.log)))

    # The merge.
    def round(self, crash: str | None = None) -> None:
        self.desk.round(crash=crash)
        self.check()

    def check(self) -> None:
        """At each new checkpoint version 2 is wholly as it was, or wholly mended."""
        new, self.checked = self.desk.commits[self.checked :], len(self.desk.commits)
        if not new or not new[-1]["exposed"]:
            return
        state = self.states[new[-1]["position"]]
        rows = {key: content for key, (content, _) in state.items()}
        over = self.desk.catalog.deployment(2)
        mended = over is not None and over.state == "dropped"
        wrong = {key for key, (_, at) in state.items() if at <= BROKEN_UP_TO and not mended}

        def two(table: str, content: Any) -> Any:
            return broken(table, content) if source_key(content["id"]) in wrong else everywhere(table, content)

        assert compare({TODOS: rows}, {1: by_owner, 2: two}, self.desk.folded(exposed=True)) == []

    def settle(self) -> None:
        """No more faults: everything comes to its end. A record lost at the end of the log shows at the next one."""
        for _ in range(300):
            self.main(3)
            self.repair()
            self.replay()
            self.head()
            self.tributary(3)
            while self.desk.round():
                self.check()
            over = self.desk.catalog.deployment(2) is not None and not self.desk.catalog.tributaries
            if over and self.desk.state.main.position == len(self.log):
                return
            self._append({}, truncate=False)
        raise AssertionError(f"stuck: {self.desk.state}")


TEXT = st.sampled_from([None, "a", "bb", "long text"])
CHANGES = st.dictionaries(st.integers(0, 6), TEXT, max_size=4)
STREAM = st.sampled_from(["main", "t2"])
ACTIONS = st.one_of(
    st.tuples(st.just("change"), CHANGES),
    st.tuples(st.just("main"), st.integers(1, 3)),
    st.tuples(st.just("round")),
    st.tuples(st.just("round"), st.sampled_from(["before", "after"])),
    st.tuples(st.sampled_from(["repair", "replay", "head", "truncate"])),
    st.tuples(st.just("tributary"), st.integers(1, 3)),
    st.tuples(st.sampled_from(["repeats", "loses"]), STREAM),
)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(CHANGES, CHANGES, st.lists(ACTIONS, max_size=40))
def test_a_repair_is_seen_whole_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, one: Any, other: Any, actions: list[tuple[Any, ...]]
) -> None:
    for name in ("PORTION", "ROWS_PER_DRAFT", "OPS_PER_TRANSACTION"):
        monkeypatch.setattr(f"connector.merge.overlay.{name}", 3)
    play = Play()
    play.change(one)
    play.change(other)
    for name, *arguments in actions:
        getattr(play, name)(*arguments)
    play.settle()
    rows = {key: content for key, (content, _) in play.states[-1].items()}
    assert compare({TODOS: rows}, {1: by_owner, 2: everywhere}, play.desk.folded()) == []
    assert play.desk.commits[-1]["exposed"]
    for number in (1, 2):
        assert play.desk.counted(number)["rows"] == sum(
            len(bucket.rows) for bucket in play.desk.folded().of_version(number).values()
        )
