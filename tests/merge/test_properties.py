"""Whatever is delivered twice, lost, torn or crashed: at every checkpoint incremental equals from scratch.

A source makes batches, `main` and a tributary answer them with faults, the merge crashes around its commits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.merge.catalog import Catalog, added, bounded
from connector.merge.draft import Draft
from connector.merge.pending import headed
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

EVALUATORS: Mapping[int, Evaluate] = {1: by_owner, 2: everywhere, 3: by_owner}
Rows = dict[str, Any]


class Play:
    """The source, the streams and the merge; actions are methods, chosen at random."""

    def __init__(self) -> None:
        self.desk = Desk(catalog(version(1)), records_per_draft=2)
        self.log: list[tuple[Rows, bool, str | None]] = []  # changes, boundary, truncate
        self.states: list[Rows] = [{}]  # rows after each position
        self.changed_at: dict[str, int] = {}
        self.next = {"main": 1, "t2": 1}
        self.scanned = 0
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

    # A deploy: version 2 by a tributary, after which version 1 goes on unchanged.
    def deploy(self) -> None:
        if self.desk.catalog.deployment(2) is None:
            taken = self.desk.state.main
            entry = tributary(2, [2], start=taken.position, start_offset=taken.change_offset)
            pending = deployment(2, [1, 2], state="replaying")
            self._change(added(self.desk.catalog, pending, [version(2, state="pending", stream="t2")], entry))
            self.next["t2"] = taken.position + 1
            self.desk.evaluated["t2"] = []

    def bound(self) -> None:
        entry = self.desk.catalog.tributary("t2")
        if entry is not None and not entry.bounded:
            self._change(bounded(self.desk.catalog, entry, ends(100), now=1))

    def scan(self, count: int) -> None:
        """Read some of the snapshot topic: the newest row per key, now; what is newer than S0 is left to the log."""
        entry = self.desk.catalog.tributary("t2")
        if entry is None or not entry.bounded or entry.head is not None or self.scanned >= 100:
            return
        begin, self.scanned = self.scanned, min(100, self.scanned + 10 * count)
        keys = [f"k{n}" for n in range(10) if begin <= n * 10 < self.scanned]
        rows = {
            key: self.states[-1][key]
            for key in map(source_key, keys)
            if key in self.states[-1] and self.changed_at[key] <= entry.start
        }
        piece = scan(begin, self.scanned, done=self.scanned == 100)
        record = evaluated(0, [table_of(rows, {2: everywhere})], stream="t2", replay=piece)
        self.desk.feed(*[record] * (1 + count % 2))

    def head(self) -> None:
        entry = self.desk.catalog.tributary("t2")
        if entry is not None and entry.head is None and self.scanned >= 100:
            self._change(headed(self.desk.catalog, entry, len(self.log)))

    def tributary(self, count: int) -> None:
        entry = self.desk.catalog.tributary("t2")
        if entry is not None and entry.head is not None:
            self._answer("t2", {2}, count)

    def tributary_repeats(self, count: int) -> None:
        self.next["t2"] = max(1, self.next["t2"] - count)

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
            self.bound()
            self.scan(10)
            self.head()
            self.main(3)
            self.tributary(3)
            self.desk.run()
            self.check()
            if before != (len(self.desk.commits), dict(self.next)):
                continue
            if self.desk.state.main.position == len(self.log) and not self.desk.catalog.tributaries:
                return
            self._append({}, True, None)
        raise AssertionError(f"stuck: {self.desk.state}")


CONTENT = st.one_of(st.none(), st.tuples(st.sampled_from(["u1", "u2"]), st.sampled_from(["a", "bb", "long text"])))
COUNT = st.integers(1, 3)
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
    st.tuples(st.just("bound")),
    st.tuples(st.just("scan"), COUNT),
    st.tuples(st.just("head")),
    st.tuples(st.just("tributary"), COUNT),
    st.tuples(st.just("tributary_repeats"), COUNT),
    st.tuples(st.just("crash"), st.sampled_from(["before", "after"])),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTIONS, max_size=60))
def test_incremental_is_from_scratch(actions: list[tuple[Any, ...]]) -> None:
    play = Play()
    for name, *arguments in actions:
        getattr(play, name)(*arguments)
    play.settle()
    desk = play.desk
    assert desk.commits[-1]["exposed"]
    assert desk.commits[-1]["position"] == len(play.log)
    assert desk.catalog.generation == 2
    assert desk.catalog.tributaries == ()
    both = {1: by_owner, 2: everywhere}
    assert compare({TODOS: play.states[-1]}, both, desk.folded()) == []
    for number in both:
        buckets = desk.folded().of_version(number)
        counted = desk.counted(number)
        assert counted["buckets"] == len(buckets)
        assert counted["rows"] == sum(len(b.rows) for b in buckets.values())
        assert counted["ops"] == len(desk.oplogs.get(number, []))
        op_ids = [op["op_id"] for op in desk.oplogs.get(number, [])]
        assert op_ids == sorted(set(op_ids))
    numbers = [c["number"] for c in desk.commits]
    assert numbers == list(range(1, len(numbers) + 1))
