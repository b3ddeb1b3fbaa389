"""Bucket definitions (editions 1 and 2), from SQL to parts and queriers (powersync.md 1.3, 1.4); events' queries.

definition ─┬─ data ──────── columns ─┬─ matches ─ danger
            └─ parameters ────────────┴─ tables, scope
"""

from connector.definitions.legacy.definition import compile_buckets
from connector.definitions.legacy.events import check_events

__all__ = ["check_events", "compile_buckets"]
