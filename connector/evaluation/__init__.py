"""A batch of changes → what each version makes of it: the pure part of the stream processes (rules T2 to T4)."""

from connector.evaluation.answers import Answer, CompiledVersion, compile_version, evaluate, rejecting
from connector.evaluation.records import Replayed, evaluated_records
from connector.evaluation.rows import BadRow, Decoders, TableRows, batch_rows

__all__ = [
    "Answer",
    "BadRow",
    "CompiledVersion",
    "Decoders",
    "Replayed",
    "TableRows",
    "batch_rows",
    "compile_version",
    "evaluate",
    "evaluated_records",
    "rejecting",
]
