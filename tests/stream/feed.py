"""Stand-ins around the streams: a feeder in the sequencer's place and a catalog writer in the merge's."""

from __future__ import annotations

import io
import json
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml
from confluent_kafka import Producer, TopicPartition
from fastavro import parse_schema, schemaless_writer

from connector import settings as settings_file
from connector.definitions.check import check
from connector.merge.catalog import MAIN, Catalog, ReplayEnd, Tributary, Version
from connector.settings import Settings
from schemas.codec import Codec, frame
from topologies import kafka, topics
from topologies.schemas import Schemas
from topologies.topics import Topics

TODOS = "public.todos"
LISTS = "public.lists"
COLUMNS = {
    TODOS: [("id", "string"), ("list_id", "string"), ("title", "string"), ("done", "boolean"), ("n", "long")],
    LISTS: [("id", "string"), ("owner_id", "string"), ("title", "string")],
}
ROW_SCHEMAS = {
    table: {
        "type": "record",
        "name": "Value",
        "namespace": f"source.{table}",
        "fields": [{"name": name, "type": ["null", kind], "default": None} for name, kind in columns],
    }
    for table, columns in COLUMNS.items()
}
Row = Mapping[str, Any]
Change = tuple[str, str, Row | None]  # table, key, row; None: deleted


def write_settings(kafka_address: str, registry: str, folder: Path) -> Settings:
    """A settings file in `folder` under a name that no other test has; no source database."""
    app = f"s{uuid4().hex[:10]}"
    file = folder / settings_file.FILE_NAME
    names = {
        "kafka": kafka_address,
        "registry": registry,
        "connect": "http://127.0.0.1:9",
        "postgres": "postgresql://127.0.0.1:9/none",
        "app": app,
        "state": str(folder / "state"),
    }
    file.write_text(yaml.safe_dump(names))
    return settings_file.load(str(file))


def key_of(table: str, key: str) -> str:
    return json.dumps([table, key], separators=(",", ":"))


def todo(key: str, **columns: Any) -> Change:
    return TODOS, key, {"id": key, "list_id": "l1", "title": f"Todo {key}", "done": False, "n": 0} | columns


def gone(table: str, key: str) -> Change:
    return table, key, None


