"""Keys that a URL publishes: read again as they grow old, and kept for a while when the URL is away.

When to ask is decided by `KeySet`, from times that are passed in; `PublishedKeys` asks, one request at a time.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace

import httpx
import orjson

from connector.sync.jwk import Key, published_keys

OLD_AFTER = 300.0  # seconds until keys are read again, beside their use
GONE_AFTER = 3_600.0  # seconds until keys that could not be read again are no longer used
AGAIN_AFTER = 10.0  # seconds from one request to the next, whatever tokens strangers send
PATIENCE = 3.0  # seconds that a client waits for keys
TIMEOUT = 10.0  # seconds for one request
MAX_BYTES = 1024 * 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeySet:
    """What is known of a URL's keys."""

    keys: tuple[Key, ...] = ()
    read: float | None = None  # when the keys were read
    asked: float | None = None  # when they were last asked for
    failed: bool = False  # that last time

    def usable(self, now: float) -> tuple[Key, ...]:
        """The keys, while they are young enough."""
        return self.keys if _within(self.read, now, GONE_AFTER) else ()

    def are_away(self, now: float) -> bool:
        """Whether there may be keys that are not known."""
        return self.failed or not _within(self.read, now, GONE_AFTER)

    def is_due(self, now: float) -> bool:
        """Whether to read them again beside their use."""
        return self.may_ask(now) and (self.failed or not _within(self.read, now, OLD_AFTER))

    def may_ask(self, now: float) -> bool:
        """Whether the last request is long enough ago."""
        return not _within(self.asked, now, AGAIN_AFTER)


def _within(since: float | None, now: float, seconds: float) -> bool:
    """In either direction: a clock that was set back must not make anybody wait long."""
    return since is not None and abs(now - since) < seconds


class PublishedKeys:
    """The keys of one URL, in one event loop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._known = KeySet()
        self._asking: asyncio.Task[None] | None = None
        self._client: httpx.AsyncClient | None = None

    def are_away(self, now: float) -> bool:
        """Whether there may be keys that are not known: the last reading failed, or there was none."""
        return self._known.are_away(now)

    async def keys(self, now: float) -> tuple[Key, ...]:
        """The keys to try; waits for them only where there are none."""
        if self._known.is_due(now):
            self._ask(now)
        if not self._known.usable(now):
            await self._wait()
        return self._known.usable(now)

    async def newer(self, now: float) -> tuple[Key, ...]:
        """The keys for a token that none of `keys` has signed: read again, unless they just were."""
        if self._known.may_ask(now):
            self._ask(now)
        await self._wait()
        return self._known.usable(now)

    async def close(self) -> None:
        """Let go of a request under way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])
        if self._client is not None:
            await self._client.aclose()

    def _ask(self, now: float) -> None:
        if self._asking is None:
            self._known = replace(self._known, asked=now)
            self._asking = asyncio.create_task(self._read(now))

    async def _wait(self) -> None:
        if self._asking is not None:
            await asyncio.wait([self._asking], timeout=PATIENCE)

    async def _read(self, now: float) -> None:
        try:
            keys = published_keys(orjson.loads(await self._fetched()))
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
            self._known = replace(self._known, failed=True)
            where = self._url.partition("?")[0]  # the rest may be a secret
            log.error("keys of clients' tokens cannot be read from %s: %s", where, error or type(error).__name__)
        else:
            self._known = replace(self._known, keys=keys, read=now, failed=False)
        finally:
            self._asking = None

    async def _fetched(self) -> bytes:
        """The document: no redirect is followed, nothing is unpacked, and it has an end."""
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False, trust_env=False)
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with asyncio.timeout(TIMEOUT), self._client.stream("GET", self._url, headers=headers) as response:
            if response.status_code != httpx.codes.OK:
                raise ValueError(f"status {response.status_code}")
            body = bytearray()
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > MAX_BYTES:
                    raise ValueError(f"more than {MAX_BYTES:,} bytes")
        return bytes(body)
