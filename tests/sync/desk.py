"""A serving node without a server or a broker: rows, deploys and checkpoints by hand, in a real bucket store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from connector.definitions.check import check
from connector.definitions.dataset import evaluated
from connector.definitions.evaluate import Evaluator, compile_part
from connector.definitions.model import Definition, Part, SyncConfig
from connector.definitions.request import Connection, Subscription
from connector.definitions.stored import stored
from connector.merge.catalog import Catalog, DeployedDefinition, DeployedPart, Version
from connector.oplog.compaction import compact, rewritten
from connector.oplog.ops import Op, put, remove
from connector.position import op_id
from connector.store.buckets import BucketStore, Changed, Exposed, View
from tests.builders import deployment, source_key, version

Key = tuple[int, str, str, str, str]  # version, bucket, type, id, subkey


class Desk:
    """`write` and `delete` change rows, `deploy` definitions; `checkpoint` exposes what has gathered."""

    def __init__(self, folder: Path) -> None:
        self.store = BucketStore(folder / "buckets")
        self.tables: dict[str, dict[str, dict[str, Any]]] = {}
        self.config: SyncConfig | None = None
        self.catalog = Catalog()
        self._parts: dict[int, Part] = {}
        self._evaluators: dict[int, Evaluator] = {}
        self._live: dict[Key, bytes] = {}
        self._log: dict[tuple[int, str], list[Op]] = {}
        self._ops: list[Op] = []
        self._commit = 1
        self._index = 0

    def deploy(self, text: str) -> None:
        """Equal parts keep their versions; all others are filled with every row."""
        checked = check(text)
        assert checked.config is not None, [str(one) for one in checked.diagnostics]
        self.config = checked.config
        known = {part.canonical: number for number, part in self._parts.items()}
        parts: dict[str, int] = {}
        for definition in self.config.definitions:
            for part in definition.parts:
                if part.canonical not in known:
                    known[part.canonical] = self._add(part)
                parts[part.label] = known[part.canonical]
        generation = self.catalog.generation + 1
        active = deployment(
            generation,
            (),
            definitions=tuple(self._deployed(one, parts) for one in self.config.definitions),
        )
        self.catalog = replace(
            self.catalog, number=self.catalog.number + 1, next_generation=generation + 1, deployments=(active,)
        )

    def _deployed(self, definition: Definition, parts: Mapping[str, int]) -> DeployedDefinition:
        assert self.config is not None
        listed = tuple(DeployedPart(part.kind, part.label, parts[part.label], "") for part in definition.parts)
        return DeployedDefinition(definition.name, definition.priority, stored(definition, self.config.options), listed)

    def _add(self, part: Part) -> int:
        number = self.catalog.next_version
        self._parts[number], self._evaluators[number] = part, compile_part(part.plan)
        fresh: Version = version(number, kind=part.kind, definition=part.definition, label=part.label)
        self.catalog = replace(self.catalog, next_version=number + 1, versions=(*self.catalog.versions, fresh))
        for table, rows in self.tables.items():
            for name, row in rows.items():
                self._evaluate(number, table, name, row)
        return number

    def write(self, table: str, row: Mapping[str, Any]) -> None:
        self.tables.setdefault(table, {})[str(row["id"])] = dict(row)
        for number in self._parts:
            self._evaluate(number, table, str(row["id"]), row)

    def delete(self, table: str, name: str) -> None:
        if self.tables.get(table, {}).pop(name, None) is not None:
            for number in self._parts:
                self._evaluate(number, table, name, None)

    def _evaluate(self, number: int, table: str, name: str, row: Mapping[str, Any] | None) -> None:
        evaluator, subkey = self._evaluators[number], source_key(name, table)
        outputs = evaluator(table, row)[0] if row is not None and evaluator.reads(table) else ()
        wanted = {(number, o.bucket, o.type, o.id, subkey): o for o in outputs}
        for key in [key for key in self._live if key[0] == number and key[4] == subkey and key not in wanted]:
            del self._live[key]
            self._keep(remove(self._next(), number, key[1], key[2:], self._commit))
        for key, output in wanted.items():
            if self._live.get(key) != output.hash:
                added = key not in self._live
                self._live[key] = output.hash
                identity = (output.type, output.id, subkey)
                made = put(self._next(), number, output.bucket, identity, output.hash, output.data, added, self._commit)
                self._keep(made)

    def _next(self) -> int:
        self._index += 1
        return op_id(self._commit, self._index - 1)

    def _keep(self, op: Op) -> None:
        self._ops.append(op)
        self._log.setdefault((op["version"], op["bucket"]), []).append(op)

    def compact(self) -> None:
        """MOVE and CLEAR what newer ops superseded, in the coming checkpoint."""
        limit = self.store.exposed.op_id
        for (number, bucket), log in self._log.items():
            if self._parts[number].kind == "bucket":
                rewrites = compact(log, limit)
                self._ops += rewrites
                self._log[number, bucket] = rewritten(log, rewrites)

    def checkpoint(self) -> tuple[View, Changed]:
        """Expose what has gathered."""
        kinds = {number: part.kind for number, part in self._parts.items()}
        self.store.add(self._ops, kinds)
        offsets = dict.fromkeys(self._parts, self._commit)
        record = self.catalog.to_record()
        changed = self.store.expose(Exposed("log", self._commit, self._commit, offsets, record))
        self._ops, self._index = [], 0
        self._commit += 1
        return self.store.view(), changed

    def visible(
        self, claims: Mapping[str, Any], subscriptions: tuple[Subscription, ...] = (), **connection: Any
    ) -> set[tuple[str, str, str]]:
        """From scratch: type, id and content of every row that a client sees now."""
        assert self.config is not None
        dataset = evaluated(self.config, {table: list(rows.values()) for table, rows in self.tables.items()})
        answer = dataset.answer(Connection(claims, subscriptions=subscriptions, **connection))
        rows = [row for bucket in answer.buckets for row in dataset.rows(bucket)]
        return {(row.type, row.id, json.dumps(json.loads(row.data))) for row in rows}
