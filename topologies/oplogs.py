"""Reading op logs: folded into buckets, or followed op by op as checkpoints expose them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from connector.deploy.catalog import Catalog, Version
from connector.errors import BadConfig, Gap
from connector.oplog.fold import Bucket, Fold
from connector.oplog.ops import Op, bucket_name
from connector.settings import Settings
from schemas.codec import Codec
from topologies import kafka
from topologies.catalog import read_catalog
from topologies.observe import decoded, observe, offset
from topologies.schemas import Schemas
from topologies.topics import Topics

READ_PATIENCE = 0.05  # seconds to wait for as many ops as are wanted


def ops_in(codec: Codec, messages: Iterable[Message]) -> Iterator[tuple[int, Op]]:
    """Each op with its offset. A record without a value has ended a hanging transaction, and is none."""
    return ((offset(message), cast(Op, decoded(codec, message))) for message in messages if message.value())


def fold_until(settings: Settings, ends: Mapping[int, int]) -> Fold:
    """The fold of each version's op log up to, not including, its offset in `ends`."""
    topics, codec = Topics(settings.app), Codec(Schemas(settings, patience=kafka.PATIENCE))
    folded = Fold()
    reader = kafka.consumer(settings)
    try:
        for version, end in ends.items():
            low, _ = kafka.watermarks(reader, topics.oplog(version))
            records = kafka.read_range(reader, topics.oplog(version), 0, low, end)
            folded.apply(op for _, op in ops_in(codec, records))
    finally:
        reader.close()
    return folded


def exposed_buckets(settings: Settings, *, definition: str | None = None) -> list[tuple[Version, str, Bucket]]:
    """(version, bucket id, bucket) of every bucket at the newest checkpoint, by version and id."""
    seen = observe(settings)
    if seen.checkpoint is None:
        return []
    versions = _versions(seen.catalog, definition)
    folded = fold_until(settings, _ends(seen.checkpoint, versions))
    found = [
        (versions[version], bucket_name(version, versions[version].definition, parameters), bucket)
        for (version, parameters), bucket in folded.buckets.items()
    ]
    return sorted(found, key=lambda item: (item[0].version, item[1]))


def _exposed(catalog: Catalog, definition: str | None) -> list[Version]:
    wanted = [v for v in catalog.exposed() if v.kind == "bucket"]
    if definition is None:
        return wanted
    active = catalog.active
    named = {p.version for d in active.definitions if d.name == definition for p in d.parts} if active else set()
    if not named:
        known = ", ".join(d.name for d in active.definitions) if active else "none is deployed"
        raise BadConfig(f'no definition "{definition}" is active', hint=f"active: {known}")
    return [v for v in wanted if v.version in named]


class OpLogReader:
    """Whole op logs, or single ops of them, one after the other with one reader."""

    def __init__(self, settings: Settings) -> None:
        self._topics = Topics(settings.app)
        self._codec = Codec(Schemas(settings, patience=kafka.PATIENCE))
        self._reader = kafka.consumer(settings)

    def until(self, version: int, end: int) -> Iterator[tuple[int, Op]]:
        """A version's ops up to, not including, an offset, each with its own."""
        low, _ = kafka.watermarks(self._reader, self._topics.oplog(version))
        yield from ops_in(self._codec, kafka.read_range(self._reader, self._topics.oplog(version), 0, low, end))

    def at(self, version: int, place: int) -> Op | None:
        """The op at an offset; None where it is not in the log any more."""
        found = kafka.read_range(self._reader, self._topics.oplog(version), 0, place, place + 1)
        return next((op for _, op in ops_in(self._codec, found)), None)

    def close(self) -> None:
        self._reader.close()


