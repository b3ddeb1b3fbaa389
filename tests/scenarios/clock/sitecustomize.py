"""On the PYTHONPATH of workers and commands: their wall clock is off by the seconds in the file SCENARIO_CLOCK."""

import os
import time

_right = time.time
_file = os.environ.get("SCENARIO_CLOCK", "")


def _told() -> float:
    try:
        with open(_file) as file:
            return _right() + float(file.read())
    except FileNotFoundError:
        return _right()


if _file:
    time.time = _told
