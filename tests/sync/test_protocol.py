"""Our endpoint answers as the reference did: status, codes, headers, lines (tests/cases/protocol)."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from connector.settings import Settings
from connector.sync.admission import Admission
from tests.sync.desk import Desk
from tests.sync.node import Node, eventually, serving
from tests.sync.signing import CLAIMS, signer
from topologies import reception

FOLDER = Path(__file__).parent.parent / "cases" / "protocol"
RECORDINGS = {case["id"]: case for case in map(json.loads, (FOLDER / "recordings.jsonl").read_text().splitlines())}
OURS = {"date", "connection", "keep-alive"}  # headers that say nothing of the protocol
OWN_VALUES = {"last_op_id", "op_id", "after", "next_after", "subkey"}
KEYS = {"own": signer("HS256", "k1", number=1, alg="HS256"), "another": signer("HS256", "k1", number=2)}

Desks = Callable[[str], Node]


@pytest.fixture(scope="module")
def node_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desks]:
    """A node for each desk that is asked for, kept for all recordings."""
    nodes: dict[str, Node] = {}
    with ExitStack() as stack:

        def of(name: str) -> Node:
            if name not in nodes:
                folder = tmp_path_factory.mktemp(name)
                desk = Desk(folder)
                stack.callback(desk.store.close)
                settings = Settings(
                    folder / "syncline.yaml",
                    "",
                    "",
                    "",
                    "",
                    state=folder,
                    audience=("app",),
                    jwks={"keys": [KEYS["own"].jwk]},
                )
                nodes[name] = stack.enter_context(serving(desk, Admission(settings)))
                if name != "empty":
                    _fill(nodes[name], name)
            return nodes[name]

        yield of


def _fill(node: Node, name: str) -> None:
    for table, rows in json.loads((FOLDER / "rows.json").read_text()).items():
        for row in rows:
            node.desk.write(table, row)
    node.desk.deploy((FOLDER / f"{name}.yaml").read_text())
    node.checkpoint()
    eventually(lambda: node.hub.served is not None)


@pytest.mark.parametrize("name", RECORDINGS)
def test_as_the_reference_answers(name: str, node_of: Desks, monkeypatch: pytest.MonkeyPatch) -> None:
    case = RECORDINGS[name]
    node = node_of(case["desk"])
    if case["desk"] == "empty":
        monkeypatch.setattr(reception, "PATIENCE", 0.01)
    if "before" in case:
        _sent(RECORDINGS[case["before"]], node).close()
    with closing(_sent(case, node)) as connection:
        _check(connection.getresponse(), case)


def _check(answer: http.client.HTTPResponse, case: dict[str, Any]) -> None:
    unlike = set(case.get("unlike", ()))
    assert answer.status == case["response"]["status"]
    headers = {key.lower(): value for key, value in answer.getheaders() if key.lower() not in OURS}
    assert headers == case["response"]["headers"]
    if "body" in case:
        assert _alike(json.loads(answer.read()), unlike) == _alike(case["body"], unlike)
    if "lines" in case:
        lines = [json.loads(answer.readline()) for _ in case["lines"]]
        hidden = unlike | OWN_VALUES
        assert json.dumps(_alike(lines, hidden)) == json.dumps(_alike(case["lines"], hidden))
    if "begins" in case:
        start, text = case["begins"]
        assert answer.read(start + len(text) // 2)[start:].hex() == text


def _sent(case: dict[str, Any], node: Node) -> http.client.HTTPConnection:
    """With exactly the headers of the recording."""
    request = case["request"]
    body = request["body"] if isinstance(request["body"], str) else json.dumps(request["body"])
    content = b"" if request["body"] is None else body.encode()
    connection = http.client.HTTPConnection("127.0.0.1", int(node.url.rpartition(":")[2]), timeout=20)
    connection.putrequest(request["method"], request["path"], skip_accept_encoding=True)
    for name, value in request["headers"].items():
        connection.putheader(name, value)
    if case["token"] is not None:
        connection.putheader("Authorization", _authorization(case["token"]))
    connection.putheader("Content-Length", str(len(content)))
    connection.endheaders(content)
    return connection


def _authorization(token: dict[str, Any]) -> str:
    now, given = int(time.time()), {**CLAIMS, "iat": 0, "exp": 300} | token.get("claims", {})
    claims = {name: value for name, value in given.items() if value is not None}
    claims |= {name: now + claims[name] for name in ("iat", "exp") if name in claims}
    about = {"kid": token["kid"]} if "kid" in token else {}
    text = token.get("text") or KEYS[token.get("key", "own")].token(claims, token.get("algorithm"), **about)
    return f"{token.get('scheme', 'Token')} {text}"


def _alike(value: Any, hidden: set[str]) -> Any:
    """What is to be equal of it."""
    if isinstance(value, list):
        return [_alike(each, hidden) for each in value]
    if isinstance(value, dict):
        return {name: "…" if name in hidden else _alike(each, hidden) for name, each in value.items()} | (
            {"bucket": _part(value["bucket"])} if isinstance(value.get("bucket"), str) else {}
        )
    return value


def _part(bucket: str) -> str:
    return re.sub(r"^\d+#|\|\d+", "", bucket)
