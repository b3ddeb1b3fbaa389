"""Twenty real clients at two nodes under a writer, while definitions change at random and nodes are killed."""

from __future__ import annotations

import random
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from connector.sync import development
from examples.todo.client.sdk import Client
from examples.todo.traffic import Writer
from tests.clients.test_sdk import FIRST, SCHEMA, SECOND, pipeline, settled, under, user_id
from tests.integration.nodes import another_node
from tests.integration.pipeline import Pipeline, eventually

__all__ = ["pipeline"]  # the fixture
pytestmark = [pytest.mark.stack, pytest.mark.soak]
CLIENTS = 20
ROUNDS = 8
SHORT = 25  # seconds of a token


def variants(folder: Path) -> list[Path]:
    """Sync configs that differ in columns, in a definition that is there or not, and in priorities."""
    first, second = FIRST.read_text(), SECOND.read_text()
    texts = {
        "without-comments": first[: first.index("  # The talk")] + first[first.index("  # What is assigned") :],
        "open-lists": second.replace("AND archived = false", ""),
        "other-priority": first.replace("priority: 2", "priority: 1"),
    }
    files = [FIRST, SECOND]
    for name, text in texts.items():
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(text)
    return files


def test_twenty_clients_under_a_writer_with_random_deploys(source: Any, pipeline: Pipeline, tmp_path: Path) -> None:
    chance = random.Random(20)
    configs = variants(tmp_path)
    with ExitStack() as opened:
        urls = [pipeline.status()["endpoint"], opened.enter_context(another_node(pipeline.settings, tmp_path))]
        writer = Writer(source.settings.postgres)
        writer.start()
        clients = {
            user: opened.enter_context(
                Client(
                    urls[user % 2],
                    _token(pipeline, user, 3600),
                    SCHEMA,
                    tmp_path / f"app-{user}",
                    retry="200",
                    timeout="300",
                )
            )
            for user in range(1, CLIENTS + 1)
        }
        active = FIRST
        for number in range(ROUNDS):
            active = chance.choice([config for config in configs if config != active])
            pipeline.ok("deploy", str(active))
            if number % 3 == 1:
                pipeline.send("serve", signal.SIGKILL)
        for app in clients.values():
            app.first_sync()
        assert writer.finish() > 0
        rows = under(source, active)
        for user, app in clients.items():
            settled(app, rows, user)


def test_a_token_is_renewed_before_it_expires(source: Any, pipeline: Pipeline, tmp_path: Path) -> None:
    endpoint = pipeline.status()["endpoint"]
    with Client(endpoint, _token(pipeline, 2, SHORT), SCHEMA, tmp_path / "app", retry="100") as app:
        app.first_sync()
        app.use_token(_token(pipeline, 2, 3600))
        eventually(lambda: app.received()["requests"] > 1, within=3 * SHORT, what="the client comes with its new token")
        source.sql("UPDATE todos SET title = 'after' WHERE created_by = %s", user_id(2))
        settled(app, under(source, FIRST), 2)


def _token(pipeline: Pipeline, user: int, seconds: int) -> str:
    return development.issue(pipeline.settings, {"sub": user_id(user)}, now=time.time(), seconds=seconds)
