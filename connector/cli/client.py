"""`syncline evaluate FILE --token JSON …`: what one client gets from a folder of rows. Needs no server.

`--json` prints one object:

    {"buckets": [{"bucket": …, "definition": …, "priority": …, "reasons": ["default" | number, …], "rows": …}, …],
     "rows": [{"type": …, "id": …, "data": text, "priority": …, "buckets": […]}, …],
     "lookups": [{"index": …, "lookup": text, "outputs": […]}, …],
     "failures": [{"definition": …, "reason": "default" | number, "message": …}, …],
     "errors": [{"part": …, "table": …, "row": number, "message": …}, …]}

A reason is the number of a `--subscribe`, from 0. `lookups` are those that were asked for. `failures` are definitions
that could not be asked for the client, `errors` rows that a part could not evaluate, counted from 1 in their file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from connector.cli.rows import rows_of_folder
from connector.definitions.dataset import Dataset, evaluated
from connector.definitions.model import SyncConfig
from connector.definitions.request import Answer, Connection, Reason, Subscription
from connector.errors import BadConfig

SHOWN = 20  # rows of a bucket that a person reads; --json has all


def add(parser: argparse.ArgumentParser) -> None:
    client = parser.add_argument_group("a client")
    client.add_argument("--token", metavar="JSON", help='the content of its token, {"sub": "u1"} at least')
    client.add_argument("--parameters", metavar="JSON", default="{}", help="what the client says of itself")
    client.add_argument(
        "--subscribe", metavar="NAME=JSON", action="append", default=[], help="a stream with parameters; repeatable"
    )
    client.add_argument("--data", metavar="DIR", help="folder of rows: todos.jsonl or public.todos.json per table")


def run(args: argparse.Namespace, config: SyncConfig) -> int:
    dataset = evaluated(config, rows_of_folder(Path(args.data)) if args.data else {})
    connection = Connection(
        _object(args.token, "--token"),
        _object(args.parameters, "--parameters"),
        [_subscription(text) for text in args.subscribe],
    )
    answer = dataset.answer(connection)
    if args.json:
        print(json.dumps(_as_json(dataset, answer), ensure_ascii=False))
    else:
        print("\n".join(_lines(dataset, answer, connection)))
    return 0


def _object(text: str, option: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadConfig(f"{option} is no JSON: {error}", hint=_HINT) from error
    if not isinstance(found, dict):
        raise BadConfig(f"{option} is no JSON object", hint=_HINT)
    return found


_HINT = """for example --token '{"sub": "u1"}' --subscribe 'list={"id": "l1"}'"""


def _subscription(text: str) -> Subscription:
    name, _, parameters = text.partition("=")
    return Subscription(name, _object(parameters or "{}", f"--subscribe {name}"))


def _as_json(dataset: Dataset, answer: Answer) -> dict[str, Any]:
    return {
        "buckets": [
            {
                "bucket": one.name,
                "definition": one.definition,
                "priority": one.priority,
                "reasons": list(one.reasons),
                "rows": len(dataset.rows(one)),
            }
            for one in answer.buckets
        ],
        "rows": [
            {"type": output.type, "id": output.id, "data": output.data}
            | {"priority": priority, "buckets": list(buckets)}
            for output, buckets, priority in dataset.visible(answer)
        ],
        "lookups": [
            {"index": index, "lookup": key, "outputs": list(dataset.lookups.get((index, key), ()))}
            for index, key in sorted(answer.lookups)
        ],
        "failures": [
            {"definition": one.definition, "reason": one.reason, "message": one.message} for one in answer.failures
        ],
        "errors": [
            {"part": one.label, "table": one.table, "row": one.row, "message": one.message} for one in dataset.errors
        ],
    }


def _lines(dataset: Dataset, answer: Answer, connection: Connection) -> Iterator[str]:
    for bucket in answer.buckets:
        reasons = ", ".join(dict.fromkeys(_reason(each, connection) for each in bucket.reasons))
        yield f"bucket {bucket.name}   {bucket.definition}, priority {bucket.priority}, {reasons}"
        rows = dataset.rows(bucket)
        yield from (f"  {output.type} {output.id}   {output.data}" for output in rows[:SHOWN])
        if len(rows) > SHOWN:
            yield f"  and {len(rows) - SHOWN:,} more (--json has all)"
    if not answer.buckets:
        yield "no bucket"
    for index, key in sorted(answer.lookups):
        yield f"lookup {index}{key}   {len(dataset.lookups.get((index, key), ()))} found"
    for failure in answer.failures:
        yield f'"{failure.definition}" failed ({_reason(failure.reason, connection)}): {failure.message}'
    for error in dataset.errors[:SHOWN]:
        yield f"error in {error.label}, {error.table} row {error.row}: {error.message}"
    if len(dataset.errors) > SHOWN:
        yield f"and {len(dataset.errors) - SHOWN:,} more errors"


def _reason(reason: Reason, connection: Connection) -> str:
    if reason == "default":
        return "by default"
    return f"--subscribe {reason} ({connection.subscriptions[reason].stream})"
