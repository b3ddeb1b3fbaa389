"""`python -m tests.conformance FILE… [--only TEXT]`: exit 1 where a case fails.

`--only` runs the cases whose id contains the text, for people at work; nothing here knows an id.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tests.conformance.cases import read
from tests.conformance.run import Outcome, run

SHOWN = 1_500  # characters of one side


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("--brief", action="store_true", help="only the ids of failing cases")
    args = parser.parse_args(arguments)
    outcomes = run(case for file in args.files for case in read(file) if args.only in case["id"])
    failed = [outcome for outcome in outcomes if not outcome.passed]
    for outcome in failed:
        print(outcome.id if args.brief else _shown(outcome))
    print(f"{len(outcomes) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def _shown(outcome: Outcome) -> str:
    return f"{outcome.id}\n  expected: {_cut(outcome.expected)}\n  got:      {_cut(outcome.got)}"


def _cut(side: object) -> str:
    text = side if isinstance(side, str) else repr(side)
    return text if len(text) <= SHOWN else f"…{text[-SHOWN:]}" if "Traceback" in text else f"{text[:SHOWN]}…"