class Feeder:
    """Writes batches, snapshot records and progress as the sequencer does."""

    def __init__(self, settings: Settings, *, partitions: int = 2) -> None:
        self.settings = settings
        self.names = Topics(settings.app)
        self.partitions = partitions
        self.position = 0
        self.rows = 0
        self.truncated: dict[str, int] = {}  # of every table that had a row; 0: never
        self._create_topics()
        self.schemas = Schemas(settings)
        self.codec = Codec(self.schemas)
        self._ids = {
            table: self.schemas.id_of(f"{table}-value", json.dumps(schema)) for table, schema in ROW_SCHEMAS.items()
        }
        self._writers = {table: parse_schema(json.loads(json.dumps(schema))) for table, schema in ROW_SCHEMAS.items()}
        self.codec.prepare("Batch", "Progress", "Catalog", "Commit")
        self.producer = self._transactional("feeder")

    def _create_topics(self) -> None:
        size = self.settings.max_request_size
        one = [self.names.changes, self.names.evaluated(MAIN), self.names.requests]
        compacted = [self.names.sequence, self.names.schemas, self.names.catalog, self.names.checkpoints]
        plans = [kafka.TopicPlan(name, 1, topics.retained(size)) for name in one]
        plans += [kafka.TopicPlan(name, 1, topics.compacted(size)) for name in compacted]
        plans += [
            kafka.TopicPlan(self.names.snapshot(table), self.partitions, topics.snapshot(size)) for table in COLUMNS
        ]
        kafka.create_topics(self.settings, plans)

    def _transactional(self, name: str) -> Producer:
        producer = kafka.transactional_producer(self.settings, f"{self.settings.app}.{name}")
        producer.init_transactions()
        return producer

    def batch(self, *changes: Change, boundary: bool = True) -> int:
        """One committed batch; its position."""
        return self.batches([changes], boundary=boundary)

    def batches(self, batches: Sequence[Sequence[Change]], *, boundary: bool = True) -> int:
        """Several batches in one Kafka transaction; the last position."""
        self.producer.begin_transaction()
        for changes in batches:
            self.write(changes, boundary=boundary)
        self.producer.commit_transaction()
        return self.position

    def aborted(self, *changes: Change) -> None:
        """A batch whose transaction is aborted; its position will be used again."""
        self.producer.begin_transaction()
        self.write(changes)
        self.producer.flush()
        self.producer.abort_transaction()
        self.position -= 1
        self.rows -= len(changes)

    def truncate(self, table: str) -> int:
        self.producer.begin_transaction()
        self._next(0)
        self.truncated[table] = self.position
        self._append(self._batch([], {}, table, boundary=True))
        for partition in range(self.partitions):
            self.producer.produce(
                self.names.snapshot(table),
                key=json.dumps([table]),
                value=b"",
                partition=partition,
                headers=[*self._headers(table, partition), ("truncate", b"")],
            )
        self._progress()
        self.producer.commit_transaction()
        return self.position

    def write(self, changes: Sequence[Change], *, boundary: bool = True) -> None:
        """Batch, snapshot records and progress into the open transaction."""
        self.append_batch(*changes, boundary=boundary)
        for table, key, row in changes:
            source_key = key_of(table, key)
            partition = zlib.crc32(source_key.encode()) % self.partitions
            self.producer.produce(
                self.names.snapshot(table),
                key=source_key,
                value=None if row is None else frame(self._ids[table], self._encoded(table, row)),
                partition=partition,
                headers=self._headers(table, partition),
            )
        self._progress()
        self.producer.poll(0)

    def append_batch(self, *changes: Change, boundary: bool = True) -> None:
        """The batch alone into the open transaction."""
        self._next(len(changes))
        tables = {table: index for index, table in enumerate(dict.fromkeys(c[0] for c in changes))}
        self.truncated = {**dict.fromkeys(tables, 0), **self.truncated}
        records = [
            {
                "table": tables[table],
                "op": "DELETE" if row is None else "UPSERT",
                "key": key_of(table, key),
                "schema": 0 if row is None else self._ids[table],
                "row": b"" if row is None else self._encoded(table, row),
                "partition": 0,
                "offset": self.rows,
            }
            for table, key, row in changes
        ]
        self._append(self._batch(records, tables, None, boundary=boundary))

    def _next(self, rows: int) -> None:
        self.position += 1
        self.rows += rows

    def _append(self, batch: dict[str, Any]) -> None:
        self.producer.produce(self.names.changes, value=self.codec.encode("Batch", batch), partition=0)

    def _batch(
        self, records: list[dict[str, Any]], tables: Mapping[str, int], truncate: str | None, *, boundary: bool
    ) -> dict[str, Any]:
        return {
            "position": self.position,
            "boundary": boundary,
            "committed_at": 1,
            "rows": self.rows,
            "truncate": truncate,
            "tables": [{"table": table, "topic": f"source.{table}"} for table in tables],
            "changes": records,
        }

    def _headers(self, table: str, partition: int) -> list[tuple[str, bytes]]:
        values = (self.position, f"source.{table}", partition, self.rows)
        return [(n, str(v).encode()) for n, v in zip(("position", "topic", "partition", "offset"), values, strict=True)]

    def _progress(self) -> None:
        state = {"format": 1, "tables": {table: {"truncated": at} for table, at in self.truncated.items()}}
        record = {"position": self.position, "change_offset": 0, "rows": self.rows, "state": json.dumps(state)}
        self.producer.produce(self.names.sequence, key="progress", value=self.codec.encode("Progress", record))

    def _encoded(self, table: str, row: Row) -> bytes:
        body = io.BytesIO()
        schemaless_writer(body, self._writers[table], dict(row))
        return body.getvalue()


