"""`syncline clients`: the clients that are connected, as their nodes tell of them."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from connector import settings
from connector.cli.columns import aligned, counted, seconds_text, size_text
from connector.cli.watching import watch
from connector.settings import Settings
from connector.sync.connected import overview
from schemas.codec import Codec
from topologies.nodes import read_nodes
from topologies.observe import codec_of

HEADINGS = ("user", "client", "node", "since", "buckets", "lag", "sent", "ops")
RIGHT = (4, 6, 7)


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
    """The clients now."""
    return overview(read_nodes(known, codec), int(time.time() * 1000))


def summary(seen: dict[str, Any]) -> str:
    """All of it on one line."""
    if not seen["nodes"]:
        return "no node is running"
    behind = f", {seen['behind']:,} behind" if seen["behind"] else ""
    nodes = counted(len(seen["nodes"]), "node")
    return f"{counted(seen['connected'], 'client')} at {nodes}{behind}"


def lines(seen: dict[str, Any]) -> Iterator[str]:
    """A line per client; those that lack most first."""
    yield summary(seen)
    for node in seen["nodes"]:
        if node["lag_ms"]:
            yield f"{node['endpoint']} has lacked a checkpoint for {_lag(node['lag_ms'])}"
    if seen["clients"]:
        yield ""
        yield from aligned(_rows(seen["clients"]), RIGHT)
    if unlisted := seen["connected"] - len(seen["clients"]):
        yield f"and {unlisted:,} more"


def _rows(clients: Iterable[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    yield HEADINGS
    for one in clients:
        since = datetime.fromtimestamp(one["since"] / 1000).strftime("%Y-%m-%d %H:%M:%S")
        sent = size_text(one["bytes"])
        who = (_printable(one["user"]), _printable(one["client"] or ""), one["endpoint"], since)
        yield (*who, f"{one['buckets']:,}", _lag_of(one["lag"]), sent, f"{one['ops']:,}")


def _lag_of(lag: dict[str, int]) -> str:
    if not lag["ms"]:
        return "none"
    downloading = f", has {lag['buckets']:,} of {counted(lag['of'], 'bucket')}" if lag["of"] else ""
    return f"{_lag(lag['ms'])}{downloading}"


def _lag(ms: int) -> str:
    return seconds_text(ms / 1000)


def _printable(name: str) -> str:
    """Clients choose their names: none of them moves the terminal's cursor."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in name)
