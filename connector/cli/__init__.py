"""The command line: parses arguments, runs one command, prints, exits."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from connector.errors import SynclineError

# One entry per command: its module `connector.cli.<module>` has `add(parser)` and `run(args) -> int`.
COMMANDS: dict[str, tuple[str, str]] = {
    "local": ("local", "start, stop and look at the local stack"),
    "validate": ("validate", "check a sync config; all errors at once"),
    "evaluate": ("evaluate", "what one row would give under a sync config; needs no server"),
    "init": ("init", "check and prepare connector, topics and settings"),
    "run": ("run", "run the workers in the foreground"),
    "serve": ("serve", "run a node that serves clients, alone"),
    "plan": ("plan", "show what a deploy would do"),
    "deploy": ("deploy", "deploy a sync config; reprocesses only what changed"),
    "cancel": ("cancel", "give up what is pending"),
    "rollback": ("rollback", "deploy again what was active before"),
    "resume": ("resume", "let a stopped definition go on"),
    "history": ("history", "the deployments and what became of them"),
    "gc": ("gc", "drop now what is only kept for a rollback, with its topics and groups"),
    "status": ("status", "positions, lag, deployments, definitions"),
    "clients": ("clients", "the clients that are connected, and how far each has come"),
    "buckets": ("buckets", "list buckets with rows, ops and checksums"),
    "tail": ("tail", "print operations as they come"),
    "token": ("token", "print a token for a client, signed by the development key"),
    "verify": ("verify", "prove that incremental equals from scratch"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code: 0 done, 1 error, others as the command documents."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="syncline", description=__doc__)
    parser.add_argument("--settings", metavar="FILE", help="settings file (default: the nearest syncline.yaml)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    wanted = next((word for word in arguments if word in COMMANDS), None)
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name == wanted:  # only the command that runs is imported: `validate` must not load Kafka
            importlib.import_module(f"connector.cli.{module}").add(command)
    args = parser.parse_args(arguments)
    try:
        return int(importlib.import_module(f"connector.cli.{COMMANDS[args.command][0]}").run(args))
    except SynclineError as error:
        print(error.report(), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader has seen enough, as in `syncline buckets | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if not _is_of_kafka(error):
            raise
        print(importlib.import_module("connector.cli.broker").as_told(error, args.settings).report(), file=sys.stderr)
        return 1


def _is_of_kafka(error: Exception) -> bool:
    """Whether it is the Kafka library's, which is loaded only where a command has asked for it."""
    library = sys.modules.get("confluent_kafka")
    return library is not None and isinstance(error, library.KafkaException)
