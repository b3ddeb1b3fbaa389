"""Whatever is delivered twice, lost, torn or crashed: at every checkpoint incremental equals from scratch.

A source makes batches, `main` and a tributary answer them with faults, the merge crashes around its commits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.merge.catalog import Catalog, added, bounded
from connector.merge.draft import OPS_PER_TRANSACTION, Draft
from connector.merge.pending import headed, staged, superseded
from connector.merge.settle import finish
from connector.merge.state import Evaluated
from tests.builders import (
    TODOS,
    Evaluate,
    by_owner,
    catalog,
    deployment,
    ends,
    evaluated,
    everywhere,
    row,
    scan,
    source_key,
    table_of,
    tributary,
    version,
)
from tests.merge.desk import Desk
from tests.oracle import compare

EVALUATORS: Mapping[int, Evaluate] = {1: by_owner, 2: everywhere, 3: by_owner, 4: by_owner}
ANSWERED = {"t2": {2, 3}, "t3": {4}}  # by the tributaries' processes, which need not know of an adoption yet
Rows = dict[str, Any]


class Play:
    """The source, the streams and the merge; actions are methods, chosen at random."""

    def __init__(self) -> None:
        self.desk = Desk(catalog(version(1)), records_per_draft=2)
        self.log: list[tuple[Rows, bool, str | None]] = []  # changes, boundary, truncate
        self.states: list[Rows] = [{}]  # rows after each position
        self.changed_at: dict[str, int] = {}
        self.next = {"main": 1, "t2": 1, "t3": 1}
        self.scanned = {"t2": 0, "t3": 0}
        self.rewinds = 0
        self.checked = 0

    # The source.
    def batch(self, changes: dict[int, tuple[str, str] | None], boundary: bool) -> None:
        rows = {
            source_key(f"k{n}"): row(f"k{n}", *content) if content is not None else None
            for n, content in changes.items()
        }
        self._append(rows, boundary, None)

    def truncate(self) -> None:
        self._append({}, True, TODOS)

    def _append(self, rows: Rows, boundary: bool, truncate: str | None) -> None:
        self.log.append((rows, boundary, truncate))
        merged = {} if truncate else {**self.states[-1], **rows}
        self.states.append({k: r for k, r in merged.items() if r is not None})
        for key in self.states[-2] if truncate else rows:
            self.changed_at[key] = len(self.log)

    # The stream main: answers for what the catalog says now; goes back where it is asked to.
    def main(self, count: int) -> None:
        rewinds = self.desk.catalog.rewinds.get("main", 0)
        if rewinds > self.rewinds:
            self.rewinds, self.next["main"] = rewinds, self.desk.state.main.position + 1
        versions = {v.version for v in self.desk.catalog.versions if v.state in ("exposed", "retained")}
        self._answer("main", versions, count)

    def main_repeats(self, count: int) -> None:
        self.next["main"] = max(1, self.next["main"] - count)

    def main_loses(self) -> None:
        self.next["main"] += 1

    def zombie(self, back: int) -> None:
        """A main that knows only version 1 answers for old and for new positions."""
        here = self.next["main"]
        self.next["main"] = max(1, here - back)
        self._answer("main", {1}, back + 1)
        self.next["main"] = here

    def _answer(self, stream: str, versions: set[int], count: int) -> None:
        for position in range(self.next[stream], min(self.next[stream] + count, len(self.log) + 1)):
            self.desk.feed(*self._records(stream, position, versions))
            self.next[stream] = position + 1

    def _records(self, stream: str, position: int, versions: set[int]) -> list[Evaluated]:
        rows, boundary, truncate = self.log[position - 1]
        evaluators = {v: EVALUATORS[v] for v in versions}
        fields: dict[str, Any] = {"stream": stream, "versions": versions, "boundary": boundary, "truncate": truncate}
        if len(rows) < 3:
            return [evaluated(position, [table_of(rows, evaluators)], **fields)]
        pairs = list(rows.items())
        whole = [evaluated(position, [table_of(dict(pairs[i::2]), evaluators)], **fields) for i in (0, 1)]
        return [
            {**r, "part": i, "parts": 2, "attempt": f"a{len(self.desk.evaluated[stream])}"} for i, r in enumerate(whole)
        ]

    # A deploy: versions 2 and 3 by a tributary, after which version 1 goes on unchanged.
    def deploy(self) -> None:
        if self.desk.catalog.deployment(2) is None:
            self._deploy(self.desk.catalog, 2, [1, 2, 3])

    # A second one: adopts version 2, gives version 3 up, and version 4 comes by a tributary of its own.
    def supersede(self, tenths: int) -> None:
        """The replay of the first is that far, more or less of it taken; beyond ten it has its head."""
        self.deploy()
        self.bound("t2")
        self.scan("t2", tenths)
        self.round()
        if tenths > 10:
            self.head("t2")
        older = self.desk.catalog.deployment(2)
        if older is not None and older.pending:
            self._deploy(superseded(self.desk.catalog, older, 3, {1, 2, 4}), 3, [1, 2, 4])

    def _deploy(self, known: Catalog, generation: int, wanted: list[int]) -> None:
        name, taken = f"t{generation}", self.desk.state.main
        own = [number for number in wanted if number in ANSWERED[name]]
        entry = tributary(generation, own, start=taken.position, start_offset=taken.change_offset)
        fresh = [version(number, state="pending", stream=name) for number in own]
        pending = deployment(generation, wanted, state="replaying")
        self._change(staged(added(known, pending, fresh, entry), generation))
        self.next[name] = taken.position + 1
        self.desk.evaluated[name] = []

    def bound(self, name: str) -> None:
        entry = self.desk.catalog.tributary(name)
        if entry is not None and not entry.bounded:
            self._change(bounded(self.desk.catalog, entry, ends(100), now=1))

    def scan(self, name: str, count: int) -> None:
        """Read some of the snapshot topic: the newest row per key, now; what is newer than S0 is left to the log."""
        entry, begin = self.desk.catalog.tributary(name), self.scanned[name]
        if entry is None or not entry.bounded or entry.head is not None or begin >= 100:
            return
        end = self.scanned[name] = min(100, begin + 10 * count)
        keys = [f"k{n}" for n in range(10) if begin <= n * 10 < end]
        rows = {
            key: self.states[-1][key]
            for key in map(source_key, keys)
            if key in self.states[-1] and self.changed_at[key] <= entry.start
        }
        evaluators = {number: EVALUATORS[number] for number in ANSWERED[name]}
        record = evaluated(0, [table_of(rows, evaluators)], stream=name, replay=scan(begin, end, done=end == 100))
        self.desk.feed(*[record] * (1 + count % 2))

    def head(self, name: str) -> None:
        entry = self.desk.catalog.tributary(name)
        if entry is not None and entry.head is None and self.scanned[name] >= 100:
            self._change(headed(self.desk.catalog, entry, len(self.log)))

    def tributary(self, name: str, count: int) -> None:
        entry = self.desk.catalog.tributary(name)
        if entry is not None and entry.head is not None:
            self._answer(name, ANSWERED[name], count)

    def tributary_repeats(self, name: str, count: int) -> None:
        self.next[name] = max(1, self.next[name] - count)

    def _change(self, changed: Catalog) -> None:
        """As a request does it."""
        draft = Draft(self.desk.state)
        draft.answer({"id": "r"}, changed, 1)
        commit, known = finish(draft, {}, now=self.desk.now)
        assert known is not None
        self.desk.commits.append(commit)
        self.desk.catalog = known
        self.desk.state = draft.state

    # The merge.
    def round(self) -> None:
        self.desk.round()
        self.check()

    def crash(self, when: str) -> None:
        self.desk.round(crash=when)
        self.check()

    def check(self) -> None:
        """Law 9 at each new checkpoint, for all that clients see there."""
        for commit in self.desk.commits[self.checked :]:
            if commit["exposed"]:
                assert self.log[commit["position"] - 1][1] if commit["position"] else True
        if len(self.desk.commits) == self.checked or not any(c["exposed"] for c in self.desk.commits):
            return
        self.checked = len(self.desk.commits)
        position = next(c for c in reversed(self.desk.commits) if c["exposed"])["position"]
        exposed = {v.version: EVALUATORS[v.version] for v in self.desk.catalog.exposed()}
        if self.desk.commits[-1]["exposed"]:
            assert compare({TODOS: self.states[position]}, exposed, self.desk.folded(exposed=True)) == []

    def settle(self) -> None:
        """No more faults: everything comes to its end. A lost record at the end of the log shows at the next one."""
        self._append({}, True, None)
        self.deploy()
        for _ in range(300):
            before = (len(self.desk.commits), dict(self.next))
            for name in ANSWERED:
                self.bound(name)
                self.scan(name, 10)
                self.head(name)
            self.main(3)
            for name in ANSWERED:
                self.tributary(name, 3)
            while self.desk.round():
                self.check()
            if before != (len(self.desk.commits), dict(self.next)):
                continue
            if self.desk.state.main.position == len(self.log) and not self.desk.catalog.tributaries:
                return
            self._append({}, True, None)
        raise AssertionError(f"stuck: {self.desk.state}")


CONTENT = st.one_of(st.none(), st.tuples(st.sampled_from(["u1", "u2"]), st.sampled_from(["a", "bb", "long text"])))
COUNT = st.integers(1, 3)
NAME = st.sampled_from([*ANSWERED])
ACTIONS = st.one_of(
    st.tuples(st.just("batch"), st.dictionaries(st.integers(0, 9), CONTENT, max_size=5), st.booleans()),
    st.tuples(st.just("batch"), st.dictionaries(st.integers(0, 9), CONTENT, max_size=5), st.just(True)),
    st.tuples(st.just("main"), COUNT),
    st.tuples(st.just("round")),
    st.tuples(st.just("truncate")),
    st.tuples(st.just("main_repeats"), COUNT),
    st.tuples(st.just("main_loses")),
    st.tuples(st.just("zombie"), COUNT),
    st.tuples(st.just("deploy")),
    st.tuples(st.just("supersede"), st.integers(0, 11)),
    st.tuples(st.just("bound"), NAME),
    st.tuples(st.just("scan"), NAME, COUNT),
    st.tuples(st.just("head"), NAME),
    st.tuples(st.just("tributary"), NAME, COUNT),
    st.tuples(st.just("tributary_repeats"), NAME, COUNT),
    st.tuples(st.just("crash"), st.sampled_from(["before", "after"])),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTIONS, max_size=60), st.sampled_from([OPS_PER_TRANSACTION, OPS_PER_TRANSACTION, 4, 2]))
def test_incremental_is_from_scratch(actions: list[tuple[Any, ...]], ops: int) -> None:
    """`ops`: how many of them fit into one commit; so few that a record or a truncate takes several."""
    play = Play()
    with patch("connector.merge.draft.OPS_PER_TRANSACTION", ops), patch("connector.merge.draft.SLICE", 2):
        for name, *arguments in actions:
            getattr(play, name)(*arguments)
        play.settle()
    desk = play.desk
    assert desk.commits[-1]["exposed"]
    assert desk.commits[-1]["position"] == len(play.log)
    adopted = desk.catalog.deployment(3) is not None
    assert desk.catalog.generation == (3 if adopted else 2)
    assert desk.catalog.tributaries == ()
    wanted = {number: EVALUATORS[number] for number in ((1, 2, 4) if adopted else (1, 2, 3))}
    assert {v.version for v in desk.catalog.exposed()} == wanted.keys()
    assert compare({TODOS: play.states[-1]}, wanted, desk.folded()) == []
    for number in wanted:
        buckets = desk.folded().of_version(number)
        counted = desk.counted(number)
        assert counted["buckets"] == len(buckets)
        assert counted["rows"] == sum(len(b.rows) for b in buckets.values())
        assert counted["ops"] == len(desk.oplogs.get(number, []))
        assert number != 1 or counted["changed_ops"] == counted["ops"], "no deploy has touched it"
        op_ids = [op["op_id"] for op in desk.oplogs.get(number, [])]
        assert op_ids == sorted(set(op_ids))
    numbers = [c["number"] for c in desk.commits]
    assert numbers == list(range(1, len(numbers) + 1))
