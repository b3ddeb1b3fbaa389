"""`syncline token`: a token for a client, signed by this state folder's development key."""

from __future__ import annotations

import argparse
import time
from typing import Any

import orjson

from connector import settings
from connector.sync import development
from connector.sync.tokens import MAX_LIFETIME


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sub", metavar="USER", required=True, help="the user that the token is for")
    parser.add_argument("--claims", metavar="JSON", type=_claims, default={}, help="an object of further claims")
    parser.add_argument("--expires", metavar="SECONDS", type=_seconds, default=3600, help="lifetime (default: 3600)")


def run(args: argparse.Namespace) -> int:
    claims = {"sub": args.sub, **args.claims}
    print(development.issue(settings.load(args.settings), claims, now=time.time(), seconds=args.expires))
    return 0


def _claims(text: str) -> dict[str, Any]:
    try:
        claims = orjson.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(claims, dict):
        raise argparse.ArgumentTypeError("not a JSON object")
    return claims


def _seconds(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= MAX_LIFETIME:
        raise argparse.ArgumentTypeError(f"not a whole number of seconds from 1 to {MAX_LIFETIME}")
    return int(text)
