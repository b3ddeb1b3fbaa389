"""Records and catalogs with defaults: a test names only what it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from connector.merge.catalog import (
    Catalog,
    DeployedDefinition,
    DeployedPart,
    Deployment,
    ReplayEnd,
    Tributary,
    Version,
)
from connector.merge.rows import EvaluatedOutput
from connector.merge.state import Evaluated, EvaluatedTable, RejectedRow, ReplayRange

TODOS = "public.todos"
EVALUATION = "e1"


class Out(NamedTuple):
    """As connector.definitions.Output."""

    bucket: str
    type: str
    id: str
    data: str
    hash: bytes


def out(bucket: str, name: str, text: str, kind: str = "todos") -> Out:
    """An output whose hash is the protocol's (powersync.md 3.1)."""
    return Out(bucket, kind, name, text, sha256(f"put.{kind}.{name}.{text}".encode()).digest()[:16])


def source_key(name: str, table: str = TODOS) -> str:
    return orjson.dumps([table, name]).decode()


Row = Mapping[str, Any]
Evaluate = Callable[[str, Row], tuple[list[Out], list[str]]]


def by_owner(table: str, row: Row) -> tuple[list[Out], list[str]]:
    """A bucket per owner."""
    return [out(orjson.dumps([row["owner"]]).decode(), row["id"], orjson.dumps(row).decode())], []


def everywhere(table: str, row: Row) -> tuple[list[Out], list[str]]:
    """One bucket with all rows, and one with the long texts."""
    given = [out("[]", row["id"], orjson.dumps({"text": row["text"]}).decode())]
    if len(row["text"]) > 2:
        given.append(out('["long"]', row["id"], orjson.dumps(row).decode()))
    return given, []


def row(name: str, owner: str = "u1", text: str = "a") -> dict[str, str]:
    return {"id": name, "owner": owner, "text": text}


def table_of(rows: Mapping[str, Row | None], evaluators: Mapping[int, Evaluate], table: str = TODOS) -> EvaluatedTable:
    """What the evaluators make of rows by source key; None is a deleted row."""
    evaluated: EvaluatedTable = {"table": table, "versions": sorted(evaluators), "rows": [], "empty": []}
    for key, content in rows.items():
        given: list[EvaluatedOutput] = []
        for version, evaluate in evaluators.items():
            for o in evaluate(table, content)[0] if content is not None else ():
                given.append(
                    {
                        "versions": [version],
                        "bucket": o.bucket,
                        "type": o.type,
                        "id": o.id,
                        "hash": o.hash,
                        "data": o.data,
                    }
                )
        if given:
            evaluated["rows"].append({"key": key, "outputs": given})
        else:
            evaluated["empty"].append(key)
    return evaluated


def evaluated(
    position: int,
    tables: Sequence[EvaluatedTable] = (),
    *,
    versions: Iterable[int] | None = None,
    stream: str = "main",
    boundary: bool = True,
    truncate: str | None = None,
    replay: ReplayRange | None = None,
    evaluation: str = EVALUATION,
    rejected: Sequence[RejectedRow] = (),
) -> Evaluated:
    """A record of a stream; the versions that answered are those of its tables unless named."""
    answered = sorted({v for t in tables for v in t["versions"]}) if versions is None else sorted(versions)
    return {
        "stream": stream,
        "position": position,
        "change_offset": -1 if replay else position - 1,
        "boundary": boundary,
        "committed_at": position * 1000,
        "log_rows": position * 10,
        "attempt": "a1",
        "part": 0,
        "parts": 1,
        "replay": replay,
        "truncate": truncate,
        "versions": [{"version": v, "evaluation": evaluation} for v in answered],
        "tables": list(tables),
        "rejected": list(rejected),
    }


def scan(start: int, end: int, *, partition: int = 0, done: bool = False, table: str = TODOS) -> ReplayRange:
    return {"table": table, "partition": partition, "start": start, "end": end, "done": done}


def version(number: int, **changes: Any) -> Version:
    fields: dict[str, Any] = {
        "version": number,
        "kind": "bucket",
        "definition": f"d{number}",
        "label": "bucket",
        "canonical": f"canonical {number}",
        "plan": "{}",
        "evaluation": EVALUATION,
        "tables": (TODOS,),
        "state": "exposed",
        "stream": "main",
        "dropped_at": 0,
    }
    return Version(**(fields | changes))


def deployment(generation: int, versions: Iterable[int], **changes: Any) -> Deployment:
    fields: dict[str, Any] = {
        "generation": generation,
        "kind": "deploy",
        "state": "active",
        "config": "text",
        "path": "sync-config.yaml",
        "evaluation": EVALUATION,
        "requested_at": 1_000_000,  # the clock of the merge on a desk
        "switched_at": 0,
        "position": 0,
        "commit": 0,
        "reason": "",
        "comparisons": (),
        "definitions": tuple(
            DeployedDefinition(f"d{v}", 3, "[]", (DeployedPart("bucket", "bucket", v, ""),)) for v in versions
        ),
    }
    return Deployment(**(fields | changes))


def tributary(generation: int, versions: Iterable[int], **changes: Any) -> Tributary:
    fields: dict[str, Any] = {
        "name": f"t{generation}",
        "generation": generation,
        "versions": tuple(versions),
        "state": "replaying",
        "start": 0,
        "start_offset": 0,
        "ends": (),
        "bounded": False,
        "head": None,
        "started_at": 1_000_000,
    }
    return Tributary(**(fields | changes))


def ends(*partitions: int, table: str = TODOS) -> tuple[ReplayEnd, ...]:
    """The captured ends of partitions 0, 1, …"""
    return tuple(ReplayEnd(table, p, end) for p, end in enumerate(partitions))


def catalog(*versions: Version, **changes: Any) -> Catalog:
    """One active deployment with these versions."""
    fields: dict[str, Any] = {
        "number": 1,
        "next_generation": 2,
        "next_version": max((v.version for v in versions), default=0) + 1,
        "deployments": (deployment(1, [v.version for v in versions]),) if versions else (),
        "versions": versions,
    }
    return Catalog(**(fields | changes))


def node_record(listed: Iterable[Row] = ({},), **changes: Any) -> dict[str, Any]:
    """What a node says of its clients (`syncline.Node`); `listed` are what those differ in from one that has all."""
    client = {"user": "u1", "client": "c1", "since": 1_000, "buckets": 2, "op_id": 9, "behind_since": 0}
    client |= {"sent": 0, "due": 0, "sent_bytes": 10, "sent_ops": 1}
    clients = [client | one for one in listed]
    return {
        "node": "n1",
        "endpoint": "http://n1",
        "at": 5_000,
        "behind_since": 0,
        "clients": len(clients),
        "behind": sum(bool(one["behind_since"]) for one in clients),
        "holdings": [],
        "listed": clients,
    } | changes
