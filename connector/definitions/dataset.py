"""A whole dataset under a sync config, without a server: its buckets and lookups, and what of them a client sees."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from connector.definitions.evaluate import Output, compile_part
from connector.definitions.model import Part, SyncConfig
from connector.definitions.render import Renderings
from connector.definitions.request import Answer, Bucket, Connection, Queriers
from connector.values import Row, SqliteValue


class RowError(NamedTuple):
    """A query of a part that failed for a row: its number in its table, from 1."""

    label: str
    table: str
    row: int
    message: str


class Visible(NamedTuple):
    """A row that a client sees, with the names of its buckets and the least of their priorities."""

    output: Output
    buckets: tuple[str, ...]
    priority: int


@dataclass(slots=True)
class Dataset:
    """What the rows give. `buckets` and `lookups` are by label and parameters, or key; see `evaluated`."""

    config: SyncConfig
    buckets: dict[tuple[str, str], list[Output]] = field(default_factory=dict)
    lookups: dict[tuple[str, str], list[Mapping[str, SqliteValue]]] = field(default_factory=dict)
    errors: list[RowError] = field(default_factory=list)

    def answer(self, connection: Connection) -> Answer:
        """The buckets that a client gets. Raises RequestRefused where they are too many."""
        queriers = Queriers(self.config.definitions, self.config.options)
        return queriers.answer(connection, lambda label, key: self.lookups.get((label, key), ()))

    def rows(self, bucket: Bucket) -> Sequence[Output]:
        """The rows of a bucket, in the order of the dataset."""
        return self.buckets.get((bucket.label, bucket.parameters), ())

    def visible(self, answer: Answer) -> list[Visible]:
        """The rows of the answer's buckets, each content once."""
        found: dict[tuple[str, str, str], Visible] = {}
        for bucket in answer.buckets:
            for output in self.rows(bucket):
                known = found.get(output[1:4], Visible(output, (), bucket.priority))
                priority = min(known.priority, bucket.priority)
                found[output[1:4]] = Visible(output, (*known.buckets, bucket.name), priority)
        return list(found.values())


def evaluated(config: SyncConfig, tables: Mapping[str, Iterable[Row]]) -> Dataset:
    """All rows through all parts; `tables` are `schema.table` names with their rows."""
    dataset = Dataset(config)
    renderings = Renderings()
    parts = {part.label: part for definition in config.definitions for part in definition.parts}
    compiled = [(part, compile_part(part.plan, renderings)) for part in parts.values()]
    for table, rows in tables.items():
        reading = [(part, evaluator) for part, evaluator in compiled if evaluator.reads(table)]
        for number, row in enumerate(rows, 1):
            for part, evaluator in reading:
                outputs, errors = evaluator(table, row)
                dataset.errors += [RowError(part.label, table, number, message) for message in errors]
                _add(dataset, part, outputs)
    return dataset


def _add(dataset: Dataset, part: Part, outputs: Iterable[Output]) -> None:
    for output in outputs:
        name = (part.label, output.bucket)
        if part.kind == "bucket":
            dataset.buckets.setdefault(name, []).append(output)
        else:
            dataset.lookups.setdefault(name, []).extend(json.loads(output.data))
