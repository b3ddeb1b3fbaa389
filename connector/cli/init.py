"""`syncline init`: checks and prepares source, connector and topics; safe to repeat.

`--json` prints {"ready": bool, "findings": [{"subject", "outcome": "ok" | "changed" | "wrong", "detail", "hint"}]}.
Exit code 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from connector.settings import load
from topologies.prepare import Finding, prepare


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Prepare, print what was found."""
    findings = prepare(load(args.settings))
    ready = all(finding.outcome != "wrong" for finding in findings)
    if args.json:
        print(json.dumps({"ready": ready, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        for finding in findings:
            print(_lines(finding))
        print("ready" if ready else "not ready: mend what is wrong, then run `syncline init` again")
    return 0 if ready else 1


def _lines(finding: Finding) -> str:
    line = f"{finding.outcome:8} {finding.subject}: {finding.detail}"
    return line if finding.hint is None else f"{line}\n{'':8} hint: {finding.hint}"
