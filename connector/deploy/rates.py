"""How fast the replays of the app's last deploys were and what a deploy takes besides: what a plan estimates by.

A verify replays everything and a repair compares it: they take another time a row. What a clock that was set says is
no duration.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from connector.deploy.catalog import Deployment

REPLAYS = 5  # the last ones count: rows, definitions and machine may have been others before
FEWEST_ROWS = 1000  # a smaller replay says nothing of the rate
GUESS = 30_000.0  # rows/s


@dataclass(frozen=True, slots=True)
class Rate:
    """Rows/s of a replay, seconds from the request to the switch besides, and whether either was measured here.

    `best` are the rows/s of a replay that nothing disturbs: no outage of before has a deploy refused.
    """

    rows_per_second: float = GUESS
    besides: float = 2.0
    measured: bool = False
    best: float = GUESS

    def limited(self, rows_per_second: int) -> Rate:
        """The same under `--max-rate`; 0: no limit."""
        if not rows_per_second:
            return self
        lower, best = min(self.rows_per_second, rows_per_second), min(self.best, rows_per_second)
        return Rate(lower, self.besides, self.measured, best)


def measured_rate(deployments: Sequence[Deployment]) -> Rate:
    """Of the last deploys whose replays ran at full speed; a guess where there was none.

    The median: a replay beside a dead broker is as long as that was away.
    """
    counted = [d for d in deployments if _is_measured(d)][-REPLAYS:]
    if not counted:
        return Rate()
    rates = [d.replayed_rows / d.replay_ms * 1000 for d in counted]
    others = [d.switched_at - d.requested_at - d.replay_ms for d in counted if d.switched_at and not _has_waited(d)]
    durations = [ms for ms in others if ms >= 0]
    besides = median(durations) / 1000 if durations else Rate().besides
    best = max(rates) if len(rates) == REPLAYS else max(*rates, GUESS)
    return Rate(median(rates), besides, measured=True, best=best)


def _is_measured(deployment: Deployment) -> bool:
    full = deployment.kind == "deploy" and not _estimate(deployment).get("max_rate")
    return full and deployment.replay_ms > 0 and deployment.replayed_rows >= FEWEST_ROWS


def _has_waited(deployment: Deployment) -> bool:
    """For a table to be complete: the initial snapshot, or one that was captured for it."""
    return _estimate(deployment).get("source_seconds") is not None


def _estimate(deployment: Deployment) -> dict[str, Any]:
    return dict(json.loads(deployment.estimate)) if deployment.estimate else {}
