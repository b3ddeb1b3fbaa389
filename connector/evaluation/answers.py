"""What one version makes of the rows of a batch."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from connector.definitions.evaluate import ROW_ERRORS, Evaluator, Output, compile_part, unique
from connector.definitions.model import Options
from connector.definitions.render import Renderings
from connector.errors import BadConfig
from connector.evaluation.rows import BadRow, ConvertedRow, Decoders, TableRows

LONGEST_OUTPUT = 15 * 1024 * 1024  # bytes of one row's texts in one version; the reference drops longer rows too
OVERHEAD = 60  # bytes of an output beside its texts: hash, lengths, type, versions
STRIDE = 32  # rows between two looks at the clock (rule T2: 50 ms on the loop at most)


@dataclass(frozen=True, slots=True)
class CompiledVersion:
    """A version ready to evaluate as its `evaluation` says (rule T3).

    `unable`: why this release cannot; it answers for the version all the same, without a row, so that the merge learns
    of it."""

    version: int
    evaluation: str
    options: Options
    evaluator: Evaluator
    unable: str = ""


class Rejection(NamedTuple):
    """A row that the version could not evaluate: its index in the table's rows, and why."""

    row: int
    reason: str


class Given(NamedTuple):
    """A row with outputs: its index in the table's rows."""

    row: int
    outputs: list[Output]


@dataclass(slots=True)
class Answer:
    """One version's outputs per table that it reads; a row without any is not listed."""

    version: int
    outputs: dict[str, list[Given]] = field(default_factory=dict)
    rejected: dict[str, list[Rejection]] = field(default_factory=dict)
    hung: bool = False  # it was not asked: its evaluation did not end here (rule T2)


def compile_version(version: int, plan: str, evaluation: str, renderings: Renderings) -> CompiledVersion:
    """A version from the catalog's plan text, at the level that its evaluation names; those of one stream share
    `renderings`."""
    parsed: dict[str, Any] = json.loads(plan)
    try:
        options = Options.named(parsed, evaluation)
        if options is not None:
            return CompiledVersion(version, evaluation, options, compile_part(parsed, renderings, options))
        why = f"evaluation {evaluation} is of another release or another SQLite"
    except (BadConfig, KeyError, TypeError) as error:  # a plan of another release, or a damaged one
        why = str(error)
    return CompiledVersion(version, evaluation, Options(), Evaluator((), {}), why)


def evaluate(
    compiled: CompiledVersion, tables: Sequence[TableRows], decoders: Decoders
) -> Generator[None, None, Answer]:
    """Evaluate the rows of the version's tables, pausing every STRIDE rows so that the caller may do other things.

    An exception of the evaluator is an answer too: the row is rejected (rule T2).
    """
    answer = Answer(compiled.version)
    for rows in tables:
        if compiled.evaluator.reads(rows.table):
            given = answer.outputs[rows.table] = []
            rejected = answer.rejected[rows.table] = []
            converted = rows.rows(compiled.options, decoders)
            for start in range(0, len(converted), STRIDE):
                _evaluate_rows(
                    compiled.evaluator, rows.table, enumerate(converted[start : start + STRIDE], start), given, rejected
                )
                yield
    return answer


def _evaluate_rows(
    evaluator: Evaluator,
    table: str,
    rows: Iterable[tuple[int, ConvertedRow]],
    given: list[Given],
    rejected: list[Rejection],
) -> None:
    queries = evaluator.queries(table)
    only = queries[0] if len(queries) == 1 else None  # the usual case, without the way round
    for index, row in rows:
        if isinstance(row, BadRow):
            rejected.append(Rejection(index, row.reason))
            continue
        try:
            if only is not None:
                outputs = unique(only(row))
            else:
                outputs, errors = evaluator(table, row)
                rejected.extend(Rejection(index, reason) for reason in errors)
        except ROW_ERRORS as error:
            rejected.append(Rejection(index, str(error)))
            continue
        except Exception as error:  # an exception is an answer (rule T2)
            rejected.append(Rejection(index, f"evaluation failed: {error!r}"))
            continue
        if not outputs:
            continue
        if _too_long(outputs):
            rejected.append(Rejection(index, f"its outputs are longer than {LONGEST_OUTPUT:,} bytes"))
            continue
        given.append(Given(index, outputs))


def _too_long(outputs: Sequence[Output]) -> bool:
    """What no topic could hold must not stop the stream or the merge (law 11): a row's outputs are of one record."""
    if len(outputs) == 1 and len(outputs[0].data) <= LONGEST_OUTPUT // 4:  # the usual case
        return False
    texts = [text for output in outputs for text in (output.bucket, output.id, output.data)]
    if sum(map(len, texts)) + OVERHEAD * len(outputs) <= LONGEST_OUTPUT // 4:
        return False
    return sum(len(text.encode()) for text in texts) + OVERHEAD * len(outputs) > LONGEST_OUTPUT


def rejecting(compiled: CompiledVersion, tables: Sequence[TableRows], reason: str) -> Answer:
    """The answer of a version that cannot be asked: no outputs, every row rejected."""
    answer = Answer(compiled.version)
    for rows in tables:
        if compiled.evaluator.reads(rows.table):
            answer.outputs[rows.table] = []
            answer.rejected[rows.table] = [Rejection(i, reason) for i in range(len(rows.keys))]
    return answer
