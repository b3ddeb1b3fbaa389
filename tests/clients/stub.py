"""The smallest sync server that the SDK accepts: one bucket over NDJSON, everything in memory, faults on demand.

It shows that the client app passes what is right and fails what is wrong; it is no model of the real endpoint.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Op = dict[str, Any]


class Stub:
    """The server while the block runs. `fault`: "checksum" or "missing", an op; `token`: the only one that it takes."""

    def __init__(self) -> None:
        self.fault = ""
        self.token: str | None = None
        self.bucket = 'all["v1"]'
        self.ops: list[Op] = []
        self.uploads: list[Any] = []
        self.write_checkpoint = 0
        self.changed = threading.Condition()
        self.ended = False
        self._server = _Server(("127.0.0.1", 0), _Answers)
        self._server.stub = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Stub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify_all()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def put(self, row: int, title: str) -> None:
        text = json.dumps({"id": f"t{row}", "title": title, "done": row % 2})
        self._append(row, {"op": "PUT", "checksum": zlib.crc32(text.encode()), "data": text})

    def remove(self, row: int) -> None:
        self._append(row, {"op": "REMOVE", "checksum": row + 1})

    def rename(self) -> None:
        """As a server that gives an unchanged definition a new bucket: everything is downloaded again."""
        with self.changed:
            self.bucket = 'all["v2"]'
            self.changed.notify_all()

    def _append(self, row: int, op: Op) -> None:
        with self.changed:
            op_id = str(len(self.ops) + 1)
            self.ops.append({"op_id": op_id, "object_type": "todos", "object_id": f"t{row}", "subkey": f"s{row}", **op})
            self.changed.notify_all()

    def acknowledge(self) -> str:
        with self.changed:
            self.write_checkpoint += 1
            self.changed.notify_all()
            return str(self.write_checkpoint)

    def lines(self, after: dict[str, int]) -> Iterator[Op]:
        """A stream for a client that has every bucket up to the op in `after`; ends with the stub."""
        told: tuple[str, int, int] | None = None
        while True:
            with self.changed:
                self.changed.wait_for(lambda seen=told: self.ended or self._now() != seen)
                if self.ended:
                    return
                before, told, ops = told, self._now(), list(self.ops)
            yield from self._checkpoint(before, ops, after)

    def _now(self) -> tuple[str, int, int]:
        return self.bucket, len(self.ops), self.write_checkpoint

    def _checkpoint(self, before: tuple[str, int, int] | None, ops: list[Op], after: dict[str, int]) -> Iterator[Op]:
        last, name = str(len(ops)), self.bucket
        head: Op = {"last_op_id": last}
        if self.write_checkpoint:
            head["write_checkpoint"] = str(self.write_checkpoint)
        if before is None:
            streams = [{"name": "all", "is_default": True, "errors": []}]
            yield {"checkpoint": {**head, "buckets": [self._summary(ops)], "streams": streams}}
        else:
            gone = [before[0]] if before[0] != name else []
            yield {"checkpoint_diff": {**head, "updated_buckets": [self._summary(ops)], "removed_buckets": gone}}
        start = after.get(name, 0)
        sent = ops[start : len(ops) - (self.fault == "missing")]
        place = {"bucket": name, "after": str(start), "next_after": last, "has_more": False}
        yield {"data": {**place, "data": sent}}
        after[name] = len(ops)
        yield {"checkpoint_complete": {"last_op_id": last}}

    def _summary(self, ops: list[Op]) -> Op:
        total = sum(op["checksum"] for op in ops) + (self.fault == "checksum")
        sums = {"checksum": total & 0xFFFFFFFF, "count": len(ops)}
        return {"bucket": self.bucket, **sums, "priority": 3, "subscriptions": [{"default": 0}]}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    stub: Stub


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Requests are nobody's business here."""

    def do_GET(self) -> None:
        self._reply(200, {"data": {"write_checkpoint": self.server.stub.acknowledge()}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        stub = self.server.stub
        if self.path == "/upload":
            stub.uploads += body["batch"]
            self._reply(200, {})
        elif stub.token is not None and self.headers["authorization"] != f"Token {stub.token}":
            self._reply(401, {"error": {"code": "PSYNC_S2101", "status": 401, "description": "no"}})
        else:
            self._stream(stub.lines({bucket["name"]: int(bucket["after"]) for bucket in body["buckets"]}))

    def _reply(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, lines: Iterator[Op]) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "application/x-ndjson")
        self.send_header("connection", "close")
        self.end_headers()
        try:
            for line in lines:
                self.wfile.write(json.dumps(line).encode() + b"\n")
        except ConnectionError:
            """The client went away."""
