"""`syncline buckets`: every exposed bucket at the newest checkpoint, folded from the op logs."""

from __future__ import annotations

import argparse
import json

from connector import settings
from topologies.oplogs import exposed_buckets


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--definition", metavar="NAME", help="only the buckets of one definition")
    parser.add_argument("--json", action="store_true", help="print one object")


def run(args: argparse.Namespace) -> int:
    found = [
        {
            "bucket": name,
            "definition": version.definition,
            "version": version.version,
            "rows": len(bucket.rows),
            "ops": bucket.count,
            "checksum": bucket.checksum,
            "last_op_id": bucket.last_op,
        }
        for version, name, bucket in exposed_buckets(settings.load(args.settings), definition=args.definition)
    ]
    if args.json:
        print(json.dumps({"buckets": found}))
        return 0
    print(f"{'bucket':<46} {'rows':>9} {'ops':>9} {'checksum':>12} {'last op_id':>14}")
    for b in found:
        print(f"{b['bucket']:<46} {b['rows']:>9,} {b['ops']:>9,} {b['checksum']:>12} {b['last_op_id']:>14}")
    return 0
