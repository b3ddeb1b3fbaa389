"""When a stream with a hole is asked to rewind: once per jump, not once per record behind it (rule M1)."""

from __future__ import annotations

from connector.merge.state import Evaluated

ASK_AGAIN = 10.0  # seconds after which a stream that still jumps is asked again


class Hole:
    """Of one stream, from its first record beyond a hole until one is taken again."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None
        self._asked = 0.0

    def seen(self, record: Evaluated, now: float) -> bool:
        """A record beyond the hole came; True where the stream is to be asked. `now`: any clock, seconds.

        A change record that does not go on from the last one is of a stream that has rewound, and jumps again.
        """
        position = (record["position"], record["part"])
        again = self._last is not None and record["replay"] is None and position <= self._last
        asked = self._last is None or again or now > self._asked + ASK_AGAIN
        self._last = position
        if asked:
            self._asked = now
        return asked

    def closed(self) -> None:
        """A record was taken."""
        self._last = None
