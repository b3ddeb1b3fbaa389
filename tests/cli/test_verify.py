"""What `verify` says, and how long it goes on."""

from __future__ import annotations

from typing import Any

import pytest

from connector.cli.comparing import Verified
from connector.cli.verify_text import as_json, lines
from connector.cli.verifying import KEEP, Kept, check_goes_on
from connector.errors import RequestRefused, Unavailable
from connector.merge.catalog import Catalog
from tests.builders import catalog, deployment, version


def told(left: int) -> str:
    return lines(Verified(position=4, parts=1, different=2, repaired=5, left=left), 1.0)[-1]


def test_a_repair_counts_only_where_all_is_equal_since() -> None:
    assert told(0) == "repaired at position 5, and equal since"
    assert "1 rows still differ" in told(1)
    assert "syncline gc" in told(1)


def test_nothing_compared_is_not_equal() -> None:
    """All that was left stopped while it was rebuilt."""
    nothing = Verified(position=4, stopped=("by_user",))
    assert not nothing.equal
    assert as_json(nothing, 1.0)["equal"] is False
    assert lines(nothing, 1.0) == [
        "nothing was compared: no active part goes on",
        "left out, being stopped: by_user",
    ]


class News:
    """The catalog as it comes; same interface as topologies.observe.Watch."""

    def __init__(self, *catalogs: Catalog) -> None:
        self.catalog = catalogs[0]
        self._coming = list(catalogs[1:])

    def poll(self, timeout: float) -> None:
        if self._coming:
            self.catalog = self._coming.pop(0)


def verifying(**changes: Any) -> Catalog:
    fields: dict[str, Any] = {"kind": "verify", "state": "aligned"}
    verify = deployment(2, [], **fields | changes)
    return catalog(version(1), deployments=(deployment(1, [1]), verify), next_generation=3)


def test_a_verify_that_was_ended_says_what_has_ended_it() -> None:
    still = Kept(News(verifying(), verifying(state="dropped", reason="a deploy came")), 2, lambda: None)  # type: ignore[arg-type]
    with pytest.raises(RequestRefused, match="generation 2, was ended as dropped: a deploy came"):
        still()


def test_one_that_the_catalog_has_forgotten_was_ended_too_but_not_one_it_does_not_know_yet() -> None:
    forgotten = catalog(version(1), next_generation=9)
    with pytest.raises(RequestRefused, match="was ended"):
        check_goes_on(News(forgotten), 2)  # type: ignore[arg-type]
    check_goes_on(News(catalog(version(1), next_generation=2)), 2)  # type: ignore[arg-type]


def test_it_is_kept_as_long_as_it_is_compared() -> None:
    """Millions of rows take longer than the merge waits for somebody to come back for a verify."""
    now, asked = [0.0], []

    def keep() -> None:
        asked.append(now[0])
        if len(asked) == 2:
            raise Unavailable("the merge starts again")

    still = Kept(News(verifying()), 2, keep, lambda: now[0])  # type: ignore[arg-type]
    for second in range(3 * int(KEEP) + 10):
        now[0] = float(second)
        still()
        still()
    assert asked == [KEEP, 2 * KEEP, 3 * KEEP]
