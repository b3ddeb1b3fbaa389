"""Runs files of recorded cases against this code: `python -m tests.conformance FILE…`.

One JSON object a line, or one object with `cases` and `datasets`; docs/conformance.md says what is compared how.
"""
