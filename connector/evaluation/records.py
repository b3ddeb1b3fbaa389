"""Answers of all versions → Evaluated records: identical outputs shared, cut into parts (rule T4)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.evaluation.answers import LONGEST_OUTPUT, Answer, CompiledVersion
from connector.evaluation.rows import TableRows

PART_BYTES = 512 * 1024
LARGEST_ROW = LONGEST_OUTPUT  # bytes of a row's outputs in one part; of one version they are never more
OUTPUT_OVERHEAD = 40  # bytes of an output besides its texts: hash, lengths, versions
ROW_OVERHEAD = 8

OutputRecord = dict[str, Any]  # EvaluatedOutput in schemas/syncline.Evaluated.avsc


@dataclass(frozen=True, slots=True)
class Replayed:
    """The range of consumer positions that a replay record answers for (rule T6)."""

    table: str
    partition: int
    start: int
    end: int
    done: bool


def evaluated_records(
    head: Mapping[str, Any],
    versions: Sequence[CompiledVersion],
    tables: Sequence[TableRows],
    answers: Sequence[Answer],
    *,
    limit: int = PART_BYTES,
) -> list[dict[str, Any]]:
    """The Evaluated records of one batch: one, or its parts.

    `head` has the fields that all parts share: stream, position, change_offset, boundary, committed_at, log_rows,
    attempt, replay, truncate.
    """
    parts = _Parts(limit)
    for rows in tables:
        reading = [a for a in answers if rows.table in a.outputs]
        if reading:
            parts.open_table(rows.table, [a.version for a in reading])
            for key, outputs in zip(rows.keys, _outputs(rows, reading), strict=True):
                parts.add(key, outputs)
            for key in rows.gone:
                parts.add(key, ())
            _reject(rows, reading, parts)
    said = {
        "versions": [{"version": v.version, "evaluation": v.evaluation} for v in versions],
        "hung": [answer.version for answer in answers if answer.hung],
        "unable": [v.version for v in versions if v.unable],
    }
    contents = parts.contents
    return [
        {**head, "part": number, "parts": len(contents), **said, **content} for number, content in enumerate(contents)
    ]


class _Parts:
    """Contents of the parts, filled one after the other."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._table = ""
        self._versions: list[int] = []
        self.contents: list[dict[str, Any]] = [{"tables": [], "rejected": []}]
        self._rows: list[Mapping[str, Any]] = []
        self._empty: list[str] = []

    def open_table(self, table: str, versions: list[int]) -> None:
        self._table, self._versions = table, versions
        self._rows, self._empty = [], []
        entry = {"table": table, "versions": versions, "rows": self._rows, "empty": self._empty}
        self.contents[-1]["tables"].append(entry)

    def add(self, key: str, outputs: Collection[OutputRecord]) -> None:
        size = sum(map(_size, outputs))
        if size > LARGEST_ROW and len(self._versions) > 1:
            self._add_apart(key, outputs)
            return
        self._make_room(len(key) + ROW_OVERHEAD + size)
        if outputs:
            self._rows.append({"key": key, "outputs": outputs})
        else:
            self._empty.append(key)

    def _add_apart(self, key: str, outputs: Collection[OutputRecord]) -> None:
        """A row that is too large with the outputs of all versions: each version's in a part of their own."""
        table, versions = self._table, self._versions
        for version in versions:
            self._begin(table, [version])
            self.add(key, [{**output, "versions": [version]} for output in outputs if version in output["versions"]])
        self._begin(table, versions)

    def _begin(self, table: str, versions: list[int]) -> None:
        self.contents.append({"tables": [], "rejected": []})
        self.open_table(table, versions)
        self._size = 0

    def reject(self, rejected: Mapping[str, Any], size: int) -> None:
        self._make_room(size)
        self.contents[-1]["rejected"].append(rejected)

    def _make_room(self, size: int) -> None:
        if self._size and self._size + size > self._limit:
            self._begin(self._table, self._versions)
        self._size += size


def _size(output: OutputRecord) -> int:
    """Bytes that an output takes, at most."""
    text = output["data"]
    plain = len(text) + len(output["bucket"]) + len(output["id"]) + OUTPUT_OVERHEAD
    return plain if text.isascii() else plain + 3 * len(text)


def _outputs(rows: TableRows, answers: Sequence[Answer]) -> Iterator[Collection[OutputRecord]]:
    """Beside each key its outputs; one that several versions gave stands once, with all of them."""
    if len(answers) == 1:
        return iter(_of_one(rows, answers[0]))
    found: list[dict[tuple[str, str, str, bytes], OutputRecord] | None] = [None] * len(rows.keys)
    for answer in answers:
        own = [answer.version]
        for index, outputs in answer.outputs[rows.table]:
            known = found[index]
            if known is None:
                known = found[index] = {}
            for bucket, type_, id_, text, digest in outputs:
                same = known.get((bucket, type_, id_, digest))
                if same is None:
                    record = {"versions": own, "bucket": bucket, "type": type_, "id": id_, "hash": digest, "data": text}
                    known[bucket, type_, id_, digest] = record
                else:
                    same["versions"] = [*same["versions"], answer.version]
    return (() if outputs is None else list(outputs.values()) for outputs in found)


def _of_one(rows: TableRows, answer: Answer) -> list[Collection[OutputRecord]]:
    found: list[Collection[OutputRecord]] = [()] * len(rows.keys)
    own = [answer.version]
    for index, outputs in answer.outputs[rows.table]:
        found[index] = [
            {"versions": own, "bucket": bucket, "type": type_, "id": id_, "hash": digest, "data": text}
            for bucket, type_, id_, text, digest in outputs
        ]
    return found


def _reject(rows: TableRows, answers: Sequence[Answer], parts: _Parts) -> None:
    for answer in answers:
        for index, reason in answer.rejected[rows.table]:
            place = rows.place(index)
            rejected = {
                "version": answer.version,
                "table": rows.table,
                "key": rows.keys[index],
                "topic": rows.topic,
                "partition": place.partition,
                "offset": place.offset,
                "reason": reason,
            }
            parts.reject(rejected, len(rows.keys[index]) + len(reason) + 60)
