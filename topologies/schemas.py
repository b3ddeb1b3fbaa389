"""Schemas by id: the registry, and our own copy in <app>.schemas that no registry reset can take (rule S11)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaException, Message, Producer

from connector.errors import SourceRefused, Unavailable
from connector.settings import Settings
from schemas.registry import Registry
from topologies import kafka
from topologies.topics import Topics

_T = TypeVar("_T")

BROKER_PATIENCE = 6.0  # seconds; a command has said within ten that the broker is away


class Schemas:
    """Ids and texts of schemas. Writes each schema it registers to <app>.schemas before anyone can use the id.

    `patience`: seconds to wait for a registry that is away; None waits for ever (workers).
    """

    def __init__(self, settings: Settings, *, patience: float | None = None) -> None:
        self._settings = settings
        self._topic = Topics(settings.app).schemas
        self._registry = Registry(settings.registry)
        self._patience = patience
        self._texts: dict[int, str] = {}
        self._ids: dict[str, int] = {}
        self._writer: Producer | None = None
        self.refresh()

    def id_of(self, subject: str, text: str) -> int:
        """The id of a schema text; known ones without asking the registry."""
        if text not in self._ids:
            schema_id = self._wait(lambda: self._registry.register(subject, text))
            self._keep(schema_id, text)
        return self._ids[text]

    def text(self, schema_id: int) -> str:
        """The text of a schema: ours first, then the registry's."""
        if schema_id not in self._texts:
            self.refresh()
        if schema_id not in self._texts:
            text = self._wait(lambda: self._registry.by_id(schema_id))
            self._texts[schema_id] = text
        return self._texts[schema_id]

    def refresh(self) -> None:
        """Read <app>.schemas to its end. Raises Unavailable where the broker is away or has no such topic."""
        settings, topic = self._settings, self._topic
        if not kafka.topic_exists(settings, topic, timeout=BROKER_PATIENCE):
            raise Unavailable(f"there is no topic {topic}", where=settings.kafka, hint="run `syncline init`")
        reader = kafka.glance(settings)
        try:
            for message in kafka.read_all(reader, topic):
                key, text = message.key(), message.value()
                if key is not None and text is not None:
                    self._learn(int(key), text.decode())
        except KafkaException as error:
            raise kafka.unavailable(settings, error.args[0], f"read {topic}") from error
        finally:
            reader.close()

    def _learn(self, schema_id: int, text: str) -> None:
        self._texts[schema_id] = text
        self._ids.setdefault(text, schema_id)

    def _keep(self, schema_id: int, text: str) -> None:
        known = self._texts.get(schema_id)
        if known is not None and known != text:
            raise SourceRefused(
                f"registry gave id {schema_id} to another schema than {self._topic} has",
                where=self._registry.url,
                hint="the registry was emptied or replaced: restore it, or give Syncline another app name",
            )
        if self._writer is None:
            self._writer = kafka.producer(self._settings)
        writer = self._writer
        failures: list[str] = []

        def delivered(error: object, _: Message) -> None:
            if error is not None:
                failures.append(str(error))

        writer.produce(self._topic, key=str(schema_id), value=text.encode(), on_delivery=delivered)
        if writer.flush(30) or failures:
            raise Unavailable(f"schema {schema_id} could not be kept: {failures}", where=self._topic)
        self._learn(schema_id, text)

    def _wait(self, ask: Callable[[], _T]) -> _T:
        deadline = None if self._patience is None else time.monotonic() + self._patience
        while True:
            try:
                return ask()
            except Unavailable:
                if deadline is not None and time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
