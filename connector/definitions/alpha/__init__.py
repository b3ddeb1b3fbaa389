"""Streams of edition 2, from SQL to parts and queriers (powersync.md 1.5).

stream ── subqueries ── conditions ── scope ── (legacy)
"""

from connector.definitions.alpha.stream import compile_alpha

__all__ = ["compile_alpha"]
