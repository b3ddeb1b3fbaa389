"""Keeps a replay to its rate: `syncline deploy --max-rate`."""

from __future__ import annotations

from collections.abc import Callable


class Pace:
    """At most `rate` rows a second; 0: no limit. What a pause saved is not made up for."""

    def __init__(self, rate: int, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._due = 0.0

    def due(self, rows: int) -> float:
        """The moment, by the clock, from which on these rows may go."""
        due = max(self._due, self._clock())
        if self._rate:
            self._due = due + rows / self._rate
        return due
