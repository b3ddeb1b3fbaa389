"""The collector and its agents, without a broker: rule T2."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import faust
import pytest
from mode.threads import ServiceThread

from connector.definitions.evaluate import Evaluator
from connector.definitions.render import Renderings
from connector.evaluation import Answer, CompiledVersion, batch_rows
from tests.stream.feed import TODOS, todo, versions
from tests.stream.test_evaluation import batch, decoders
from topologies import collect
from topologies.collect import Collector
from topologies.stuck import PATIENCE, Stuck

CONFIG = """
bucket_definitions:
  a:
    data: ["SELECT id FROM todos"]
  b:
    data: ["SELECT id, title FROM todos"]
"""


class Hung(Exception):
    """In place of the end of the process."""


class Desk:
    """A collector on an app without a broker."""

    def __init__(self, folder: Path, *, timeout: float = 0.3) -> None:
        self.hung: list[tuple[int, list[int]]] = []
        self.stuck = Stuck(folder / "stuck.json")
        self.decoders = decoders()
        self.app = faust.App("desk", broker="kafka://127.0.0.1:9", datadir=str(folder), web_enabled=False)
        self.collector = Collector(self.app, self.decoders, self.stuck, self._hung, timeout=timeout)

    def _hung(self, position: int, silent: Iterable[int]) -> None:
        self.hung.append((position, sorted(silent)))
        self.stuck.add(position, silent)
        if threading.current_thread() is threading.main_thread():
            raise Hung

    def close(self) -> None:
        """Close what Faust opens with the first agent and only a started app closes."""
        for loop in {thread.thread_loop for thread in gc.get_objects() if isinstance(thread, ServiceThread)}:
            loop.close()

    async def ask(self, *keys: str, position: int = 1) -> list[Answer]:
        rows = batch_rows(batch(*(todo(key) for key in keys)), self.collector.reads, self.decoders)
        return await self.collector.ask(position, rows)


def run(folder: Path, scene: Callable[[Desk], Awaitable[None]], *, timeout: float = 0.3) -> None:
    async def play() -> None:
        desk = Desk(folder, timeout=timeout)
        await desk.collector.set_versions(versions(CONFIG))
        try:
            await scene(desk)
        finally:  # a loop with running agents never ends
            await desk.collector.set_versions(())
            desk.close()

    asyncio.run(play())


def breaking(monkeypatch: pytest.MonkeyPatch, version: int, query: Callable[[Any], Any]) -> None:
    """Give one version an evaluator of the test's own."""
    compile_version = collect.compile_version

    def broken(number: int, plan: str, evaluation: str, renderings: Renderings) -> CompiledVersion:
        made = compile_version(number, plan, evaluation, renderings)
        return made if number != version else replace(made, evaluator=Evaluator([(TODOS, lambda where: query)], {}))

    monkeypatch.setattr(collect, "compile_version", broken)


