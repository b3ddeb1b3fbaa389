"""The digits behind the seconds, per source and as the options want them: cut, never rounded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from connector.definitions.model import Options

_DIGITS = {"seconds": 0, "milliseconds": 3, "microseconds": 6, "nanoseconds": 9}


@dataclass(frozen=True, slots=True)
class Resolution:
    """How finely a source tells time, in digits: at most, where no option says otherwise, and without ISO timestamps.

    `old` None: as many as are printed, without zeros at the end.
    """

    most: int
    usual: int
    old: int | None


POSTGRES = Resolution(6, 6, None)
MYSQL = Resolution(6, 3, 3)
MONGO = Resolution(3, 3, 3)
SQL_SERVER = Resolution(9, 9, 9)


def fraction_writer(options: Options, resolution: Resolution) -> Callable[[str], str]:
    """Digits of any number → what stands behind the seconds, with its point."""
    length = _length(options, resolution)
    if length is None:
        return lambda digits: _shortest(digits[: resolution.most])
    return (lambda digits: f".{digits[:length].ljust(length, '0')}") if length else (lambda digits: "")


def _length(options: Options, resolution: Resolution) -> int | None:
    if not options.timestamps_iso8601:
        return resolution.old
    wanted = options.timestamp_max_precision
    return min(_DIGITS[wanted], resolution.most) if wanted else resolution.usual


def _shortest(digits: str) -> str:
    kept = digits.rstrip("0")
    return f".{kept}" if kept else ""
