"""The merge: lines the streams up, numbers the ops, decides requests; the only writer of state.

`python -m topologies.merge --settings FILE`. Ends with 0 at SIGTERM, 3 where another merge has taken over, 76 where
a server is away (start it again: it goes on from its last commit).
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from types import FrameType

from connector import settings as settings_file
from connector.crash import arm, crash_point
from connector.deploy.decision import Moment
from connector.deploy.requests import check_plans
from connector.merge.catalog import MAIN, Catalog
from connector.merge.draft import Draft
from connector.merge.held import Held
from connector.merge.judge import Verdict, held_by, judge
from connector.merge.overlay import Laying, landing_tributary
from connector.merge.settle import Complete, settle
from connector.merge.state import Merge, is_checkpoint, standing
from connector.merge.stopped import Patience
from connector.settings import Settings
from connector.source.progress import table_completeness
from connector.store.rows import RowState
from schemas.codec import Codec
from topologies import kafka
from topologies.catalog import Followed
from topologies.cleanup import CleanUp
from topologies.commits import Committer
from topologies.compaction import Compactor
from topologies.evaluated import Ahead, Input
from topologies.exits import ended
from topologies.garbage import collect_seldom
from topologies.inbox import Inbox
from topologies.oplogs import CommittedOps
from topologies.recovery import bring_rows_up, create_own_topics, last_state
from topologies.schemas import Schemas
from topologies.topics import Topics

LIVE = 0.03  # seconds that a draft with changes of main may grow while more comes
BULK = 0.25  # seconds that a draft of replayed rows alone may grow where main has been still for a while
BESIDE = 0.06  # seconds that it may grow where a change of main may come any moment, and would wait for its commit
STILL = 1.0  # seconds without a change of main
SWITCH = 0.001  # seconds that the loop waits for a thread that parses a config, each time that it has let go of Python
IDLE = 0.02  # seconds to wait for main where nothing else is under way

log = logging.getLogger("merge")


class Process:
    """The merge as it runs. `state` and `rows` are those of the last commit."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._patience = Patience(
            settings.stop_after, frozenset(name for name, what in settings.on_error.items() if what == "stop")
        )
        self._topics = Topics(settings.app)
        self._codec = Codec(Schemas(settings))
        self._committer = Committer(settings, self._codec)
        create_own_topics(settings)
        self._committer.fence()
        crash_point("merge.after_fence")
        self.state: Merge = last_state(settings, self._codec)
        check_plans(self.state.catalog)
        self.rows = RowState(settings.state / "merge" / settings.app)
        bring_rows_up(settings, self._codec, self.rows, self.state)
        crash_point("merge.after_recovery")
        self._clean_up = CleanUp(settings, self._committer.hanging)
        self._compactor = Compactor(settings, self._codec)
        self._progress: Followed | None = None
        self._inbox = Inbox(settings, self._codec, self.state.request_offset)
        self._inputs: dict[str, Input] = {}
        self._laying: tuple[Laying, CommittedOps] | None = None
        self._held = Held()
        self._live_at = 0.0
        self._wait = 0.0
        self.stopping = False

    def run(self) -> None:
        """Take, settle, commit, until told to stop."""
        if self.state.catalog.number == 0:
            draft = Draft(self.state)
            draft.state = draft.state.with_catalog(replace(draft.state.catalog))
            self._commit(draft)
        self._follow_streams()
        while not self.stopping:
            draft = Draft(self.state, patience=self._patience, now=_now())
            self._take_requests(draft)
            self._fill(draft)
            draft.rewrite(self._compactor.portion(draft.state))
            self._lay(draft)
            draft.count(self.rows)
            if self._clean_up.outgrown():
                draft.relieve()
            draft.held = self._held_up(draft.state)
            complete = self._complete(draft.state.catalog)
            settle(draft, now=_now(), complete=complete, retain_ms=int(self._settings.retain_removed * 1000))
            if draft.changed:
                self._commit(draft)
            else:
                self.state = replace(self.state, looked=draft.state.looked)
            self._clean_up.run(self.state)
            if hanging := self._clean_up.hanging():
                self._committer.keep(hanging)
            if is_checkpoint(self.state):
                self._compactor.run(self.state)

    def close(self) -> None:
        for reader in (self._inbox, self._progress, *self._inputs.values()):
            if reader is not None:
                reader.close()
        self._compactor.close()
        self._clean_up.close()
        self.rows.close()

    def _commit(self, draft: Draft) -> None:
        before = self.state.catalog
        self._committer.commit(draft, self.rows, now=_now())
        self.state = draft.state
        if self.state.catalog is not before:
            _tell(before, self.state.catalog)
            self._follow_streams()
            self._clean_up.wanted(self.state.number)

    def _fill(self, draft: Draft) -> None:
        """Live before replay (rule M6); a draft ends when it is full, old, or nothing is ready.

        Each tributary gets one step a draft even where main never pauses.
        """
        started = time.monotonic()
        bulk = BULK if started > self._live_at + STILL else BESIDE
        others = [i for name, i in self._inputs.items() if name != MAIN]
        stepped = False
        live = moved = self._step(draft, MAIN, self._wait)
        while moved and not draft.full and time.monotonic() - started < (LIVE if live else bulk):
            moved = self._step(draft, MAIN)
            live = live or moved
            if not moved:
                moved = stepped = any([self._step(draft, i.stream) for i in others])
        if not stepped and not draft.full:
            stepped = any([self._step(draft, i.stream) for i in others])
        if live:
            self._live_at = time.monotonic()
        self._wait = 0.0 if draft.changed else (IDLE / 4 if others else IDLE)

    def _step(self, draft: Draft, stream: str, timeout: float = 0.0) -> bool:
        """Pass one record of the stream; False where none is ready, or where this draft has no room for it."""
        reader = self._inputs[stream]
        ahead = reader.peek(timeout)
        if ahead is None or draft.full:
            return False
        verdict = judge(draft.state, stream, ahead.record)
        if verdict is Verdict.HOLD:
            time.sleep(timeout)
            return False
        if verdict not in (Verdict.TAKE, Verdict.LOOK):
            self._pass_over(draft, reader, verdict)
            return True
        if (whole := reader.whole()) is None:
            return True
        if verdict is Verdict.LOOK:
            draft.look(stream, whole.record)
            return True
        return self._take(draft, reader, whole)

    def _held_up(self, state: Merge) -> frozenset[str]:
        """For which streams main's next record has waited for long, if there is one."""
        ahead = self._inputs[MAIN].peek()
        waits = ahead is not None and judge(state, MAIN, ahead.record) is Verdict.HOLD
        held = held_by(state, ahead.record) if ahead is not None and waits else frozenset()
        self._held.by(held, state.main.position, time.monotonic())
        return self._held.for_long(time.monotonic())

    def _take(self, draft: Draft, reader: Input, whole: Ahead) -> bool:
        if draft.wants_fresh(whole.record) or not draft.take(reader.stream, whole.record, whole.next_offset, self.rows):
            return False
        reader.assembly.forget()
        reader.hole.closed(whole.record)
        reader.pop()
        return True

    def _pass_over(self, draft: Draft, reader: Input, verdict: Verdict) -> None:
        ahead = reader.peek()
        assert ahead is not None
        position, taken = ahead.record["position"], draft.state.streams[reader.stream].position
        if verdict is Verdict.REFUSE:
            log.warning("%s: position %d is not what the catalog asks for, not taken", reader.stream, position)
        elif verdict is Verdict.JUMP and reader.hole.seen(ahead.record, time.monotonic()):
            log.warning("%s jumped from %d to %d, rewind asked", reader.stream, taken, position)
            draft.rewind(reader.stream)
        elif verdict is Verdict.DROP and reader.stream == MAIN:
            draft.announced(ahead.record)
        reader.pop()

    def _take_requests(self, draft: Draft) -> None:
        while decided := self._inbox.decided(draft.state.catalog, Moment(_now(), standing(draft.state))):
            asked, decision = decided
            if asked.request["kind"] == "compact" and decision.outcome == "accepted":
                self._compactor.wanted()
            if asked.request["kind"] == "gc":
                self._clean_up.wanted(draft.state.number)
            draft.answer(decision.answer(asked.request), decision.catalog, asked.next_offset)

    def _lay(self, draft: Draft) -> None:
        """Some of the overlays of the tributary that lands, if one does (rule D6)."""
        tributary = landing_tributary(draft.state.catalog)
        if tributary is None:
            return
        if self._laying is None:
            self._laying = Laying(tributary), CommittedOps(self._settings, self._codec)
        laying, oplogs = self._laying
        if laying.portion(draft, self.rows, oplogs):
            oplogs.close()
            self._laying = None

    def _complete(self, catalog: Catalog) -> Complete:
        """Which tables are complete, asked only while something is pending (rule D3)."""
        if not any(d.pending for d in catalog.deployments):
            return {}
        if self._progress is None:
            if not kafka.topic_exists(self._settings, self._topics.sequence):
                return {}
            self._progress = Followed(self._settings, self._codec, self._topics.sequence)
        record = self._progress.newest()
        return table_completeness(record) if record is not None else {}

    def _follow_streams(self) -> None:
        for name in self._inputs.keys() - self.state.streams.keys():
            self._inputs.pop(name).close()
        for name, stream in self.state.streams.items():
            if name not in self._inputs:
                topic = self._topics.evaluated(name)
                self._inputs[name] = Input(self._settings, self._codec, name, topic, stream.evaluated_offset)

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Ends after the commit under way."""
        self.stopping = True


def _tell(before: Catalog, after: Catalog) -> None:
    going = {v.version for v in before.versions if not v.stopped_at}
    for version in after.versions:
        if version.stopped_at and version.version in going:
            place = f"version {version.version} ({version.definition}, {version.label})"
            log.error("%s is stopped at position %d: %s", place, version.stopped_position, version.stopped_because)
    old = {d.generation: d.state for d in before.deployments}
    for deployment in after.deployments:
        if old.get(deployment.generation) != deployment.state:
            log.info("generation %d (%s) is %s", deployment.generation, deployment.kind, deployment.state)
    for name in {t.name for t in before.tributaries} - {t.name for t in after.tributaries}:
        log.info("tributary %s has ended", name)


def _now() -> int:
    return int(time.time() * 1000)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or an error; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m topologies.merge", description=__doc__)
    parser.add_argument("--settings", metavar="FILE")
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)

    collect_seldom()
    arm()
    sys.setswitchinterval(SWITCH)

    def work() -> None:
        process = Process(settings_file.load(parser.parse_args(argv).settings))
        signal.signal(signal.SIGTERM, process.stop)
        signal.signal(signal.SIGINT, process.stop)
        process.run()
        process.close()

    return ended(work, log)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # a question still asked in the background must not hold up the end
