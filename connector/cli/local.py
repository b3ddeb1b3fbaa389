"""`syncline local up | down | status | reset`: the local stack of a project folder.

`status --json` prints {"kafka", "registry", "connect", "postgres": addresses, "parts": [{"name", "health", "pid",
"memory", "log"}]}; memory is in bytes. Its exit code is 0 where all parts are ready, else 1.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

from connector.errors import BadConfig
from connector.local.parts import PORTS
from connector.local.stack import PartStatus, Stack
from connector.settings import FILE_NAME


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the four actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    up = actions.add_parser("up", help="start what does not run, wait until all is ready, write syncline.yaml")
    up.add_argument("--port", action="append", default=[], metavar="NAME=NUMBER", help=f"a port of: {', '.join(PORTS)}")
    actions.add_parser("down", help="end every process of the stack; state stays")
    status = actions.add_parser("status", help="addresses and parts; exit code 1 unless all are ready")
    status.add_argument("--json", action="store_true", help="one JSON object")
    actions.add_parser("reset", help="end every process and drop all state")


def run(args: argparse.Namespace) -> int:
    """Perform the action on the stack of the project folder."""
    stack = Stack(_project(args))
    return {"up": _up, "down": _down, "status": _status, "reset": _reset}[args.action](stack, args)


def _project(args: argparse.Namespace) -> Path:
    """`up` makes a project of the folder it is run in; the others find it as every command finds its settings."""
    if args.settings is not None:
        return Path(args.settings).resolve().parent
    here = Path.cwd()
    folders = (here,) if args.action == "up" else (here, *here.parents)
    return next((folder for folder in folders if (folder / FILE_NAME).is_file()), here)


def _up(stack: Stack, args: argparse.Namespace) -> int:
    began = time.monotonic()
    addresses = stack.up(dict(map(_port, args.port)))
    print(f"ready in {time.monotonic() - began:.1f} s; {FILE_NAME} says where:")
    for name, address in asdict(addresses).items():
        print(f"  {name:9} {address}")
    return 0


def _port(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not number.isdigit() or not 0 < int(number) < 65536:
        raise BadConfig(f'"{text}" is no port', where="--port", hint="write it as kafka=9092")
    return name, int(number)


def _down(stack: Stack, args: argparse.Namespace) -> int:
    stack.down()
    print("the local stack is down; its state stays (`syncline local reset` drops it)")
    return 0


def _reset(stack: Stack, args: argparse.Namespace) -> int:
    stack.reset()
    print("the local stack is down and its state dropped")
    return 0


def _status(stack: Stack, args: argparse.Namespace) -> int:
    addresses, parts = asdict(stack.addresses()), stack.status()
    if args.json:
        print(json.dumps({**addresses, "parts": [{**asdict(part), "log": str(part.log)} for part in parts]}))
    else:
        for part in parts:
            print(_line(part, addresses[part.name]))
        print(f"memory in all: {sum(part.memory for part in parts) // 2**20} MB")
    return 0 if all(part.health == "ready" for part in parts) else 1


def _line(part: PartStatus, address: str) -> str:
    return f"{part.name:9} {part.health:10} pid {part.pid or '-':<8} {part.memory // 2**20:5} MB  {address}"
