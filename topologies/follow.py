"""Follows the catalog and the commit records: what the merge has decided, as soon as it can be read."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from confluent_kafka import KafkaException

from connector.deploy.catalog import MAIN, Catalog, Tributary, Version
from connector.errors import Unavailable
from connector.settings import Settings
from schemas.codec import Codec
from topologies.catalog import Followed, follow_catalog
from topologies.schemas import Schemas
from topologies.topics import Topics

log = logging.getLogger(__name__)

Record = dict[str, Any]


def no_one() -> None:
    """Called where nobody listens."""


class Follower:
    """The newest catalog and the newest commit record, kept up to date by a thread of its own.

    The catalog is read before the commit: whoever sees a rewind announced in the one finds a position to rewind to in
    the other. `failed` is called when following has come to an end (the topics were deleted or trimmed).
    """

    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        *,
        changed: Callable[[], None] = no_one,
        failed: Callable[[], None] = no_one,
    ) -> None:
        self._settings = settings
        self._codec = codec
        self._changed = changed
        self._failed = failed
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow", daemon=True)
        self._catalogs: Followed | None = None
        self._commits: Followed | None = None
        self.catalog = Catalog()
        self.commit: Record | None = None

    def start(self) -> None:
        """Read both to their ends, then go on in the background. Waits for a first catalog."""
        self._catalogs = opened(lambda: follow_catalog(self._settings, self._codec), self._settings)
        while self.catalog.number == 0:
            record = self._catalogs.newest(0.5)
            self.catalog = Catalog.from_record(record) if record else self.catalog
        self._commits = opened(
            lambda: Followed(self._settings, self._codec, Topics(self._settings.app).checkpoints), self._settings
        )
        self.commit = self._commits.newest()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def wait_for(self, seen: Callable[[Catalog], bool], timeout: float = 1.0) -> bool:
        """True as soon as the catalog is as wanted, False when `timeout` seconds have passed."""
        deadline = time.monotonic() + timeout
        while not seen(self.catalog):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _follow(self) -> None:
        assert self._catalogs is not None
        assert self._commits is not None
        try:
            while not self._stopped.is_set():
                self._take(self._catalogs.newest(0.05))
                self.commit = self._commits.newest()
        except Exception:
            log.exception("the catalog cannot be followed any further")
            self._failed()
        finally:
            self._catalogs.close()
            self._commits.close()

    def _take(self, record: Mapping[str, Any] | None) -> None:
        if record is not None and record["number"] > self.catalog.number:
            self.catalog = Catalog.from_record(record)
            self._changed()


def opened(follow: Callable[[], Followed], settings: Settings) -> Followed:
    """Waits, for as long as it takes, until the topic can be read: a worker started first is no error."""
    warned = False
    while True:
        try:
            return follow()
        except (Unavailable, KafkaException) as error:
            if not warned:
                log.warning("waiting for the topics of %s at %s: %s", settings.app, settings.kafka, error)
            warned = True
            time.sleep(0.5)


def versions_of(catalog: Catalog, stream: str) -> tuple[Version, ...]:
    """The versions that a stream answers for: a tributary's own; main's are the exposed and the retained ones.

    Nobody is asked for a stopped one.
    """
    if stream == MAIN:
        return tuple(v for v in catalog.versions if v.state in ("exposed", "retained") and not v.stopped_at)
    tributary = catalog.tributary(stream)
    if tributary is not None and tributary.state == "taking_over" and tributary.overlays:
        return _as_shadows(catalog, tributary)
    wanted = tributary.versions if tributary is not None else ()
    return tuple(v for v in catalog.versions if v.version in wanted and not v.stopped_at)


def _as_shadows(catalog: Catalog, tributary: Tributary) -> tuple[Version, ...]:
    """Versions that were overlaid still go by their shadows' numbers in the tributary, whose set never changes."""
    shadows = {o.version: o.shadow for o in tributary.overlays}
    return tuple(
        replace(v, version=number)
        for v in catalog.versions
        if (number := shadows.get(v.version, v.version)) in tributary.versions and not v.stopped_at
    )


def stream_state(commit: Record | None, stream: str) -> Record | None:
    """How far the merge has taken the stream; None before its first record."""
    if commit is None:
        return None
    return next((s for s in commit["streams"] if s["stream"] == stream), None)


def has_begun(catalog: Catalog, stream: str) -> bool:
    """The stream may read: a queued tributary has no S0 yet (rule T5)."""
    tributary = catalog.tributary(stream)
    return stream == MAIN or (tributary is not None and tributary.state != "queued")


def has_ended(catalog: Catalog, stream: str) -> bool:
    """A tributary from which nothing more will be taken."""
    if stream == MAIN:
        return False
    tributary = catalog.tributary(stream)
    return tributary is None or tributary.state == "aligned"


def available(settings: Settings) -> Schemas:
    """The schemas, as soon as the broker has them. Waits for as long as it takes."""
    warned = False
    while True:
        try:
            return Schemas(settings)
        except (Unavailable, KafkaException) as error:
            if not warned:
                log.warning("waiting for the schemas of %s at %s: %s", settings.app, settings.kafka, error)
            warned = True
            time.sleep(0.5)
