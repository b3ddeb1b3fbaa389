"""`syncline deploy` asks the merge, and gives it time (rule D1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from connector.cli import deploy
from connector.cli.planning import ConfigFile, read_config
from connector.deploy.plan import make_plan
from connector.settings import Settings
from tests.definitions.test_diff import LISTS, config
from topologies.catalog import Answer


def test_a_config_that_took_long_to_parse_is_waited_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def ask(_: Settings, kind: str, **fields: Any) -> Answer:
        asked.update(fields)
        return Answer("accepted", "", 7)

    monkeypatch.setattr(deploy, "ask", ask)
    plan = make_plan(config(lists=LISTS), active=(), base=3, same=False, sizes={}, counts={})
    file = ConfigFile("f", "text", config(lists=LISTS), seconds=5.0)
    assert deploy.request(Settings(Path("f"), "k", "r", "c", "p"), file, plan, cast(Any, None)) == 7
    assert (asked["base"], asked["within"]) == (3, 30.0)


def test_how_long_a_config_takes_to_parse_is_known(tmp_path: Path) -> None:
    path = tmp_path / "sync-config.yaml"
    path.write_text("bucket_definitions:\n  a:\n    data: [SELECT id FROM todos]\n")
    file = read_config(str(path), None)
    assert file is not None
    assert file.seconds > 0