class CommittedOps:
    """Op logs read on from where the last look ended."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._topics = Topics(settings.app)
        self._codec = codec
        self._reader = kafka.consumer(settings)
        self._at: tuple[int, int] | None = None  # version, offset

    def read(self, version: int, start: int, end: int, count: int) -> list[tuple[int, Op]]:
        """Up to `count` ops from offset `start` on and before `end`, each with the offset behind it; none where
        none has come within a while."""
        if self._at != (version, start):
            topic = self._topics.oplog(version)
            kafka.locate(self._reader, topic)
            self._reader.assign([TopicPartition(topic, 0, start)])
        messages = []
        for message in self._reader.consume(count, timeout=READ_PATIENCE):
            error = message.error()
            if error is None and offset(message) < end:
                messages.append(message)
            elif error is not None and error.code() in (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET):
                raise Gap(f"offset {start} is not in the log any more", where=self._topics.oplog(version))
        found = [(place + 1, op) for place, op in ops_in(self._codec, messages)]
        self._at = (version, found[-1][0] if found else start)
        return found

    def close(self) -> None:
        self._reader.close()


def follow_ops(
    settings: Settings, *, definition: str | None, bucket: str | None, from_start: bool, until_now: bool
) -> Iterator[dict[str, Any]]:
    """Ops as checkpoints expose them, in op-id order within each; of a version that a deploy exposes, all of them."""
    seen = observe(settings)
    if seen.checkpoint is None:
        return
    catalog = seen.catalog
    versions = _versions(catalog, definition)
    ends = _ends(seen.checkpoint, versions)
    topics, codec = Topics(settings.app), Codec(Schemas(settings, patience=kafka.PATIENCE))
    reader = kafka.consumer(settings)
    try:
        if from_start:
            yield from _lines(_between(reader, codec, topics, {}, ends), versions, bucket)
        if until_now:
            return
        for checkpoint in _checkpoints(settings, codec, topics):
            if checkpoint["catalog"] > catalog.number:
                catalog = read_catalog(settings, codec) or catalog
                versions = _versions(catalog, definition)
            after = _ends(checkpoint, versions)
            moved = {version: end for version, end in after.items() if end > ends.get(version, 0)}
            yield from _lines(_between(reader, codec, topics, ends, moved), versions, bucket)
            ends = after
    finally:
        reader.close()


def _versions(catalog: Catalog, definition: str | None) -> dict[int, Version]:
    return {v.version: v for v in _exposed(catalog, definition)}


def _ends(checkpoint: Mapping[str, Any], versions: Mapping[int, Version]) -> dict[int, int]:
    return {v["version"]: v["oplog_offset"] for v in checkpoint["versions"] if v["version"] in versions}


def _between(
    reader: Consumer, codec: Codec, topics: Topics, starts: Mapping[int, int], ends: Mapping[int, int]
) -> list[Op]:
    """The ops of all versions from `starts` up to `ends`, by op id."""
    ops: list[Op] = []
    for version, end in ends.items():
        low, _ = kafka.watermarks(reader, topics.oplog(version))
        start = max(low, starts.get(version, 0))
        records = kafka.read_range(reader, topics.oplog(version), 0, start, end)
        ops.extend(op for _, op in ops_in(codec, records))
    return sorted(ops, key=lambda op: op["op_id"])


def _checkpoints(settings: Settings, codec: Codec, topics: Topics) -> Iterator[dict[str, Any]]:
    """Each checkpoint from the newest one on."""
    reader = kafka.consumer(settings)
    newest = kafka.last_record(reader, topics.checkpoints)
    reader.assign([TopicPartition(topics.checkpoints, 0, offset(newest))])
    try:
        while True:
            for message in _records(reader):
                commit = decoded(codec, message)
                if commit["exposed"]:
                    yield commit
    finally:
        reader.close()


def _records(reader: Consumer) -> Iterable[Message]:
    return (m for m in reader.consume(100, timeout=0.2) if m.error() is None and m.value())


def _lines(ops: Iterable[Op], versions: Mapping[int, Version], bucket: str | None) -> Iterator[dict[str, Any]]:
    for op in ops:
        name = bucket_name(op["version"], versions[op["version"]].definition, op["bucket"])
        if bucket is None or name == bucket:
            yield {
                "op_id": op["op_id"],
                "op": op["op"],
                "bucket": name,
                "object_type": op["object_type"],
                "object_id": op["object_id"],
                "subkey": op["subkey"],
                "data": op["data"],
                "checksum": op["checksum"],
            }
