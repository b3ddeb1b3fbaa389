"""`syncline cancel [GENERATION]`: gives up the deploy, verify, resume or repair that is pending; the active deployment
stays as it is (law 10)."""

from __future__ import annotations

import argparse
import json

from connector import settings
from topologies.catalog import ask


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "generation", metavar="GENERATION", nargs="?", type=int, default=0, help="default: the one that is pending"
    )
    parser.add_argument("--json", action="store_true", help="print one object")


def run(args: argparse.Namespace) -> int:
    answer = ask(settings.load(args.settings), "cancel", generation=args.generation)
    if args.json:
        print(json.dumps({"generation": answer.generation, "outcome": answer.outcome}))
    else:
        print(f"generation {answer.generation} is cancelled; the active deployment is as it was")
    return 0
