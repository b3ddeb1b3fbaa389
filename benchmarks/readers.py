"""Plain readers of the sync stream, in a process of their own: they keep nothing, and tell of complete checkpoints.

Reads one JSON object, {"url", "tokens": […], "body": {…}, "way": json, bson or websocket, "discard": bytes}, from
stdin, and at the next line opens a stream per token. Prints a line per complete checkpoint, {"reader": number, "at":
seconds of the machine's monotonic clock, "bytes": received in all}. The first `discard` bytes of a stream are taken
from the socket without being copied: readers of nodes are other machines, and cost this one nothing.
"""

from __future__ import annotations

import json
import resource
import selectors
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal
from urllib.parse import urlsplit

Way = Literal["json", "bson", "websocket"]
OF_BSON = b"\x03checkpoint_complete\0"
COMPLETE: dict[Way, bytes] = {"json": b'{"checkpoint_complete"', "bson": OF_BSON, "websocket": OF_BSON}
ACCEPT: dict[Way, bytes] = {"json": b"application/x-ndjson", "bson": b"application/vnd.powersync.bson-stream"}
AT_ONCE = 1 << 20
_UNUSED = bytearray(AT_ONCE)


def raise_open_files() -> None:
    """As many connections as the system lets this process have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Readers:
    """Readers of one node, until the block ends. `opened` is when they asked, after `go`."""

    def __init__(
        self, url: str, tokens: Sequence[str], body: Mapping[str, Any], *, way: Way = "json", discard: int = 0
    ) -> None:
        self._order = json.dumps(
            {
                "url": url,
                "tokens": list(tokens),
                "body": {"raw_data": True, **body},
                "way": way,
                "discard": discard,
            }
        )
        self._count = len(tokens)
        self.opened = 0.0
        self.complete: dict[int, list[tuple[float, int]]] = {number: [] for number in range(self._count)}

    def __enter__(self) -> Readers:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.readers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None
        self._process.stdin.write(self._order + "\n")
        self._process.stdin.flush()
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it is there
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def go(self) -> Readers:
        """Let them ask."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            if "opened" in told:
                self.opened = told["opened"]
            else:
                self.complete[told["reader"]].append((told["at"], told["bytes"]))

    def wait(self, holds: Callable[[list[tuple[float, int]]], bool], within: float = 120.0) -> None:
        """Until it holds for what each reader has completed."""
        deadline = time.monotonic() + within
        while not all(map(holds, self.complete.values())):
            if time.monotonic() > deadline:
                raise AssertionError(f"{sum(map(holds, self.complete.values()))} of {self._count} readers got there")
            time.sleep(0.002)


def main() -> None:
    raise_open_files()
    order = json.loads(sys.stdin.readline())
    address = urlsplit(order["url"])
    body = json.dumps(order["body"]).encode()
    complete = COMPLETE[order["way"]]
    selector = selectors.DefaultSelector()
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps({"opened": time.monotonic()}), flush=True)
    for number, token in enumerate(order["tokens"]):
        connection = socket.create_connection((address.hostname or "", address.port or 80))
        if order["way"] == "websocket":
            _ask_over_websocket(connection, token, body)
        else:
            connection.sendall(
                b"POST /sync/stream HTTP/1.1\r\nhost: node\r\nauthorization: Token %b\r\n"
                b"content-type: application/json\r\naccept: %b\r\ncontent-length: %d\r\n\r\n%b"
                % (token.encode(), ACCEPT[order["way"]], len(body), body)
            )
        selector.register(connection, selectors.EVENT_READ, Stream(number, connection, complete, order["discard"]))
        _read(selector, 0)
    while True:
        _read(selector, None)


def _ask_over_websocket(connection: socket.socket, token: str, body: bytes) -> None:
    """Without compression, with a mask of zeros, and for as many lines as there are (connector/sync/rsocket.py)."""
    connection.sendall(
        b"GET /sync/stream HTTP/1.1\r\nhost: node\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: x3JJHMbDL1EzLkh9GBhXDw==\r\n\r\n"
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += connection.recv(1)
    kind = b"\x10application/json"
    setup = struct.pack(">IHHHII", 0, 1 << 10 | 0x100, 1, 0, 20_000, 600_000) + kind + kind
    request = struct.pack(">IHI", 1, 6 << 10 | 0x100, 2**31 - 1)
    for head, beside, data in (
        (setup, json.dumps({"token": f"Token {token}"}).encode(), b""),
        (request, json.dumps({"path": "/sync/stream"}).encode(), body),
    ):
        message = head + len(beside).to_bytes(3, "big") + beside + data
        connection.sendall(b"\x82" + struct.pack(">BHI", 0x80 | 126, len(message), 0) + message)


class Stream:
    """One connection, and what it has had."""

    def __init__(self, number: int, connection: socket.socket, complete: bytes, discard: int) -> None:
        self._number, self._connection, self._complete, self._discard = number, connection, complete, discard
        self._received, self._tail = 0, b""

    def read(self) -> None:
        """Take what has come."""
        if self._received < self._discard:
            most = min(AT_ONCE, self._discard - self._received)
            size = self._connection.recv_into(_UNUSED, most, socket.MSG_TRUNC)
            chunk = b""
        else:
            chunk = self._connection.recv(AT_ONCE)
            size = len(chunk)
        if not size:
            sys.exit(f"reader {self._number}: the stream has ended: {self._tail!r}")
        self._received += size
        self._tail = (self._tail + chunk)[-len(chunk) - len(self._complete) :]
        if self._complete in self._tail:
            told = {"reader": self._number, "at": time.monotonic(), "bytes": self._received}
            print(json.dumps(told), flush=True)
            self._tail = b""
        self._tail = self._tail[-len(self._complete) + 1 :]


def _read(selector: selectors.BaseSelector, timeout: float | None) -> None:
    for key, _ in selector.select(timeout):
        key.data.read()


if __name__ == "__main__":
    main()
