"""Streams of edition 3, compiled (powersync.md 1.6).

SQL ── select, conditions, names ──► formulas of terms ── boolean ──► conjunctions ── graph ──► what joins what
── plan, numbering ──► rows, indexes, querier of each ── buckets, streams ──► parts, shared, and definitions
"""

from connector.definitions.compiled.streams import compile_streams

__all__ = ["compile_streams"]
