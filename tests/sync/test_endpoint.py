"""The sync endpoint over HTTP: paths, refusals, encodings, and clients that come, read slowly and go."""

from __future__ import annotations

import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cramjam
import httpx
import orjson
import pytest

from connector.errors import Unavailable
from connector.position import op_id
from connector.store.buckets import Portion, View
from connector.sync.write_checkpoints import Client as Writer
from tests.sync.client import Client
from tests.sync.desk import Desk
from tests.sync.node import Node, eventually, serving
from tests.sync.test_lines import decoded
from tests.sync.test_sessions import CONFIG, OTHER, U1
from topologies import connection, reception
from topologies.hub import Hub


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    desk = Desk(tmp_path)
    desk.write("public.lists", {"id": "l1", "owner_id": "u1"})
    desk.write("public.todos", {"id": "t1", "list_id": "l1", "title": "x"})
    desk.deploy(CONFIG)
    with serving(desk) as made:
        made.checkpoint()
        yield made
    desk.store.close()


def test_a_stream_as_the_reference_sends_it(node: Node) -> None:
    with node.stream() as lines:
        headers = lines.response.headers
        assert headers["content-type"] == "application/x-ndjson"
        assert headers["x-accel-buffering"] == "no"
        assert headers["access-control-allow-origin"] == "*"
        assert headers["transfer-encoding"] == "chunked"
        kinds = [next(iter(line)) for line in lines.until("checkpoint_complete")]
    assert kinds == ["checkpoint", "data", "partial_checkpoint_complete", "data", "checkpoint_complete"]


def test_changes_come_live_and_a_deploy_goes_on_in_the_stream(node: Node) -> None:
    with node.stream() as lines:
        follow_changes_and_a_deploy(node, lines.sync)


def follow_changes_and_a_deploy(node: Node, sync: Callable[[Client], None]) -> None:
    """`sync` lets a client take everything up to the next complete checkpoint of its stream."""
    client = Client()
    sync(client)
    node.desk.write("public.todos", {"id": "t2", "list_id": "l1", "title": "y"})
    node.checkpoint()
    sync(client)
    assert client.applied == node.desk.visible(U1)
    node.desk.deploy(OTHER)
    node.checkpoint()
    sync(client)
    assert client.applied == node.desk.visible(U1)
    assert client.complete == 3


def test_a_change_for_another_wakes_nobody(node: Node) -> None:
    with node.stream() as lines, node.stream(user="u2") as others:
        lines.until("checkpoint_complete")
        others.until("checkpoint_complete")
        before = {seat.client.user: seat.sent_bytes for seat in node.hub.seats}
        node.desk.write("public.lists", {"id": "l2", "owner_id": "u2"})
        node.checkpoint()
        others.until("checkpoint_complete")
        assert {seat.client.user: seat.sent_bytes for seat in node.hub.seats}["u1"] == before["u1"]
        assert not any(seat.woken.is_set() for seat in node.hub.seats if seat.client.user == "u1")


def test_a_write_checkpoint_is_told_when_it_is_in_a_checkpoint(node: Node) -> None:
    asked = httpx.get(f"{node.url}/write-checkpoint2.json?client_id=c", headers={"authorization": "Token u1"})
    assert (asked.status_code, asked.json()) == (200, {"data": {"write_checkpoint": "1"}})
    with node.stream({"client_id": "c"}) as lines:
        assert "write_checkpoint" not in lines.until("checkpoint_complete")[0]["checkpoint"]
        node.acknowledge(Writer("u1", "c"), 1)
        assert lines.next()["checkpoint_diff"]["write_checkpoint"] == "1"


def test_a_checkpoint_request(node: Node) -> None:
    asked = httpx.post(
        f"{node.url}/sync/checkpoint-request",
        json={"client_id": "c", "checkpoint_request_id": "5"},
        headers={"authorization": "Bearer u1"},
    )
    assert (asked.status_code, asked.json()) == (200, {"data": {"checkpoint_request_id": "5"}})


U1_HEADER = {"authorization": "Token u1"}


