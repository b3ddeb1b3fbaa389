"""The fixtures of tests on real servers: one stack a session, one isolated source a test."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from connector.errors import SynclineError
from connector.local.stack import Stack
from tests import containers, evidence, stacks, worlds

# A property is no clock: beside two stacks on two cores any example can take long.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack | containers.ContainerStack]:
    """The session's stack, in containers where a Docker engine answers. Tests may break it; `source` mends it."""
    try:
        with stacks.running() as running:
            yield running
    except SynclineError as error:
        pytest.fail(error.report())


@pytest.fixture(scope="session")
def janitor(stack: Stack) -> Iterator[worlds.Janitor]:
    """Drops the sources of ended tests; the session ends once all are gone."""
    janitor = worlds.Janitor()
    yield janitor
    stack.heal()
    janitor.finish()


@pytest.fixture
def source(stack: Stack, janitor: worlds.Janitor, tmp_path: Path) -> Iterator[worlds.Source]:
    """A database of its own, with a settings file and names that no other test has."""
    world = worlds.create(stack.heal(), tmp_path)
    yield world
    janitor.drop(world, stack.heal())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure on real servers comes with what they said: nothing of it is there when somebody reads the failure."""
    report = yield
    fixtures = getattr(item, "funcargs", {})
    if report.when == "call" and report.failed and isinstance(fixtures.get("source"), worlds.Source):
        report.sections.append(("servers", evidence.of(fixtures["source"], fixtures["stack"])))
    return report
