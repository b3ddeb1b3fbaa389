"""The requests of an app, one after the other; the sync config of one is parsed beside the merge's loop (rule D1).

A large config takes seconds to parse, and checkpoints go on meanwhile. Whatever is asked after it waits for it. A crash
loses nothing: the request's offset is committed with its answer.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace

from confluent_kafka import TopicPartition

from connector.definitions.check import check
from connector.definitions.model import Checked
from connector.deploy.decision import Decision, Moment, Request, arrived
from connector.deploy.requests import decide, reads_config
from connector.merge.catalog import Catalog
from connector.settings import Settings
from schemas.codec import Codec
from topologies import kafka
from topologies.evaluated import next_message
from topologies.topics import Topics

log = logging.getLogger("merge")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request and the offset after it."""

    request: Request
    next_offset: int


class Inbox:
    """Reads from `offset` on; the next request is looked at until it is decided."""

    def __init__(self, settings: Settings, codec: Codec, offset: int) -> None:
        self._codec = codec
        self._topic = Topics(settings.app).requests
        self._reader = kafka.follower(settings)
        low, _ = kafka.watermarks(self._reader, self._topic)
        self._reader.assign([TopicPartition(self._topic, 0, max(low, offset))])
        self._next: Asked | None = None
        self._parsing = Parsing()

    def decided(self, catalog: Catalog, moment: Moment) -> tuple[Asked, Decision] | None:
        """The next request and how it is decided; None where none has come, or where its config is being parsed."""
        asked = self._next = self._next or self._read()
        if asked is None:
            return None
        if reads_config(catalog, asked.request, moment):
            checked = self._parsing.checked(asked.request["config"], asked.request["path"])
            if checked is None:
                return None
            moment = replace(moment, checked=checked)
        self._next = None
        decision = decide(catalog, asked.request, moment)
        log.info("%s: %s %s", asked.request["kind"], decision.outcome, decision.reason)
        return asked, decision

    def _read(self) -> Asked | None:
        while (message := next_message(self._reader, self._topic, 0.0)) is not None:
            said = self._codec.decode(message.value() or b"")
            if "kind" in said:  # else an answer
                return Asked(arrived(said, message.timestamp()[1]), (message.offset() or 0) + 1)
        return None

    def close(self) -> None:
        self._reader.close()


class Parsing:
    """One sync config at a time, in a thread; what was found in the last one is kept, so that the same one asked again
    is not parsed again."""

    def __init__(self) -> None:
        self._of: tuple[str, str] | None = None
        self._found: Future[Checked] = Future()

    def checked(self, text: str, path: str) -> Checked | None:
        """What is found in the config; None while it is being parsed."""
        if self._of != (text, path):
            self._of, self._found = (text, path), Future()
            threading.Thread(target=_parse, args=(text, path, self._found), name="parse", daemon=True).start()
        return self._found.result() if self._found.done() else None


def _parse(text: str, path: str, found: Future[Checked]) -> None:
    try:
        found.set_result(check(text, path=path))
    except BaseException as error:  # whoever asks for what was found has it
        found.set_exception(error)
