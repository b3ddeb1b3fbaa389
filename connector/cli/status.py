"""`syncline status`: positions, lag, deployments, definitions."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from connector import settings
from connector.cli.columns import aligned
from connector.cli.progress_text import progress_lines
from connector.cli.watching import watch
from connector.deploy.misnamed import deployed_names, warnings
from connector.deploy.status import status
from connector.settings import Settings
from schemas.codec import Codec
from topologies.observe import codec_of, observe


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one object")
    parser.add_argument("--watch", action="store_true", help="go on, and draw it again every second")


def run(args: argparse.Namespace) -> int:
    known = settings.load(args.settings)
    codec = codec_of(known)
    if args.watch:
        watch(lambda: look(known, codec), lines, summary, as_json=args.json)
    seen = look(known, codec)
    print(json.dumps(seen) if args.json else "\n".join(lines(seen)))
    return 0


def look(known: Settings, codec: Codec) -> dict[str, Any]:
    """The status object now."""
    seen = observe(known, codec)
    names = deployed_names(seen.catalog)
    return status(
        endpoint=known.endpoint,
        now_ms=int(time.time() * 1000),
        head=seen.head,
        progress=seen.progress,
        commit=seen.commit,
        checkpoint=seen.checkpoint,
        catalog=seen.catalog,
        warnings=tuple(warnings(known, names)) if names else (),
    )


def summary(seen: dict[str, Any]) -> str:
    """The status on one line."""
    lag = seen["lag"]
    told = f"{_deployment(seen['deployment'])}, checkpoint {seen['checkpoint']} of {seen['position']}"
    told += f", behind by {lag['rows']:,} rows, {lag['ms']:,} ms"
    if (pending := seen["pending"]) is not None:
        told += f"; {_pending(pending)} {'; '.join(line.strip() for line in progress_lines(pending))}"
    return told


def lines(seen: dict[str, Any]) -> Iterable[str]:
    """The status as a person reads it."""
    active, pending = seen["deployment"], seen["pending"]
    yield f"deployment   {_deployment(active)}" + (
        f", pending {_pending(pending)} {pending['state']}" if pending else ""
    )
    yield f"clients      at {seen['endpoint']}"
    yield f"change log   position {seen['position']}"
    yield f"checkpoint   position {seen['checkpoint']}, behind by {seen['lag']['rows']} rows, {seen['lag']['ms']} ms"
    for stream, position in seen["streams"].items():
        yield f"stream       {stream} at {position}"
    for reason in seen["waits"]:
        yield f"waits        {reason}"
    if pending:
        yield from progress_lines(pending)
    for gone in seen["let_go"]:
        yield f"let go       generation {gone['generation']}: {gone['reason']}"
    for table, reason in (seen["source"].get("refused") or {}).items():
        yield f"refused      {table}: {reason}"
    if (transaction := seen["source"]["transaction"]) is not None:
        yield f"transaction  row {transaction['row']:,} of {transaction['of']:,} is in the change log"
    for table, how in (seen["source"].get("reads") or {}).items():
        yield f"incomplete   {table}: {how}"
    if seen["source"].get("waiting"):
        yield f"waiting for  {seen['source']['waiting']}"
    yield f"rejected     {seen['rejected']}"
    for warning in seen["warnings"]:
        yield f"warning      {warning}"
    yield from _stopped(seen["definitions"])
    yield ""
    yield from aligned(_rows(seen["definitions"]), (2, 4, 5, 6))


def _rows(definitions: list[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    yield "definition", "part", "version", "state", "buckets", "rows", "ops"
    for definition in definitions:
        for part in definition["parts"]:
            counts = (f"{part[name]:,}" for name in ("buckets", "rows", "ops"))
            state = "stopped" if part["stopped"] is not None else part["state"]
            yield definition["name"], part["part"], str(part["version"]), state, *counts


def _stopped(definitions: list[dict[str, Any]]) -> Iterable[str]:
    for definition in definitions:
        for part in definition["parts"]:
            if (stopped := part["stopped"]) is not None:
                since = datetime.fromtimestamp(stopped["at"] / 1000, UTC).isoformat(timespec="seconds")
                yield (
                    f"stopped      {definition['name']} ({part['part']}) since {since}, "
                    f"at position {stopped['position']}: {stopped['because']}"
                )


def _pending(pending: dict[str, Any]) -> str:
    """A verify, a resume and a repair are generations too, and say so."""
    what = "" if pending["kind"] == "deploy" else f"{pending['kind']}, "
    return f"{what}generation {pending['generation']}"


def _deployment(deployment: dict[str, Any] | None) -> str:
    return f"generation {deployment['generation']} {deployment['state']}" if deployment else "none yet"
