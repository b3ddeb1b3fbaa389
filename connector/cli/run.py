"""`syncline run`: the workers in the foreground."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from connector import settings
from connector.sync.admission import Admission
from topologies import worker


def add(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "--only",
        metavar="ROLE[,ROLE…]",
        type=_roles,
        default=tuple(worker.ROLES),
        help=f"run only these of {','.join(worker.ROLES)}",
    )


def run(args: argparse.Namespace) -> int:
    return supervise(args.settings, args.only)


def supervise(file: str | None, roles: Sequence[str]) -> int:
    """Run until SIGTERM or SIGINT; exit code 0 then. Raises BadConfig where a node could let no client in."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    known = settings.load(file)
    if "serve" in roles:
        Admission(known)
    return worker.run(known, roles)


def _roles(text: str) -> tuple[str, ...]:
    roles = tuple(text.split(","))
    unknown = [role for role in roles if role not in worker.ROLES]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown role {unknown[0]!r}; known: {', '.join(worker.ROLES)}")
    return roles
