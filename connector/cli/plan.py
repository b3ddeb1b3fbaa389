"""`syncline plan FILE`: what a deploy would do. Exit 0 nothing to do, 2 changes, 1 error."""

from __future__ import annotations

import argparse

from connector import settings
from connector.cli.planning import plan_of, print_plan, read_config, refuse_too_long


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the sync config")
    parser.add_argument("--json", action="store_true", help="print one object")


def run(args: argparse.Namespace) -> int:
    file = read_config(args.file, args.settings)
    if file is None:
        return 1
    plan, _ = plan_of(settings.load(args.settings), file)
    print_plan(plan, as_json=args.json)
    refuse_too_long(plan)
    return 0 if plan.nothing_to_do else 2
