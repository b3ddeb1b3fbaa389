"""`syncline plan FILE`: what a deploy would do. Exit 0 nothing to do, 2 changes, 1 error."""

from __future__ import annotations

import argparse
from pathlib import Path

from connector import settings
from connector.cli.planning import plan_of, print_plan, read_config, refuse_too_long
from connector.deploy.plan_file import written
from connector.errors import BadConfig


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the sync config")
    parser.add_argument("--json", action="store_true", help="print one object")
    parser.add_argument("--out", metavar="PLAN", help="write the plan to a file, for `syncline deploy PLAN`")


def run(args: argparse.Namespace) -> int:
    file = read_config(args.file, args.settings)
    if file is None:
        return 1
    plan = plan_of(settings.load(args.settings), file)
    print_plan(plan, as_json=args.json)
    refuse_too_long(plan)
    if args.out is not None:
        _write(args.out, written(plan, file.path, file.text))
    return 0 if plan.nothing_to_do else 2


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadConfig(f"{path} cannot be written: {error.strerror}", hint="name another file with --out") from error
