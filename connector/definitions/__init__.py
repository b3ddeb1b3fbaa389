"""The definition language: a sync config's text to checked definitions, their parts to plans, plans to closures.

text ── document ── check ── legacy | alpha | compiled (sql, terms) ──► SyncConfig: parts with plans, queriers
plan ── evaluate (environments, expressions, json_rows, render) ──► Evaluator: table and row ──► outputs
querier ── queriers, request ──► token, parameters, subscriptions and lookups ──► buckets
"""

from connector.definitions.check import check
from connector.definitions.evaluate import Evaluator, Output, compile_part
from connector.definitions.model import (
    EVALUATOR_LEVELS,
    PLAN_VERSION,
    Checked,
    Definition,
    Diagnostic,
    Options,
    Part,
    SyncConfig,
    canonical_text,
)

__all__ = [
    "EVALUATOR_LEVELS",
    "PLAN_VERSION",
    "Checked",
    "Definition",
    "Diagnostic",
    "Evaluator",
    "Options",
    "Output",
    "Part",
    "SyncConfig",
    "canonical_text",
    "check",
    "compile_part",
]
