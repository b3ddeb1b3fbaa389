"""The clients that are connected, as their nodes tell of them (`syncline.Node`). Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

Record = Mapping[str, Any]

EVERY = 2.0  # seconds between two records of a node, at least
BEAT = 30.0  # and at most
FORGOTTEN = 90.0  # seconds after which a node that says nothing is not there any more


class Rhythm:
    """When a node has to say again what it says: soon after something has changed, and now and then."""

    def __init__(self) -> None:
        self._said: object = None
        self._at: float | None = None

    def is_due(self, now: float, what: object) -> bool:
        """Whether it is to be said now, where `what` is other than before exactly where something has changed."""
        if self._at is not None:
            waited = now - self._at
            if waited < EVERY or (what == self._said and waited < BEAT):
                return False
        self._said, self._at = what, now
        return True


class Standing:
    """Since when a node has not got a checkpoint that it knows of, as far as one can tell who looks now and then."""

    def __init__(self) -> None:
        self._wanted, self._asked = 0, 0.0

    def behind_since(self, now: float, newest: int, taken: int) -> float | None:
        """`newest` and `taken` are checkpoints' numbers. One that has just come is not missed yet."""
        if taken < self._wanted:
            return self._asked
        self._wanted, self._asked = newest, now
        return None


class Connected:
    """How many clients are connected, and how many of them have buckets of given versions."""

    def __init__(self, nodes: Iterable[Record]) -> None:
        self.clients = 0
        self._holdings: Counter[frozenset[int]] = Counter()
        for node in nodes:
            self.clients += node["clients"]
            for holding in node["holdings"]:
                self._holdings[frozenset(holding["versions"])] += holding["clients"]

    def having(self, versions: Iterable[int]) -> int:
        """Clients with a bucket of any of them. Nodes name 1,000 combinations at most: clients with others are not in
        here."""
        wanted = frozenset(versions)
        return sum(clients for held, clients in self._holdings.items() if held & wanted)


def overview(nodes: Iterable[Record], now: int) -> dict[str, Any]:
    """The object that `syncline clients --json` prints; `now` in ms."""
    known = sorted(nodes, key=lambda node: (node["endpoint"], node["node"]))
    clients = [_client(node, one, now) for node in known for one in node["listed"]]
    return {
        "connected": sum(node["clients"] for node in known),
        "behind": sum(node["behind"] for node in known),
        "nodes": [
            {name: node[name] for name in ("node", "endpoint", "at", "clients", "behind")}
            | {"lag_ms": _since(node["behind_since"], now)}
            for node in known
        ],
        "clients": sorted(clients, key=lambda client: (-client["lag"]["ms"], client["user"], client["since"])),
    }


def _client(node: Record, client: Record, now: int) -> dict[str, Any]:
    lag = _since(client["behind_since"], now)
    sent, due = (client["sent"], client["due"]) if client["behind_since"] else (0, 0)
    return {
        "user": client["user"],
        "client": client["client"],
        "node": node["node"],
        "endpoint": node["endpoint"],
        "since": client["since"],
        "buckets": client["buckets"],
        "last_op_id": client["op_id"],
        "lag": {"ms": max(lag, _since(node["behind_since"], now)), "buckets": sent, "of": due},
        "bytes": client["sent_bytes"],
        "ops": client["sent_ops"],
    }


def _since(moment: int, now: int) -> int:
    """ms; of a moment a node's clock may have run ahead of ours in."""
    return max(1, now - moment) if moment else 0
