"""What main's next record waits for, once it has waited for long enough to be worth a word (rule M6)."""

from __future__ import annotations

PATIENCE = 1.0  # seconds: during a take-over main waits a moment for its tributary, again and again


class Held:
    """The streams that hold main up, and since when each has done so at one position."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, int], float] = {}

    def by(self, streams: frozenset[str], position: int, now: float) -> None:
        """Main waits for exactly these at this position now; `now`: any clock, seconds."""
        self._since = {(stream, position): self._since.get((stream, position), now) for stream in streams}

    def for_long(self, now: float) -> frozenset[str]:
        """Those that are worth a word."""
        return frozenset(stream for (stream, _), since in self._since.items() if now >= since + PATIENCE)
