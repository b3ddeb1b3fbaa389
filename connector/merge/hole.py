"""When a stream with a hole is asked to rewind: once per jump, not once per record behind it (rule M1)."""

from __future__ import annotations

from connector.merge.state import Evaluated

ASK_AGAIN = 10.0  # seconds after which a stream that still jumps is asked again

Where = tuple[str, int] | None  # a partition of the replay, or the changes


class Hole:
    """Of one stream, from its first record beyond a hole until one is taken again, in each partition of its replay and
    in its changes. One rewind mends them all."""

    def __init__(self) -> None:
        self._last: dict[Where, tuple[int, int]] = {}
        self._asked = 0.0

    def seen(self, record: Evaluated, now: float) -> bool:
        """A record beyond the hole came; True where the stream is to be asked. `now`: any clock, seconds.

        A record that does not go on from the last one there is of a stream that has rewound, and jumps again.
        """
        where, place = _place(record)
        again = where in self._last and place <= self._last[where]
        asked = not self._last or again or now > self._asked + ASK_AGAIN
        self._last[where] = place
        if asked:
            self._asked = now
        return asked

    def closed(self, record: Evaluated) -> None:
        """This record was taken."""
        self._last.pop(_place(record)[0], None)


def _place(record: Evaluated) -> tuple[Where, tuple[int, int]]:
    scan = record["replay"]
    if scan is None:
        return None, (record["position"], record["part"])
    return (scan["table"], scan["partition"]), (scan["start"], record["part"])