@pytest.mark.parametrize(
    ("asked", "headers", "body", "told"),
    [
        ("POST /sync/stream", {}, b"{}", (401, "PSYNC_S2106")),
        ("POST /sync/stream", U1_HEADER, b"{bad", (400, "FST_ERR_CTP_INVALID_JSON_BODY")),
        ("POST /sync/stream", U1_HEADER, b'{"streams": 5}', (400, "PSYNC_S2001")),
        ("POST /sync/stream", U1_HEADER, b" " * 5_000_000, (413, "FST_ERR_CTP_BODY_TOO_LARGE")),
        ("GET /sync/stream", U1_HEADER, b"", (404, "PSYNC_S2002")),
        ("GET /nope", {}, b"", (404, "PSYNC_S2002")),
        ("POST /write-checkpoint2.json", U1_HEADER, b"{}", (404, "PSYNC_S2002")),
        ("GET /write-checkpoint2.json", {}, b"", (401, "PSYNC_S2106")),
        ("POST /sync/checkpoint-request", {}, b"{}", (401, "PSYNC_S2106")),
        ("POST /sync/checkpoint-request", U1_HEADER, b"{}", (400, "PSYNC_S2001")),
    ],
)
def test_what_is_refused(node: Node, asked: str, headers: dict[str, str], body: bytes, told: tuple[int, str]) -> None:
    method, path = asked.split()
    answer = httpx.request(method, node.url + path, headers=headers, content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == told
    assert answer.json()["error"]["status"] == told[0]
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["access-control-allow-origin"] == "*"


def test_a_web_page_may_ask_first(node: Node) -> None:
    answer = httpx.options(f"{node.url}/sync/stream", headers={"origin": "http://example.org"})
    assert answer.status_code == 204
    assert "Authorization" in answer.headers["access-control-allow-headers"]


def test_probes(node: Node) -> None:
    for name in ("startup", "liveness", "readiness"):
        eventually(lambda name=name: httpx.get(f"{node.url}/probes/{name}").status_code == 200)
    assert list(httpx.get(f"{node.url}/probes/readiness").json()) == ["ready", "started", "touched_at"]


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_an_encoded_stream_that_ends_is_whole(node: Node, encoding: str) -> None:
    headers = {"authorization": "Token u1 1", "accept-encoding": encoding}
    with httpx.stream("POST", f"{node.url}/sync/stream", json={}, headers=headers, timeout=20) as response:
        received = b"".join(response.iter_raw())
    if encoding == "gzip":
        whole = zlib.decompressobj(16 + zlib.MAX_WBITS)
        text = whole.decompress(received)
        assert whole.eof
    else:
        text = bytes(cramjam.zstd.decompress(received))
    assert text.splitlines()[-1] == b'{"token_expires_in":0}'


@pytest.mark.parametrize(("accepted", "encoding"), [("gzip, deflate", "gzip"), ("zstd, gzip", "zstd"), ("br", None)])
def test_encodings(node: Node, accepted: str, encoding: str | None) -> None:
    """Each line can be read as it comes."""
    with (
        httpx.Client(timeout=20) as client,
        client.stream(
            "POST",
            f"{node.url}/sync/stream",
            json={},
            headers={"authorization": "Token u1", "accept-encoding": accepted},
        ) as response,
    ):
        assert response.headers.get("content-encoding") == encoding
        received, text = bytearray(), b""
        for chunk in response.iter_raw():
            received += chunk
            text = _read(bytes(received), encoding)
            if b"checkpoint_complete" in text.rpartition(b"\n")[0].rpartition(b"\n")[2]:
                break
    assert next(iter(orjson.loads(text.splitlines()[0]))) == "checkpoint"


def _read(received: bytes, encoding: str | None) -> bytes:
    if encoding == "gzip":
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(received)
    if encoding == "zstd":
        return bytes(cramjam.zstd.decompress(received + b"\x01\x00\x00"))  # and an empty last block
    return received


def test_bson(node: Node) -> None:
    headers = {"authorization": "Token u1", "accept": "application/vnd.powersync.bson-stream", "accept-encoding": ""}
    with (
        httpx.Client(timeout=20) as client,
        client.stream("POST", f"{node.url}/sync/stream", json={}, headers=headers) as response,
    ):
        assert response.headers["content-type"] == "application/vnd.powersync.bson-stream"
        received, lines = b"", []
        for chunk in response.iter_raw():
            received += chunk
            while len(received) >= 4 and len(received) >= (size := int.from_bytes(received[:4], "little")):
                lines.append(decoded(received[:size]))
                received = received[size:]
            if lines and "checkpoint_complete" in lines[-1]:
                break
    taken = Client()
    for line in lines:
        taken.take(line)
    assert taken.applied == node.desk.visible(U1)


def test_a_token_ends_the_stream(node: Node) -> None:
    """Seen of the reference with a token of 24 s: a warning 20 s before, 0 at the end."""
    with node.stream(user="u1 1.5") as lines:
        lines.until("checkpoint_complete")
        assert lines.next() == {"token_expires_in": 0}
        assert lines.ended()


def test_a_token_that_has_just_expired_is_told_so(node: Node) -> None:
    """Clocks may differ by a minute: such a token is let in, and the client has to fetch another."""
    with node.stream(user="u1 -5") as lines:
        assert lines.next() == {"token_expires_in": 0}
        assert lines.ended()


def test_who_waits_for_a_node_that_stops_is_told_at_once(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, moved = threading.Event(), Hub.moved

    async def seen(hub: Hub, within: float) -> None:
        waiting.set()
        await moved(hub, within)

    monkeypatch.setattr(Hub, "moved", seen)
    monkeypatch.setattr(reception, "PATIENCE", 3600.0)
    with ThreadPoolExecutor() as others:
        answer = others.submit(node.post, {"buckets": [{"name": "1#lists", "after": str(op_id(50, 0))}]})
        assert waiting.wait(20)
        node.close()
        assert answer.result().status_code == 503


def test_a_checkpoint_that_cannot_be_served_ends_the_endpoint(node: Node) -> None:
    """Rather than that it goes on deaf."""
    with node.stream() as lines:
        lines.until("checkpoint_complete")
        view, changed = node.desk.checkpoint()
        view.exposed = replace(view.exposed, catalog={"number": 99})
        node.front.told(view, changed)
        assert lines.ended()
    eventually(lambda: not node.front.is_alive)
    assert isinstance(node.front.failure, KeyError)


def test_a_store_that_cannot_be_read_is_no_empty_one(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: object, **__: object) -> Portion:
        raise Unavailable("store is damaged")

    monkeypatch.setattr(View, "portion", unreadable)
    with node.stream() as lines:
        assert "checkpoint" in lines.next()
        with pytest.raises(httpx.RemoteProtocolError):
            lines.next()
    monkeypatch.setattr(View, "sums", unreadable)
    assert node.post({}).status_code == 503


def test_a_client_that_is_ahead_waits_and_is_told_to_come_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule V3."""
    monkeypatch.setattr(reception, "PATIENCE", 0.3)
    body = {"buckets": [{"name": "1#lists", "after": str(op_id(50, 0))}]}
    node.caught_up = False
    refused = node.post(body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "PSYNC_S2003")
    node.caught_up = True
    with node.stream(body) as lines:  # of another life of the app: it will find that its buckets are not these
        lines.until("checkpoint_complete")


def test_who_waits_for_a_newer_checkpoint_is_told_of_the_end(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node stops just when it has found out that there is none."""
    monkeypatch.setattr(reception, "PATIENCE", 0.0)

    monkeypatch.setattr(Node, "caught_up", property(lambda _: node.hub.close() or True), raising=False)
    refused = node.post({"buckets": [{"name": "1#lists", "after": str(op_id(50, 0))}]})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "PSYNC_S2003")


def test_a_node_without_deployment_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "PATIENCE", 0.1)
    desk = Desk(tmp_path)
    with serving(desk) as node:
        assert httpx.get(f"{node.url}/probes/readiness").status_code == 400
        refused = node.post({})
        assert (refused.status_code, refused.json()["error"]["code"]) == (500, "PSYNC_S2302")
    desk.store.close()


