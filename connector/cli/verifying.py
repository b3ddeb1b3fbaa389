"""One verify from its request to its end: kept while it is compared, and given up where something has ended it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from confluent_kafka import KafkaException

from connector.cli.comparing import Verified, compare
from connector.cli.stall import Stall
from connector.deploy.catalog import Deployment
from connector.errors import RequestRefused, SynclineError, Unavailable
from connector.settings import Settings
from topologies.catalog import ask
from topologies.observe import Watch

LOOK = 1.0  # seconds between two looks at whether it has been ended
KEEP = 15.0  # seconds between two requests to keep it; the merge waits for two minutes
NEWS = 5.0  # seconds in which the catalog says why its topics are gone


def rebuilt_and_compared(known: Settings, watch: Watch) -> Verified:
    """Raises RequestRefused where a deploy, a person or time has ended it first."""
    generation = ask(known, "verify", base=watch.catalog.generation).generation
    kept = Kept(watch, generation, lambda: ask(known, "keep", generation=generation))
    try:
        return compare(known, aligned(watch, generation), watch.catalog, kept)
    except (SynclineError, KafkaException):
        _await_news(watch, generation)
        raise
    finally:
        with suppress(SynclineError, KafkaException):  # it goes by itself then
            ask(known, "drop", generation=generation)


def aligned(watch: Watch, generation: int) -> Deployment:
    """Wait until the rebuild stands at the same boundary as the live versions."""
    stall = Stall()
    while True:
        deployment = watch.catalog.deployment(generation)
        if deployment is not None and deployment.state == "aligned":
            return deployment
        check_goes_on(watch, generation)
        stall.tell(watch.commit)
        watch.poll(0.2)


def check_goes_on(watch: Watch, generation: int) -> None:
    """Raises RequestRefused where the verify is over, with what has ended it."""
    deployment, newest = watch.catalog.deployment(generation), watch.catalog.next_generation
    if deployment is None and newest <= generation:
        return  # its first catalog is still to come
    if deployment is None or deployment.over:
        why = f" as {deployment.state}: {deployment.reason}" if deployment is not None else ""
        raise RequestRefused(
            f"this verify, generation {generation}, was ended{why}",
            hint="nothing was found out; run it again when that is over",
        )


def _await_news(watch: Watch, generation: int) -> None:
    """What failed may have failed since the verify was ended: then that is what is to be told."""
    deadline = time.monotonic() + NEWS
    while time.monotonic() < deadline:
        check_goes_on(watch, generation)
        with suppress(KafkaException):
            watch.poll(0.2)


class Kept:
    """To be called all the while: looks now and then whether the verify goes on, and has the merge keep it."""

    def __init__(
        self, watch: Watch, generation: int, keep: Callable[[], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._watch = watch
        self._generation = generation
        self._ask_to_keep = keep
        self._clock = clock
        self._look = 0.0
        self._keep = clock() + KEEP

    def __call__(self) -> None:
        """Raises RequestRefused where the verify has been ended."""
        now = self._clock()
        if now < self._look:
            return
        self._look = now + LOOK
        self._watch.poll(0.0)
        check_goes_on(self._watch, self._generation)
        if now >= self._keep:
            self._keep = now + KEEP
            with suppress(Unavailable):  # the merge may be starting again
                self._ask_to_keep()