class Merged:
    """Writes catalogs and commit records as the merge does, and reads what the streams have written."""

    def __init__(self, feeder: Feeder) -> None:
        self.settings = feeder.settings
        self.names = feeder.names
        self.codec = feeder.codec
        self.catalog = Catalog()
        self.commits = 0
        self._producer = kafka.producer(self.settings)
        self._requests = kafka.consumer(self.settings)
        self._requests.assign([TopicPartition(self.names.requests, 0, 0)])
        self.publish(self.catalog)

    def publish(self, catalog: Catalog) -> None:
        """Put a catalog into force."""
        self.catalog = replace(catalog, number=self.catalog.number + 1)
        value = self.codec.encode("Catalog", self.catalog.to_record())
        self._producer.produce(self.names.catalog, key="catalog", value=value)
        self._producer.flush()

    def expose(self, *versions: Version) -> None:
        self.publish(replace(self.catalog, versions=versions))

    def commit(self, *streams: Mapping[str, Any]) -> None:
        """A commit record with these stream states."""
        self.commits += 1
        zeros = dict.fromkeys(("position", "cursor", "committed_at", "written_at", "log_rows", "request_offset"), 0)
        record = {
            "number": self.commits,
            **zeros,
            "exposed": True,
            "catalog": self.catalog.number,
            "streams": list(streams),
            "versions": [],
        }
        self._producer.produce(self.names.checkpoints, key="exposed", value=self.codec.encode("Commit", record))
        self._producer.flush()

    def begin(self, tributary: Tributary, *new: Version) -> None:
        """A tributary with its versions, and its topic."""
        plan = kafka.TopicPlan(self.names.evaluated(tributary.name), 1, topics.retained(self.settings.max_request_size))
        kafka.create_topics(self.settings, [plan])
        mine = (*self.catalog.tributaries, tributary)
        self.publish(replace(self.catalog, versions=(*self.catalog.versions, *new), tributaries=mine))

    def answer(self, kind: str, *, timeout: float = 90.0) -> dict[str, Any]:
        """Wait for the next request of a kind, put what it wants into the catalog and accept it."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            message = self._requests.poll(0.1)
            if message is None or message.error() is not None:
                continue
            request = self.codec.decode(message.value() or b"")
            if request.get("kind") == kind:
                self._grant(request)
                return request
        raise AssertionError(f"no {kind} within {timeout} s")

    def _grant(self, request: Mapping[str, Any]) -> None:
        entry = self.catalog.tributary(request["tributary"])
        assert entry is not None
        if request["kind"] == "bounds":
            granted = replace(entry, ends=tuple(ReplayEnd(**end) for end in request["ends"]), bounded=True)
        else:
            granted = replace(entry, head=request["head"], state="catching_up")
        self.publish(
            replace(
                self.catalog,
                tributaries=tuple(granted if t.name == entry.name else t for t in self.catalog.tributaries),
            )
        )
        answer = {"id": request["id"], "outcome": "accepted", "reason": "", "generation": entry.generation}
        self._producer.produce(self.names.requests, key=request["id"], value=self.codec.encode("Answer", answer))
        self._producer.flush()

    def evaluated(self, stream: str = MAIN) -> list[dict[str, Any]]:
        """All records now in the stream's evaluated topic."""
        reader = kafka.consumer(self.settings)
        try:
            found = kafka.read_all(reader, self.names.evaluated(stream))
            return [self.codec.decode(message.value() or b"") for message in found]
        finally:
            reader.close()


def stream_state(stream: str = MAIN, position: int = 0, change_offset: int = 0, partitions: Any = ()) -> dict[str, Any]:
    return {
        "stream": stream,
        "position": position,
        "evaluated_offset": 0,
        "change_offset": change_offset,
        "partitions": list(partitions),
    }


def versions(config: str, *, first: int = 1, state: str = "exposed", stream: str = MAIN) -> tuple[Version, ...]:
    """The parts of a sync config as versions."""
    checked = check(config)
    assert checked.config is not None, [d.message for d in checked.diagnostics]
    parts = [part for definition in checked.config.definitions for part in definition.parts]
    return tuple(
        Version(
            version=first + number,
            kind=part.kind,
            definition=part.definition,
            label=part.label,
            canonical=part.canonical,
            plan=json.dumps(part.plan),
            evaluation=checked.config.evaluation,
            tables=part.tables,
            state=state,  # type: ignore[arg-type]
            stream=stream,
            dropped_at=0,
        )
        for number, part in enumerate(parts)
    )


def tributary(versions: Sequence[Version], *, generation: int = 1, start: int = 0, start_offset: int = 0) -> Tributary:
    return Tributary(
        name=f"t{generation}",
        generation=generation,
        versions=tuple(v.version for v in versions),
        state="replaying",
        start=start,
        start_offset=start_offset,
        ends=(),
        bounded=False,
        head=None,
    )


def positions(records: Sequence[Mapping[str, Any]]) -> list[int]:
    """Positions in the order in which a merge takes them: whole attempts only, each position once, no hole."""
    taken: list[int] = []
    for record in records:
        if record["replay"] is None and record["part"] == record["parts"] - 1:
            expected = taken[-1] + 1 if taken else record["position"]
            assert record["position"] <= expected, f"jump from {taken[-1]} to {record['position']}"
            if record["position"] == expected:
                taken.append(expected)
    return taken


def rows_of(records: Sequence[Mapping[str, Any]], version: int) -> dict[str, list[tuple[str, str, str]]]:
    """Per key what a version has in the end: (bucket, id, data) of each output; keys without output are absent."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for record in records:
        if record["truncate"]:
            found = {key: outputs for key, outputs in found.items() if json.loads(key)[0] != record["truncate"]}
        for table in record["tables"]:
            if version in table["versions"]:
                for key in table["empty"]:
                    found.pop(key, None)
                for row in table["rows"]:
                    outputs = [(o["bucket"], o["id"], o["data"]) for o in row["outputs"] if version in o["versions"]]
                    found[row["key"]] = outputs
    return {key: outputs for key, outputs in found.items() if outputs}
