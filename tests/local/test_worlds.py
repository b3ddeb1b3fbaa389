"""The fixtures themselves: a source is isolated, and is mended after a test that broke the stack."""

from __future__ import annotations

import httpx
import pytest

from connector.local.stack import Stack
from tests.worlds import Source

pytestmark = pytest.mark.stack


def test_source_has_a_database_of_its_own(stack: Stack, source: Source) -> None:
    source.sql("CREATE TABLE todos (id int PRIMARY KEY); INSERT INTO todos VALUES (1), (2)")
    assert source.sql("SELECT id FROM todos ORDER BY id") == [(1,), (2,)]
    assert source.sql("SELECT current_database()") == [(source.settings.app,)]


def test_a_killed_broker_is_back_for_the_next_test(stack: Stack, source: Source) -> None:
    stack.kill("kafka")
    stack.stop("registry")
    health = {part.name: part.health for part in stack.status()}
    assert health == {"postgres": "ready", "kafka": "died", "registry": "not ready", "connect": health["connect"]}
    stack.heal()
    assert {part.health for part in stack.status()} == {"ready"}
    assert httpx.get(f"{source.settings.registry}/subjects", trust_env=False).status_code == 200
