"""`syncline tail [BUCKET]`: operations as checkpoints expose them."""

from __future__ import annotations

import argparse
import json

from connector import settings
from topologies.oplogs import follow_ops


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bucket", nargs="?", metavar="BUCKET", help='one bucket, e.g. 7#by_user["u1"]')
    parser.add_argument("--definition", metavar="NAME", help="only one definition")
    parser.add_argument("--from-start", action="store_true", help="the whole history first")
    parser.add_argument("--until-now", action="store_true", help="end at the checkpoint of now")
    parser.add_argument("--json", action="store_true", help="one object per line")


def run(args: argparse.Namespace) -> int:
    known = settings.load(args.settings)
    for op in follow_ops(
        known,
        definition=args.definition,
        bucket=args.bucket,
        from_start=args.from_start,
        until_now=args.until_now,
    ):
        if args.json:
            print(json.dumps(op, ensure_ascii=False), flush=True)
        else:
            row = f"{op['object_type']} {op['object_id']} {op['data'] or ''}"
            print(f"{op['op_id']:>14} {op['op']:<6} {op['bucket']} {row}", flush=True)
    return 0
