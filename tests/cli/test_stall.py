"""A command that waits says so where nobody seems to be at work, and goes on waiting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from connector.cli import stall
from connector.cli.deploy import follow
from connector.cli.stall import SILENCE, Stall
from connector.merge.catalog import Catalog
from tests.builders import catalog, deployment, tributary, version
from tests.cli.test_verify import News

PENDING = catalog(
    version(1),
    version(2, state="pending", stream="t2"),
    deployments=(deployment(1, [1]), deployment(2, [1, 2], state="replaying")),
    tributaries=(tributary(2, [2]),),
)
ACTIVE = replace(PENDING, deployments=(deployment(2, [1, 2]),))


def test_it_is_said_once_a_stall_and_unsaid_when_something_moves() -> None:
    now = [0.0]
    seen = Stall(lambda: now[0])
    assert seen.line(None) is None
    now[0] = SILENCE + 1
    assert seen.line(None) == "nothing was committed for 11 s: is `syncline run` running, merge and stream?"
    assert seen.line({"number": 4}) is None
    now[0] += SILENCE - 1
    assert seen.line({"number": 4}) is None
    now[0] += 1
    assert seen.line({"number": 4}) is not None


class Workers(News):
    """They are away while the catalog stays as it is."""

    commit: dict[str, Any] | None = None
    streams: dict[str, Any]


def following(monkeypatch: pytest.MonkeyPatch, *catalogs: Catalog, show: Any) -> None:
    monkeypatch.setattr(stall, "SILENCE", 0.0)
    workers = Workers(*catalogs)
    workers.commit = {"number": 1, "catalog": 9, "streams": [], "written_at": 0}
    follow(workers, 2, show)  # type: ignore[arg-type]


def test_a_deploy_that_nobody_works_on_says_so_and_waits_on(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[str]] = []
    following(monkeypatch, PENDING, PENDING, PENDING, ACTIVE, show=lambda lines: drawn.append(list(lines)))
    assert len(drawn) == 3
    assert all("is `syncline run` running" in lines[-1] and "  waits: " in lines[-1] for lines in drawn)


def test_with_json_it_is_said_once_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    following(monkeypatch, PENDING, PENDING, PENDING, ACTIVE, show=None)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("is `syncline run` running") == 1
