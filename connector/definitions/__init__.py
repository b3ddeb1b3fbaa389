"""The definition language: a sync config's text to checked definitions, their parts to plans, plans to closures.

text ── document ── check ── legacy | alpha | compiled (sql, terms) ──► SyncConfig: parts with plans, queriers
plan ── evaluate (environments, expressions, json_rows, render) ──► Evaluator: table and row ──► outputs
querier ── queriers, request ──► token, parameters, subscriptions and lookups ──► buckets

Nothing is imported here: a worker that runs plans starts without the parser, which takes half of the time.
"""
