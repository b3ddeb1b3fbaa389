"""What a client makes of lines, as the SDK's core does: buckets, checksums, and rows once a checkpoint is complete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

Identity = tuple[str, str, str]  # type, id, subkey


def unsigned(checksum: int) -> int:
    return checksum & 0xFFFFFFFF


@dataclass(slots=True)
class ClientBucket:
    """`rows` are the last PUTs, with content and checksum; `cleared` sums what MOVE, REMOVE and CLEAR stand for."""

    rows: dict[Identity, tuple[str, int]] = field(default_factory=dict)
    gone: int = 0
    last: int = 0

    @property
    def checksum(self) -> int:
        return unsigned(self.gone + sum(checksum for _, checksum in self.rows.values()))

    def apply(self, op: Mapping[str, Any]) -> None:
        assert int(op["op_id"]) > self.last, f"op {op['op_id']} after {self.last}"
        self.last = int(op["op_id"])
        if op["op"] == "CLEAR":
            self.rows, self.gone = {}, unsigned(op["checksum"])
            return
        if op["op"] == "MOVE":
            self.gone += op["checksum"]
            return
        identity = (op["object_type"], op["object_id"], op["subkey"])
        if (before := self.rows.pop(identity, None)) is not None:
            self.gone += before[1]
        if op["op"] == "PUT":
            text = op["data"] if isinstance(op["data"], str) else json.dumps(op["data"])
            if isinstance(op["data"], str):
                digest = sha256(f"put.{op['object_type']}.{op['object_id']}.{text}".encode()).digest()
                assert int.from_bytes(digest[:4], "little") == op["checksum"]
            self.rows[identity] = (text, op["checksum"])
        else:
            self.gone += op["checksum"]


@dataclass(slots=True)
class Client:
    """Lines in, visible rows out. `downloaded` counts ops since it was last set to 0."""

    buckets: dict[str, ClientBucket] = field(default_factory=dict)
    items: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    streams: list[Mapping[str, Any]] = field(default_factory=list)
    applied: set[tuple[str, str, str]] = field(default_factory=set)
    op_id: int = 0
    write_checkpoint: str | None = None
    complete: int = 0
    downloaded: int = 0

    @property
    def positions(self) -> list[dict[str, str]]:
        """As the next request says it."""
        return [{"name": name, "after": str(bucket.last)} for name, bucket in self.buckets.items()]

    def take(self, line: Mapping[str, Any]) -> None:
        ((kind, content),) = line.items()
        getattr(self, f"_{kind}")(content)

    def _checkpoint(self, content: Mapping[str, Any]) -> None:
        self.items = {item["bucket"]: item for item in content["buckets"]}
        self.streams = content["streams"]
        self._target(content)
        self.buckets = {name: bucket for name, bucket in self.buckets.items() if name in self.items}

    def _checkpoint_diff(self, content: Mapping[str, Any]) -> None:
        for name in content["removed_buckets"]:
            del self.items[name]
            self.buckets.pop(name, None)
        for item in content["updated_buckets"]:
            assert self.items.get(item["bucket"]) != item, f"{item} is as before"
            self.items[item["bucket"]] = item
        self._target(content)

    def _target(self, content: Mapping[str, Any]) -> None:
        assert int(content["last_op_id"]) >= self.op_id
        self.op_id, self.write_checkpoint = int(content["last_op_id"]), content.get("write_checkpoint")

    def _data(self, content: Mapping[str, Any]) -> None:
        assert content["bucket"] in self.items
        bucket = self.buckets.setdefault(content["bucket"], ClientBucket())
        assert int(content["after"]) == bucket.last
        for op in content["data"]:
            bucket.apply(op)
        assert int(content["next_after"]) == bucket.last
        self.downloaded += len(content["data"])

    def _partial_checkpoint_complete(self, content: Mapping[str, Any]) -> None:
        self._check(content, content["priority"])

    def _checkpoint_complete(self, content: Mapping[str, Any]) -> None:
        self._check(content, 99)
        self.complete += 1
        self.applied = {
            (kind, name, json.dumps(json.loads(text)))
            for bucket in self.buckets.values()
            for (kind, name, _), (text, _) in bucket.rows.items()
        }

    def _check(self, content: Mapping[str, Any], priority: int) -> None:
        assert int(content["last_op_id"]) == self.op_id
        for name, item in self.items.items():
            if item["priority"] <= priority:
                held = self.buckets.get(name, ClientBucket()).checksum
                assert held == unsigned(item["checksum"]), f"checksum of {name}"

    def _token_expires_in(self, content: int) -> None:
        assert content >= 0