def test_all_versions_answer_and_the_set_can_change(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        assert [a.version for a in await desk.ask("k")] == [1, 2]
        await desk.collector.set_versions(versions(CONFIG)[1:])
        assert [a.version for a in await desk.ask("k")] == [2]
        await desk.collector.set_versions(versions(CONFIG))
        assert [len(a.outputs[TODOS]) for a in await desk.ask("k", "l")] == [2, 2]

    run(tmp_path, scene)


def test_a_version_that_an_overlay_has_evaluated_anew_gets_another_agent(tmp_path: Path) -> None:
    """The plan may be the same; the level is not (rule D6)."""

    async def scene(desk: Desk) -> None:
        known = versions(CONFIG)
        await desk.collector.set_versions([replace(known[0], evaluation="of another release"), known[1]])
        first, second = await desk.ask("k")
        assert [c.unable != "" for c in desk.collector.compiled] == [True, False]
        assert (first.outputs, first.rejected, len(second.outputs[TODOS])) == ({}, {}, 1)
        await desk.collector.set_versions(known)
        assert [len(a.outputs[TODOS]) for a in await desk.ask("k")] == [1, 1]

    run(tmp_path, scene)


def test_an_agent_that_raises_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(_: Any) -> Any:
        raise RuntimeError("no")

    breaking(monkeypatch, 1, raises)

    async def scene(desk: Desk) -> None:
        for _ in range(3):
            first, second = await desk.ask("k", "l")
            assert [r.row for r in first.rejected[TODOS]] == [0, 1]
            assert len(second.outputs[TODOS]) == 2

    run(tmp_path, scene)


def test_an_agent_that_falls_over_itself_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("not in a row")

    monkeypatch.setattr(collect, "evaluate", fails)

    async def scene(desk: Desk) -> None:
        answers = await desk.ask("k")
        assert "not in a row" in answers[0].rejected[TODOS][0].reason

    run(tmp_path, scene)


def test_a_slow_agent_lets_the_loop_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 50 ms at a stretch, so 400 rows of a millisecond each see the loop go on many times."""
    turn, turns = 0, set()

    def slow(_: Any) -> Any:
        time.sleep(0.001)
        turns.add(turn)
        return []

    breaking(monkeypatch, 1, slow)

    async def scene(desk: Desk) -> None:
        asked = asyncio.create_task(desk.ask(*(str(n) for n in range(400))))
        nonlocal turn
        while not asked.done():
            await asyncio.sleep(0)
            turn += 1
        assert len(turns) >= 8
        assert len(asked.result()) == 2

    run(tmp_path, scene, timeout=20)


def test_silence_ends_the_process_and_after_three_times_the_version_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(Collector):
        async def _answer(self, compiled: CompiledVersion, rows: Any) -> Answer:
            if compiled.version == 2:
                await asyncio.Event().wait()
            return await super()._answer(compiled, rows)

    monkeypatch.setattr(f"{__name__}.Collector", Silent)

    async def hangs(desk: Desk) -> None:
        with pytest.raises(Hung):
            await desk.ask("k", position=9)
        assert desk.hung == [(9, [2])]

    for _ in range(PATIENCE):
        run(tmp_path, hangs)

    async def goes_on(desk: Desk) -> None:
        first, second = await desk.ask("k", position=9)
        assert len(first.outputs[TODOS]) == 1
        assert "did not end" in second.rejected[TODOS][0].reason
        assert (first.hung, second.hung) == (False, True), "the merge stops it"
        with pytest.raises(Hung):
            await desk.ask("k", position=10)

    run(tmp_path, goes_on)


def test_an_agent_that_keeps_the_loop_is_seen_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = threading.Event()
    breaking(monkeypatch, 2, lambda _: seen.wait(20) and [])
    monkeypatch.setattr(collect, "WATCH_GRACE", 0.1)

    async def scene(desk: Desk) -> None:
        note = desk.collector._watch._hung

        def hung(position: int, silent: Iterable[int]) -> None:
            note(position, silent)
            seen.set()

        desk.collector._watch._hung = hung
        await desk.ask("k", position=5)
        assert desk.hung == [(5, [2])]

    run(tmp_path, scene, timeout=1.0)


def test_versions_that_have_ended_are_forgotten(tmp_path: Path) -> None:
    """Main lives through every deploy: Faust would keep all agents there ever were, and with them their plans' work."""

    async def scene(desk: Desk) -> None:
        ended: list[weakref.ref[Any]] = []
        for _ in range(10):
            await desk.collector.set_versions(())
            await desk.collector.set_versions(versions(CONFIG))
            await desk.ask("k")
            for agent in desk.collector._agents.values():
                ended += [weakref.ref(agent.agent), weakref.ref(agent.compiled.evaluator)]
        await desk.collector.set_versions(())
        await asyncio.sleep(0.05)
        gc.collect()
        alive = [each for each in ended if each() is not None]
        assert len(alive) <= 2, "of the first agent, whose context what Faust starts with it keeps"

    run(tmp_path, scene)
