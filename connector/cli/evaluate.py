"""`syncline evaluate FILE --table T --row JSON`: what one row gives under a sync config. Needs no server.

With `--token` instead of a row: what one client gets (connector/cli/client.py). Exit 0, or 1 where FILE cannot be
deployed, or what is given is no JSON object. For a row `--json` prints one object:

    {"table": "schema.table",
     "buckets": [{"bucket": …, "definition": …, "type": …, "id": …, "data": text, "checksum": …}, …],
     "lookups": [{"definition": …, "index": …, "lookup": text, "outputs": […]}, …],
     "errors": [{"definition": …, "part": …, "message": …}, …]}

`bucket` is shown without the version that a deploy gives it; `data` and `checksum` are exactly those of the PUT.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from typing import Any

from connector.cli import client
from connector.cli.rows import full_table, row_of_json
from connector.cli.sync_config import check_file
from connector.definitions.evaluate import compile_part
from connector.definitions.model import Part, SyncConfig
from connector.definitions.patterns import reads
from connector.errors import BadConfig
from connector.values import Row


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="sync config, usually sync-config.yaml")
    parser.add_argument("--table", metavar="T", help="the row's table, `todos` or `public.todos`")
    parser.add_argument("--row", metavar="JSON", help="the row as a JSON object of its columns")
    client.add(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    checked = check_file(args.file)
    if checked.config is None:
        for diagnostic in checked.diagnostics:
            print(diagnostic.report(), file=sys.stderr)
        return 1
    if args.token is not None:
        return client.run(args, checked.config)
    if args.table is None or args.row is None:
        raise BadConfig("nothing to evaluate", hint="give --table and --row for a row, or --token for a client")
    table = full_table(args.table)
    result = evaluate(checked.config, table, row_of_json(args.row))
    if args.json:
        print(json.dumps(result.object(table), ensure_ascii=False))
    else:
        _print(result, table, checked.config)
    return 0


@dataclass(frozen=True, slots=True)
class Result:
    """What one row gives, part by part."""

    buckets: list[dict[str, Any]] = field(default_factory=list)
    lookups: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)

    def object(self, table: str) -> dict[str, Any]:
        return {"table": table, "buckets": self.buckets, "lookups": self.lookups, "errors": self.errors}


def evaluate(config: SyncConfig, table: str, row: Row) -> Result:
    """The row's outputs under all definitions, in their order."""
    result = Result()
    for part in _parts(config):
        _evaluate_part(part, table, row, result)
    return result


def _parts(config: SyncConfig) -> list[Part]:
    """Each part once, though streams may share it."""
    return list({part.label: part for definition in config.definitions for part in definition.parts}.values())


def _evaluate_part(part: Part, table: str, row: Row, result: Result) -> None:
    outputs, errors = compile_part(part.plan)(table, row)
    for output in outputs:
        if part.kind == "bucket":
            result.buckets.append(
                {
                    "bucket": f"{part.label}{output.bucket}",
                    "definition": part.definition,
                    "type": output.type,
                    "id": output.id,
                    "data": output.data,
                    "checksum": int.from_bytes(output.hash[:4], "little"),
                }
            )
        else:
            result.lookups.append(
                {
                    "definition": part.definition,
                    "index": part.label,
                    "lookup": output.bucket,
                    "outputs": json.loads(output.data),
                }
            )
    result.errors.extend({"definition": part.definition, "part": part.label, "message": error} for error in errors)


def _print(result: Result, table: str, config: SyncConfig) -> None:
    for row in result.buckets:
        print(f"bucket {row['bucket']}   {row['type']} {row['id']}   checksum {row['checksum']}")
        print(f"  {row['data']}")
    for found in result.lookups:
        outputs = json.dumps(found["outputs"], separators=(",", ":"), ensure_ascii=False)
        print(f"lookup {found['index']}{found['lookup']}   gives {outputs}")
    for error in result.errors:
        print(f"error in {error['part']}: {error['message']}")
    if not (result.buckets or result.lookups or result.errors):
        read = any(reads(part.tables, table) for part in _parts(config))
        reason = "the row is in no bucket" if read else f"no definition reads {table}"
        print(f"nothing: {reason}")
