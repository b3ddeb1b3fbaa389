"""Two clients of the real SDK that stay connected while a definition changes, and what that costs them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from connector.settings import Settings
from connector.sync import development
from examples.todo import expected
from examples.todo.client.sdk import Client

HERE = Path(__file__).parent
SCHEMA = json.loads((HERE / "client" / "schema.json").read_text())
PATIENCE = 30.0
Received = Mapping[str, Any]


def user_id(number: int) -> str:
    """Of the users that `traffic.fill` makes."""
    return str(UUID(md5(f"user {number}".encode()).hexdigest()))


USERS: Mapping[str, dict[str, Any]] = {
    "User 2": {"sub": user_id(2)},
    "User 1, admin": {"sub": user_id(1), "role": "admin"},
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What a client downloaded: rows (one that changed twice counts twice), and the bytes of their lines."""

    rows: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.rows:>6,} rows {self.bytes / 1000:>7,.1f} KB"


def cost(received: Received, buckets: set[str]) -> Cost:
    return Cost(*(sum(received[what].get(bucket, 0) for bucket in buckets) for what in ("ops", "op_bytes")))


class Connected:
    """The clients, connected from `connect` to the end of the block."""

    def __init__(self, known: Settings) -> None:
        self._known = known
        self._opened = ExitStack()
        self._clients: dict[str, Client] = {}
        self._first: dict[str, tuple[set[str], Received]] = {}

    def __enter__(self) -> Connected:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def connect(self) -> None:
        """Returns once each has its first sync."""
        self._clients = {name: self._open(name, "connected") for name in USERS}
        for name, client in self._clients.items():
            received = client.first_sync()["received"]
            buckets = set(client.buckets())
            self._first[name] = buckets, received
            print(f"{name:<14} {cost(received, buckets)} in {len(buckets)} buckets")

    def told(self, config: Path) -> list[str]:
        """Prints what each downloaded again; what was not as it is to be. The writer has stopped."""
        fresh = {name: self._open(name, "fresh") for name in USERS}
        with psycopg.connect(self._known.postgres) as source:
            rows = expected.dataset(source, config)
        print(f"{'client':<14} {'first sync':>22}  {'again after the change':>22}  {'a full re-sync':>22}   saved")
        wrong = []
        for name, client in self._clients.items():
            resync = fresh[name].first_sync()["received"]
            wanted = expected.held(rows, USERS[name])
            wrong += [f"{name}: {what}" for what in self._judged(name, client, wanted, resync)]
            if not _holds(fresh[name], wanted):
                wrong.append(f"{name}: a fresh client does not hold its rows")
        return wrong

    def _judged(self, name: str, client: Client, wanted: expected.Held, resync: Received) -> list[str]:
        equal, received, now = _holds(client, wanted), client.received(), set(client.buckets())
        before, first = self._first[name]
        again, full = cost(received, now - before), cost(resync, now)
        saved = 1 - again.bytes / full.bytes
        print(f"{name:<14} {cost(first, before)}  {again}  {full}  {saved:>5.0%}")
        print(f"{'':<14} {len(now & before)} buckets kept, {len(now - before)} replaced; {len(wanted):,} rows held")
        return unmet(received, before, now, equal=equal, again=again, full=full)

    def _open(self, name: str, life: str) -> Client:
        token = development.issue(self._known, USERS[name], now=time.time(), seconds=3600)
        folder = self._known.state / "clients" / life / name.partition(",")[0].replace(" ", "-").lower()
        client = Client(self._known.endpoint, token, SCHEMA, folder, accept="application/x-ndjson", retry="100")
        return self._opened.enter_context(client)


def unmet(received: Received, before: set[str], now: set[str], *, equal: bool, again: Cost, full: Cost) -> list[str]:
    """What was to be true of a client that stayed connected, with these buckets before and now, and is not."""
    starts = received["starts"]
    claims = {
        "its SQLite does not equal its rows in Postgres": equal,
        "it had to connect again": received["requests"] == 1,
        "other definitions than list_todos got new buckets": _definitions(before ^ now) == {"list_todos"},
        "an unchanged bucket was downloaded again": all(starts.get(bucket, 1) == 1 for bucket in before & now),
        "an unchanged bucket was mentioned without a change in it": received["repeated"] == 0,
        "it downloaded as much again as a full re-sync": again.bytes < full.bytes,
    }
    return [what for what, holds in claims.items() if not holds]


def _definitions(buckets: set[str]) -> set[str]:
    """Of `6#list_todos["…"]`."""
    return {bucket.partition("#")[2].partition("[")[0] for bucket in buckets}


def _holds(client: Client, wanted: expected.Held) -> bool:
    """Whether its SQLite comes to equal that, and no checksum was wrong on the way."""
    until = time.monotonic() + PATIENCE
    while client.held() != wanted:
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return not any("hecksum" in error for error in client.errors)