def test_too_many_buckets_are_refused(node: Node) -> None:
    for number in range(1_001):
        node.desk.write("public.lists", {"id": f"m{number}", "owner_id": "u3"})
    node.checkpoint()
    eventually(lambda: node.hub.view is not None and node.hub.view.exposed.commit == 2)
    refused = node.post({}, user="u3")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "PSYNC_S2305")


def test_a_client_that_leaves_leaves_nothing(node: Node) -> None:
    for _ in range(3):
        with node.stream() as lines:
            lines.next()
        with node.stream() as lines:
            lines.until("checkpoint_complete")
    eventually(lambda: not node.hub.seats and not node.hub._index)


def test_a_slow_reader_is_bounded(node: Node) -> None:
    """The node holds a line or two for it."""
    for number in range(4_000):
        node.desk.write("public.todos", {"id": f"n{number}", "list_id": "l1", "title": "x" * 4_000})
    node.checkpoint()
    eventually(lambda: node.hub.view is not None and node.hub.view.exposed.commit == 2)
    with socket.create_connection(("127.0.0.1", int(node.url.rpartition(":")[2]))) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = b'{"raw_data": true}'
        slow.sendall(
            b"POST /sync/stream HTTP/1.1\r\nhost: x\r\nauthorization: Token u1\r\ncontent-length: %d\r\n\r\n%s"
            % (len(body), body)
        )
        eventually(lambda: any(seat.sent_ops > 0 for seat in node.hub.seats))
        (seat,) = node.hub.seats
        time.sleep(0.3)
        assert seat.sent_ops < 4_000  # the rest has not left the store
        with node.stream() as lines:  # nobody else waits for it
            lines.until("checkpoint_complete")
    eventually(lambda: not node.hub.seats)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such option")
