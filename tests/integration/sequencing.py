"""What the sequencer's tests on real servers share: the process, its output read back, and Postgres as the oracle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
import orjson
from fastavro import parse_schema, schemaless_reader

from connector.settings import Settings
from connector.source import avro
from schemas.codec import Codec, unframe
from tests.worlds import Source
from topologies import kafka
from topologies.prepare import prepare
from topologies.schemas import Schemas
from topologies.topics import Topics

ROOT = Path(__file__).parents[2]
PATIENCE = 150.0

Row = dict[str, Any]
Contents = dict[str, dict[str, Row]]  # table → source key → row


def until(there: Callable[[], Any], what: str, *, patience: float = PATIENCE) -> Any:
    """The first true answer before the deadline."""
    deadline = time.monotonic() + patience
    while True:
        found = there()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {patience:.0f} s: {what}"
        time.sleep(0.1)


def ready(source: Source) -> None:
    """Run `init` and expect nothing wrong."""
    wrong = [
        f"{finding.subject}: {finding.detail}" for finding in prepare(source.settings) if finding.outcome == "wrong"
    ]
    assert not wrong, "\n".join(wrong)


class Process:
    """One sequencer process."""

    def __init__(self, settings: Settings, **environment: str) -> None:
        self.log = settings.path.parent / f"sequencer-{time.monotonic_ns()}.log"
        with self.log.open("w") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "topologies.sequence", "--settings", str(settings.path)],
                cwd=ROOT,
                stderr=out,
                env={**os.environ, **environment},
            )

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        return self._process.poll()

    def ended(self, *, patience: float = PATIENCE) -> int:
        """Its exit code, once it has one."""
        return self._process.wait(patience)

    def said(self) -> str:
        return self.log.read_text()

    def end(self) -> None:
        """SIGTERM, and SIGKILL where that does not help."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)


@contextmanager
def sequencer(settings: Settings, **environment: str) -> Iterator[Process]:
    """A sequencer while the block runs."""
    process = Process(settings, **environment)
    try:
        yield process
    finally:
        process.end()


class Output:
    """Everything the sequencer has written, read back."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topics = Topics(settings.app)
        self._schemas = Schemas(settings, patience=20)
        self._codec = Codec(self._schemas)
        self._rows: dict[int, Any] = {}

    def records(self, topic: str, partition: int = 0) -> list[Any]:
        """All committed records of one partition."""
        reader = kafka.consumer(self.settings)
        try:
            return list(kafka.read_all(reader, topic, partition))
        finally:
            reader.close()

    def batches(self) -> list[Row]:
        """What there is of the change log; its positions are checked to be dense and its row counts to be true.

        A batch said twice has ended a transaction that the broker had left open.
        """
        said = groupby(self.records(self.topics.changes), key=lambda message: message.value())
        messages = [next(same) for _, same in said]
        found = [self._codec.decode(message.value()) for message in messages]
        trimmed = bool(messages) and messages[0].offset() > 0  # by a merge that has taken it (rule M5)
        before = found[0]["position"] - 1 if trimmed else 0
        rows = found[0]["rows"] - len(found[0]["changes"]) if trimmed else 0
        for position, batch in enumerate(found, before + 1):
            rows += len(batch["changes"])
            assert batch["position"] == position, "law 5: positions are dense"
            assert batch["rows"] == rows
        return found

    def progress(self) -> Row:
        """The newest progress, its state parsed; empty before the first."""
        found = [message for message in self.records(self.topics.sequence) if message.value()]
        if not found:
            return {}
        record = self._codec.decode(found[-1].value())
        return {**record, "state": orjson.loads(record["state"])}

    def rejected(self) -> list[Row]:
        return [self._codec.decode(message.value()) for message in self.records(self.topics.rejected)]

    def changes(self) -> list[tuple[str, str]]:
        """(op, source key) of every change, in order; truncates as ("TRUNCATE", table)."""
        out = []
        for batch in self.batches():
            if batch["truncate"]:
                out.append(("TRUNCATE", batch["truncate"]))
            out += [(change["op"], change["key"]) for change in batch["changes"]]
        return out

    def contents(self) -> Contents:
        """What the change log amounts to."""
        tables: Contents = {}
        for batch in self.batches():
            if batch["truncate"]:
                tables[batch["truncate"]] = {}
            for change in batch["changes"]:
                rows = tables.setdefault(batch["tables"][change["table"]]["table"], {})
                if change["op"] == "UPSERT":
                    rows[change["key"]] = self.decode(change["schema"], change["row"])
                else:
                    rows.pop(change["key"], None)
        return tables

    def snapshot(self, table: str) -> dict[str, Row]:
        """What the table's snapshot topic amounts to, read as a replay reads it."""
        rows: dict[str, Row] = {}
        for partition in range(self.settings.snapshot_partitions):
            here: dict[str, Row] = {}
            last = 0
            for message in self.records(self.topics.snapshot(table), partition):
                headers = dict(message.headers())
                position = int(headers["position"])
                where = f"{table}, partition {partition}, offset {message.offset()}, {headers}"
                assert position >= last, f"{where}: positions rise in every partition, {last} was before"
                last = position
                if "truncate" in headers:
                    here.clear()
                elif message.value():
                    here[message.key().decode()] = self.decode(*unframe(message.value()))
                else:
                    here.pop(message.key().decode(), None)
            rows |= here
        return rows

    def decode(self, schema: int, row: bytes) -> Row:
        if schema not in self._rows:
            self._rows[schema] = parse_schema(avro.raw(json.loads(self._schemas.text(schema))))
        return schemaless_reader(BytesIO(row), self._rows[schema], None)


def database_rows(source: Source, table: str, key: str = "id") -> dict[str, str]:
    """Source key → the row as Postgres prints it in JSON, for comparing."""
    found = source.sql(f"SELECT {key}, to_jsonb(t) FROM {table} t")
    return {orjson.dumps([table, value]).decode(): row for value, row in found}


def same(source: Source, output: Output, *tables: str) -> bool:
    """Whether change log and snapshot topics amount to what the database holds; asserts that they agree."""
    contents = output.contents()
    for table in tables:
        wanted = database_rows(source, table)
        if contents.get(table, {}) != wanted:
            return False
        assert output.snapshot(table) == wanted, "snapshot topic and change log differ"
    return True


def settled(source: Source, output: Output, *tables: str, patience: float = PATIENCE) -> None:
    """Wait until log and snapshot topics hold what the database holds."""
    until(lambda: same(source, output, *tables), f"{tables} as in the database", patience=patience)
    last = output.batches()[-1]
    assert last["boundary"], "at rest the log ends at a boundary"


def connect_call(settings: Settings, method: str, path: str, **options: Any) -> Any:
    """Ask Connect about the test's connector, again while it rebalances."""
    url = f"{settings.connect}/connectors/{settings.connector}{path}"

    def ask() -> httpx.Response | None:
        answer = httpx.request(method, url, timeout=20, trust_env=False, **options)
        return answer if answer.status_code < 400 else None

    answer = until(ask, f"{method} {path}")
    return answer.json() if answer.content else None
