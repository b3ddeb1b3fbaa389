"""A question to another process, asked again and again by a background thread, so that it holds up no row."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from connector.errors import Unavailable

log = logging.getLogger(__name__)

_T = TypeVar("_T")


class Question(Generic[_T]):
    """A question asked again and again in the background, and its newest answer."""

    def __init__(self, pool: ThreadPoolExecutor, ask: Callable[[], _T]) -> None:
        self._pool = pool
        self._ask = ask
        self._future: Future[_T] | None = None
        self._asked_at = 0.0
        self._told = False

    def answer(self, every: float, now: float) -> tuple[_T | None, float]:
        """A new answer, once, and when it was asked for; None while there is none. Asks every so many seconds."""
        found, asked_at = None, self._asked_at
        if self._future is not None and self._future.done():
            found = self._result(self._future)
            self._future = None
        if self._future is None and now - self._asked_at >= every:
            self._asked_at = now
            self._future = self._pool.submit(self._ask)
        return found, asked_at

    def _result(self, future: Future[_T]) -> _T | None:
        try:
            result = future.result()
        except Unavailable as error:
            if not self._told:
                log.warning("%s (%s); asking on", error.message, error.where)
            self._told = True
            return None
        self._told = False
        return result
