"""`--watch`: what a command shows, drawn again every second."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from connector.cli.progress_text import Screen
from connector.errors import Unavailable

Seen = dict[str, Any]


def watch(
    look: Callable[[], Seen],
    lines: Callable[[Seen], Iterable[str]],
    summary: Callable[[Seen], str],
    *,
    as_json: bool,
) -> NoReturn:
    """Look again and again, also while a server is away, until somebody has seen enough."""
    screen = Screen(sys.stdout)
    while True:
        try:
            seen = look()
        except Unavailable as error:
            if as_json:
                print(error.report(), file=sys.stderr, flush=True)
            else:
                screen.draw(error.report().splitlines())
        else:
            if as_json:
                print(json.dumps(seen), flush=True)
            else:
                screen.draw(list(lines(seen)) if sys.stdout.isatty() else [summary(seen)])
        time.sleep(1)
