"""What `syncline gc` waits for."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from connector.cli.gc import await_gone
from connector.errors import Unavailable
from connector.merge.catalog import Catalog
from tests.builders import catalog, deployment, version
from tests.cli.test_verify import News

KEPT = catalog(version(1, state="retained"), version(2), deployments=(deployment(1, [1], state="retained"),))
GONE = replace(KEPT, number=3, versions=KEPT.versions[1:])


def waited(*catalogs: Catalog, patience: float = 5.0) -> Catalog:
    news = News(*catalogs)
    await_gone(news, time.monotonic() + patience)  # type: ignore[arg-type]
    return news.catalog


def test_another_change_of_the_catalog_ends_no_wait() -> None:
    assert waited(KEPT, replace(KEPT, number=2), GONE) is GONE


def test_nothing_waits_for_what_a_pending_deploy_brings_back() -> None:
    """The merge leaves it, and so writes no catalog."""
    pending = deployment(3, [1], state="catching_up")
    coming_back = replace(KEPT, deployments=(*KEPT.deployments, pending))
    assert waited(coming_back) is coming_back


def test_what_does_not_go_is_named_and_nobody_is_blamed() -> None:
    with pytest.raises(Unavailable, match="versions 1 are still in the catalog"):
        waited(KEPT, patience=0.0)
