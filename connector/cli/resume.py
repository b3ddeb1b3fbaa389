"""`syncline resume DEFINITION`: evaluates a stopped definition anew into its own buckets, and lets it go on.

Clients download only the rows that differ from those at which it was stopped (rule D6).
"""

from __future__ import annotations

import argparse
import json

from connector import settings
from connector.cli.stall import Stall
from connector.deploy.catalog import Deployment
from connector.errors import RequestRefused
from topologies.catalog import ask
from topologies.observe import Watch


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("definition", metavar="DEFINITION", help="the one that is stopped")
    parser.add_argument("--json", action="store_true", help="print one object")


def run(args: argparse.Namespace) -> int:
    known = settings.load(args.settings)
    watch = Watch(known)
    try:
        answer = ask(known, "resume", definition=args.definition)
        over = laid(watch, answer.generation) if answer.outcome == "accepted" else None
    finally:
        watch.close()
    position = over.position if over is not None else None
    if args.json:
        print(json.dumps({"definition": args.definition, "outcome": answer.outcome, "position": position}))
    elif over is None:
        print(answer.reason)
    else:
        print(f"{args.definition} goes on from position {over.position}")
    return 0


def laid(watch: Watch, generation: int) -> Deployment:
    """Wait until an overlay is laid. Raises RequestRefused where all stays as it was."""
    stall = Stall()
    while True:
        deployment = watch.catalog.deployment(generation)
        if deployment is not None and deployment.switched_at:
            return deployment
        if deployment is not None and not deployment.pending:
            failed = deployment.state == "failed"
            raise RequestRefused(
                f"it stays as it was: {deployment.reason}",
                hint="mend the rows that cannot be evaluated, or change the definition and deploy" if failed else None,
            )
        stall.tell(watch.commit)
        watch.poll(0.2)
