"""How fast the app's last replays were and what a deploy takes besides: what a plan estimates by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from connector.deploy.catalog import Deployment

REPLAYS = 5  # the last ones count: rows, definitions and machine may have been others before
FEWEST_ROWS = 1000  # a smaller replay says nothing of the rate


@dataclass(frozen=True, slots=True)
class Rate:
    """Rows/s of a replay, seconds from the request to the switch besides, and whether either was measured here."""

    rows_per_second: float = 30_000.0
    besides: float = 2.0
    measured: bool = False

    def limited(self, rows_per_second: int) -> Rate:
        """The same under `--max-rate`; 0: no limit."""
        lower = min(self.rows_per_second, rows_per_second) if rows_per_second else self.rows_per_second
        return Rate(lower, self.besides, self.measured)


def measured_rate(deployments: Sequence[Deployment]) -> Rate:
    """Of the last replays that ran at full speed; a guess where there was none."""
    counted = [d for d in deployments if d.replay_ms and d.replayed_rows >= FEWEST_ROWS and not _limited(d)][-REPLAYS:]
    if not counted:
        return Rate()
    rows, ms = sum(d.replayed_rows for d in counted), sum(d.replay_ms for d in counted)
    others = [d.switched_at - d.requested_at - d.replay_ms for d in counted if d.switched_at]
    besides = max(0, median(others)) / 1000 if others else Rate().besides
    return Rate(rows / ms * 1000, besides, measured=True)


def _limited(deployment: Deployment) -> bool:
    return bool(deployment.estimate and json.loads(deployment.estimate).get("max_rate"))
