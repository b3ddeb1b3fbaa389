"""The collector: hands a batch to the agent of every version and waits for all their answers (rule T2).

An agent is a Faust agent on a channel in memory, so that versions come and go between two batches without a
rebalance and without a new process (rule D5).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import faust
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from connector.definitions.render import Renderings
from connector.deploy.catalog import Version
from connector.evaluation import Answer, CompiledVersion, Decoders, TableRows, compile_version, evaluate, rejecting
from topologies.stuck import Stuck

log = logging.getLogger(__name__)

ANSWER_TIMEOUT = 30.0  # seconds
WATCH_GRACE = 5.0  # seconds after which a loop that fires no timeout counts as kept by an agent
STRETCH = 0.02  # seconds that an agent stays on the loop before others may run


class SteadyChannel(faust.Channel[Any]):
    """A channel that a rebalance of the consumer neither holds up nor empties: its work is not the consumer's."""

    @property
    def queue(self) -> ThrowableQueue[Any]:
        if self._queue is None:
            self._queue = ThrowableQueue(flow_control=FlowControlEvent(initially_suspended=False))
        return self._queue

    async def hand(self, work: Work) -> None:
        """Give the agent its next work."""
        await self.put(cast(Any, work))  # a channel takes any value, its type says events only


class Work(NamedTuple):
    """One batch's rows, and where its answers are awaited."""

    rows: Sequence[TableRows]
    answers: Mapping[int, asyncio.Future[Answer]]


class Agent(NamedTuple):
    """A version's agent and the channel it listens on."""

    made_of: tuple[str, str]  # plan and evaluation
    compiled: CompiledVersion
    agent: faust.types.AgentT[Any]
    channel: SteadyChannel


class Collector:
    """The agents of one stream.

    `hung` is called with the position and the versions that gave no answer in `timeout` seconds, from any thread; it
    must end the process, since what those agents will still do is unknown.
    """

    def __init__(
        self,
        app: faust.App,
        decoders: Decoders,
        stuck: Stuck,
        hung: Callable[[int, Iterable[int]], None],
        *,
        timeout: float = ANSWER_TIMEOUT,
    ) -> None:
        self._app = app
        self._decoders = decoders
        self._stuck = stuck
        self._hung = hung
        self._timeout = timeout
        self._agents: dict[int, Agent] = {}
        self._renderings = Renderings()
        self._watch = Watch(timeout + WATCH_GRACE, hung)

    @property
    def compiled(self) -> list[CompiledVersion]:
        """The versions that answer now, in their order."""
        return [self._agents[version].compiled for version in sorted(self._agents)]

    def reads(self, table: str) -> bool:
        """Whether any version that answers now reads the table."""
        return any(agent.compiled.evaluator.reads(table) for agent in self._agents.values())

    async def set_versions(self, versions: Iterable[Version]) -> None:
        """Start and end agents so that exactly these versions answer the next batch."""
        wanted = {v.version: v for v in versions}
        for number, agent in list(self._agents.items()):
            if number not in wanted or _made_of(wanted[number]) != agent.made_of:  # an overlay gives it others
                await self._end(self._agents.pop(number))
        for number in wanted.keys() - self._agents.keys():
            await self._start(wanted[number])

    async def ask(self, position: int, rows: Sequence[TableRows]) -> list[Answer]:
        """The answers of all versions to one batch; the set of them is fixed at the call."""
        asked = dict(self._agents)
        given_up = self._stuck.given_up(position) & asked.keys()
        loop = asyncio.get_running_loop()
        work = Work(rows, {v: loop.create_future() for v in asked if v not in given_up})
        self._watch.begin(position, work.answers)
        for version in work.answers:
            await asked[version].channel.hand(work)
        if work.answers:
            await asyncio.wait(work.answers.values(), timeout=self._timeout)
        silent = [version for version, answer in work.answers.items() if not answer.done()]
        if silent:
            self._hung(position, silent)
        self._watch.end()
        answers = {version: answer.result() for version, answer in work.answers.items()}
        for version in given_up:
            log.error("version %d is not asked at position %d, where it has hung before", version, position)
            answers[version] = rejecting(asked[version].compiled, rows, "evaluation did not end")
            answers[version].hung = True
        return [answers[version] for version in sorted(answers)]

    async def _start(self, version: Version) -> None:
        compiled = compile_version(version.version, version.plan, version.evaluation, self._renderings)
        if compiled.unable:
            log.error("version %d cannot be evaluated as it was deployed: %s", version.version, compiled.unable)
        channel = SteadyChannel(self._app)
        agent = self._app.agent(channel, name=f"version-{version.version}")(self._answering(compiled))
        self._agents[version.version] = Agent(_made_of(version), compiled, agent, channel)
        await agent.start()
        log.info("version %d (%s, %s) answers", version.version, version.definition, version.label)

    async def _end(self, agent: Agent) -> None:
        """Faust has no way to take an agent back; its two trees of services would keep it, and all that it holds."""
        del self._app.agents[agent.agent.name]
        await agent.agent.stop()
        self._app.topics.beacon.discard(agent.agent)
        agent.agent.beacon.detach(self._app.agents.beacon)
        log.info("version %d has ended", agent.compiled.version)

    def _answering(self, compiled: CompiledVersion) -> Callable[[AsyncIterable[Work]], Awaitable[None]]:
        async def answer(works: AsyncIterable[Work]) -> None:
            async for work in works:
                try:
                    found = await self._answer(compiled, work.rows)
                except Exception as error:  # an exception is an answer: Faust would lose the event
                    log.exception("version %d could not answer", compiled.version)
                    found = rejecting(compiled, work.rows, f"evaluation failed: {error!r}")
                work.answers[compiled.version].set_result(found)

        return answer

    async def _answer(self, compiled: CompiledVersion, rows: Sequence[TableRows]) -> Answer:
        steps = evaluate(compiled, rows, self._decoders)
        since = time.monotonic()
        while True:
            try:
                self._watch.running = compiled.version
                next(steps)
            except StopIteration as ended:
                return cast(Answer, ended.value)
            if time.monotonic() - since > STRETCH:
                await asyncio.sleep(0)
                since = time.monotonic()


def _made_of(version: Version) -> tuple[str, str]:
    return version.plan, version.evaluation


class Watch:
    """Sees from another thread that an agent keeps the loop itself, where no timeout can fire."""

    def __init__(self, timeout: float, hung: Callable[[int, Iterable[int]], None]) -> None:
        self._timeout = timeout
        self._hung = hung
        self._since: float | None = None
        self._position = 0
        self._answers: Mapping[int, asyncio.Future[Answer]] = {}
        self.running = 0
        threading.Thread(target=self._look, name="watch", daemon=True).start()

    def begin(self, position: int, answers: Mapping[int, asyncio.Future[Answer]]) -> None:
        self._position, self._answers, self._since = position, answers, time.monotonic()

    def end(self) -> None:
        self._since = None

    def _look(self) -> None:
        while True:
            time.sleep(self._timeout / 10)
            since = self._since
            if since is not None and time.monotonic() - since > self._timeout:
                self._hung(self._position, [self.running])
                return
