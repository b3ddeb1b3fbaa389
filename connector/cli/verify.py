"""`syncline verify`: every part replayed anew beside the live ones, and compared at one boundary (law 9).

Exit 0 equal, 1 anything else.
"""

from __future__ import annotations

import argparse
import json
import time

from connector import settings
from connector.cli.resume import laid
from connector.cli.verify_text import as_json, lines
from connector.cli.verifying import rebuilt_and_compared
from topologies.catalog import ask
from topologies.observe import Watch


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one object")
    parser.add_argument("--repair", action="store_true", help="write what differs, as the rebuild has it")


def run(args: argparse.Namespace) -> int:
    known = settings.load(args.settings)
    started = time.monotonic()
    watch = Watch(known)
    try:
        verified = rebuilt_and_compared(known, watch)
        if verified.different and args.repair:
            verified.repaired = laid(watch, ask(known, "repair").generation).position
            verified.left = rebuilt_and_compared(known, watch).different
    finally:
        watch.close()
    seconds = time.monotonic() - started
    print(json.dumps(as_json(verified, seconds)) if args.json else "\n".join(lines(verified, seconds)))
    return 0 if verified.equal or (verified.left == 0 and not verified.faulty) else 1