def test_a_client_that_reads_nothing_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hold files of the store."""
    monkeypatch.setattr(connection, "UNREAD", 1)
    desk = Desk(tmp_path)
    desk.write("public.lists", {"id": "l1", "owner_id": "u1"})
    for number in range(4_000):
        desk.write("public.todos", {"id": f"n{number}", "list_id": "l1", "title": "x" * 4_000})
    desk.deploy(CONFIG)
    with serving(desk) as node:
        node.checkpoint()
        with connected(node) as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.sendall(request("POST /sync/stream", b"{}", "authorization: Token u1"))
            eventually(lambda: any(seat.sent_ops > 0 for seat in node.hub.seats))
            eventually(lambda: not node.hub.seats)
    desk.store.close()


def request(asked: str, body: bytes, *headers: str) -> bytes:
    lines = [f"{asked} HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def connected(node: Node) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(node.url.rpartition(":")[2])), timeout=20)


def everything(connection: socket.socket) -> bytes:
    """What is sent until the node closes the connection."""
    found = b""
    while chunk := connection.recv(65536):
        found += chunk
    return found


def test_connections_are_bounded_also_of_who_is_not_let_in(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes a file, and the store needs some."""
    monkeypatch.setattr(connection, "MOST", 3)
    silent = [connected(node) for _ in range(3)]
    with connected(node) as one_too_many:
        assert everything(one_too_many).startswith(b"HTTP/1.1 429")
    silent.pop().close()
    eventually(lambda: httpx.get(f"{node.url}/probes/liveness").status_code == 200)
    for one in silent:
        one.close()


def test_the_store_keeps_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, most in ((1_000_000, 11_000), (4_096, 3_096), (1_024, 512)):
        monkeypatch.setattr(connection.resource, "getrlimit", lambda _, files=files: (files, files))
        assert connection.most_connections() == most


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"what is this\r\n\r\n", b"400"),
        (b"GET /probes/liveness HTTP/9.9\r\n\r\n", b"400"),
        (b"GET /probes/liveness HTTP/1.1\r\nx: " + b"x" * 100_000, b"431"),
        (b"GET /" + b"x" * 100_000, b"431"),
        (b"POST /sync/stream HTTP/1.1\r\ncontent-length: x\r\n\r\n", b"400"),
    ],
)
def test_what_is_not_http_gets_an_answer_in_json(node: Node, sent: bytes, told: bytes) -> None:
    with connected(node) as client:
        client.sendall(sent)
        head, _, body = everything(client).partition(b"\r\n\r\n")
    assert head.split()[1] == told
    assert orjson.loads(body)["error"]["status"] == int(told)


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"POST /sync/stream HTTP/1.1\r\nhost:"])
def test_who_says_nothing_is_not_waited_for(node: Node, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.1)
    with connected(node) as client:
        client.sendall(sent)
        assert everything(client) == b""


def test_the_end_of_the_node_ends_its_streams(node: Node) -> None:
    with node.stream() as lines:
        lines.until("checkpoint_complete")
        node.close()
        assert lines.ended()
