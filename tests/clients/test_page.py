"""The example's web page: its reader on recorded lines and on a node, the page itself in a browser."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from connector.local import npm
from examples.todo.page import FILES, Page
from tests.clients import browser
from tests.sync.desk import Desk
from tests.sync.node import Node, eventually, serving
from tests.test_structure import ROOT

READER = [npm.node(), "--no-warnings", Path(__file__).parent / "reader.mjs"]
CONFIG = (ROOT / "examples" / "todo" / "sync-config.yaml").read_text()
SECOND = (ROOT / "examples" / "todo" / "sync-config-v2.yaml").read_text()
USER = "u1"
PATIENCE = 120.0
Line = dict[str, Any]


# -- lines --


def bucket(name: str, checksum: int) -> Line:
    return {"bucket": name, "checksum": checksum, "count": 1, "priority": 3, "subscriptions": [{"default": 0}]}


def checkpoint(**buckets: int) -> Line:
    return {"checkpoint": {"last_op_id": "9", "buckets": [bucket(*each) for each in buckets.items()], "streams": []}}


def diff(*removed: str, **updated: int) -> Line:
    changed = [bucket(*each) for each in updated.items()]
    return {"checkpoint_diff": {"last_op_id": "9", "removed_buckets": removed, "updated_buckets": changed}}


def data(name: str, after: int, *ops: Line) -> Line:
    last = ops[-1]["op_id"]
    portion = {"bucket": name, "after": str(after), "has_more": False, "data": list(ops), "next_after": last}
    return {"data": portion}


def put(number: int, row: str, title: str, checksum: int = 1) -> Line:
    text = json.dumps({"id": row, "title": title}, ensure_ascii=False)
    op = {"op_id": str(number), "op": "PUT", "object_type": "todos", "object_id": row, "subkey": "s"}
    return {**op, "checksum": checksum, "data": text}


def remove(number: int, row: str, checksum: int = 1) -> Line:
    return {**put(number, row, "", checksum), "op": "REMOVE", "data": None}


def gone(op: str, number: int, checksum: int) -> Line:
    return {"op_id": str(number), "op": op, "checksum": checksum}


COMPLETE: Line = {"checkpoint_complete": {"last_op_id": "9"}}
PARTIAL: Line = {"partial_checkpoint_complete": {"last_op_id": "9", "priority": 0}}


def recorded(*lines: Line) -> list[Any]:
    """What the reader tells after these."""
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    done = subprocess.run(READER, input=text, capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


def titles(told: Any) -> dict[str, str]:
    return {row_id: row["title"] for _, row_id, row in told["rows"]}


FIRST = (
    checkpoint(a=2, b=1),
    data("a", 0, put(1, "t1", "Zwölf"), put(2, "t2", "two")),
    PARTIAL,
    data("b", 0, put(3, "t3", "b")),
    COMPLETE,
)


def test_nothing_is_shown_before_its_checkpoint_is_complete() -> None:
    assert recorded(*FIRST[:-1]) == []
    (told,) = recorded(*FIRST)
    assert titles(told) == {"t1": "Zwölf", "t2": "two", "t3": "b"}
    assert told["changed"] == ["todos t1", "todos t2", "todos t3"]


def test_a_newer_checkpoint_takes_the_place_of_one_that_is_half_told() -> None:
    later = (diff(a=3), data("a", 2, put(4, "t1", "half")), diff(a=4), data("a", 4, remove(5, "t2")), COMPLETE)
    first, told = recorded(*FIRST, *later)
    assert titles(first)["t1"] == "Zwölf"
    assert titles(told) == {"t1": "half", "t3": "b"}
    assert (told["changed"], told["removed"]) == (["todos t1"], ["todos t2"])


def test_a_bucket_that_is_replaced_changes_only_what_is_different() -> None:
    renewed = (diff("a", c=2), data("c", 0, put(6, "t1", "Zwölf"), put(7, "t2", "new")), COMPLETE)
    _, told = recorded(*FIRST, *renewed)
    assert titles(told) == {"t1": "Zwölf", "t2": "new", "t3": "b"}
    assert (told["changed"], told["removed"]) == (["todos t2"], [])
    assert told["positions"] == [{"name": "b", "after": "3"}, {"name": "c", "after": "7"}]


def test_compacted_operations() -> None:
    cleared = (diff(a=8), data("a", 2, gone("MOVE", 4, 9), gone("CLEAR", 5, 7), put(6, "t9", "kept")), COMPLETE)
    _, told = recorded(*FIRST, *cleared)
    assert titles(told) == {"t3": "b", "t9": "kept"}


def test_a_bucket_with_a_wrong_checksum_is_asked_for_anew() -> None:
    (told,) = recorded(
        checkpoint(a=2, b=5), data("a", 0, put(1, "t1", "x", 2)), data("b", 0, put(2, "t2", "y")), COMPLETE
    )
    assert told == {"error": "the checksum of bucket b is wrong", "positions": [{"name": "a", "after": "1"}]}


def test_checksums_are_equal_modulo_2_to_the_32() -> None:
    (told,) = recorded(
        checkpoint(a=-2), data("a", 0, put(1, "t1", "x", 2**32 - 1), put(2, "t2", "x", 2**32 - 1)), COMPLETE
    )
    assert len(told["rows"]) == 2


def test_a_recording_of_the_reference() -> None:
    """Its checksums hold, and every row of it is shown."""
    recordings = map(json.loads, (ROOT / "tests" / "cases" / "protocol" / "recordings.jsonl").read_text().splitlines())
    lines = next(one["lines"] for one in recordings if one["id"] == "deploy.client_after_deploy")
    ops = [op for line in lines if "data" in line for op in line["data"]["data"]]
    (told,) = recorded(*lines)
    assert told["rows"] == [[op["object_type"], op["object_id"], json.loads(op["data"])] for op in ops]


# -- a node --


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    desk = Desk(tmp_path / "desk")
    for number in (1, 2):
        desk.write("public.lists", {"id": f"l{number}", "owner_id": USER, "name": f"List {number}", "archived": 0})
        for todo in range(3):
            desk.write("public.todos", todo_row(f"t{number}{todo}", f"l{number}", f"Todo {todo}"))
    desk.deploy(CONFIG)
    with serving(desk) as made:
        made.checkpoint()
        yield made
    desk.store.close()


def todo_row(name: str, of: str, title: str, **more: Any) -> dict[str, Any]:
    row = {"id": name, "list_id": of, "title": title, "notes": f"notes of {title}", "done": 0, "priority": 0}
    return {**row, "due_at": None, "assigned_to": None} | more


@contextmanager
def reading(url: str, token: str) -> Iterator[Iterator[Any]]:
    """What the reader tells, line by line."""
    command = [*READER, url, token]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        yield (json.loads(line) for line in process.stdout)
        watchdog.cancel()
        process.stdin.close()


def test_the_reader_follows_a_node_over_changes_and_a_deploy(node: Node) -> None:
    def visible() -> set[tuple[str, str, str]]:
        return node.desk.visible({"sub": USER})

    def shown(line: Any) -> set[tuple[str, str, str]]:
        return {(table, row_id, json.dumps(row)) for table, row_id, row in line["rows"]}

    with reading(node.url, USER) as lines:
        whole = (line for line in lines if "rows" in line)
        first = next(whole)
        assert shown(first) == visible()
        node.desk.write("public.todos", todo_row("t10", "l1", "Changed", done=1))
        node.desk.delete("public.todos", "t11")
        node.checkpoint()
        live = next(whole)
        assert shown(live) == visible()
        assert (live["changed"], live["removed"]) == (["todos t10"], ["todos t11"])
        node.desk.deploy(SECOND)
        node.checkpoint()
        after = next(whole)
        assert shown(after) == visible()
    replaced = after["received"].keys() - first["received"].keys()
    assert {name.partition("#")[2].partition("[")[0] for name in replaced} == {"list_todos"}
    assert all(after["received"][name] == count for name, count in live["received"].items())
    eventually(lambda: not node.hub.seats)


def test_the_reader_comes_again(node: Node) -> None:
    """Tokens that end after a second: what it has is not sent again."""
    with reading(node.url, f"{USER} 1") as lines:
        whole = (line for line in lines if "rows" in line)
        first, _, third = (next(whole) for _ in range(3))
    assert first["received"] == third["received"]
    assert third["changed"] == []


# -- the page --


@pytest.fixture
def page(node: Node) -> Iterator[Page]:
    """What is written on it changes the desk's rows, as Postgres would."""

    def upload(batch: Any) -> int:
        for entry in batch:
            before = node.desk.tables["public.todos"][entry["id"]]
            node.desk.write("public.todos", before | entry["data"])
        node.checkpoint()
        return len(batch)

    with Page(lambda user: {"endpoint": node.url, "token": f"u{user}"}, upload) as page:
        yield page


def test_what_is_served(page: Page) -> None:
    for path, (_, kind) in FILES.items():
        answer = httpx.get(page.url.rstrip("/") + path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
    assert httpx.get(f"{page.url}session?user=3").json()["token"] == "u3"
    assert httpx.get(f"{page.url}page.py").status_code == 404
    assert httpx.get(f"{page.url}../backend.py").status_code == 404


@pytest.mark.parametrize("headers", [{"host": "evil.example:80"}, {"origin": "http://evil.example"}])
def test_other_pages_get_no_token_and_no_write(page: Page, headers: dict[str, str]) -> None:
    assert httpx.get(f"{page.url}session", headers=headers).status_code == 403
    refused = httpx.post(f"{page.url}upload", json={"batch": []}, headers=headers)
    assert refused.status_code == 403


TODO = """document.querySelector('#todos li[data-id="{}"]')"""
OPEN = "[...document.querySelectorAll('#lists small')].map(one => one.textContent)"


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[browser.Tab]:
    with browser.browsing(tmp_path / "profile") as tab:
        yield tab


def test_the_page_in_a_browser(node: Node, page: Page, tab: browser.Tab) -> None:
    tab.open(f"{page.url}?user=1")
    tab.until("document.getElementById('state').textContent", "connected")
    tab.until(OPEN, ["3 of 3 open", "3 of 3 open"])
    assert tab.value("document.getElementById('title').textContent") == "List 1"
    assert tab.value("document.querySelectorAll('.fresh').length") == 0

    node.desk.write("public.todos", todo_row("t10", "l1", "<b>Live</b>"))
    node.checkpoint()
    tab.until(f"{TODO.format('t10')}.querySelector('span').textContent", "<b>Live</b>")
    assert tab.value(f"{TODO.format('t10')}.classList.contains('fresh')")
    assert not tab.value(f"{TODO.format('t11')}.classList.contains('fresh')")

    tab.value(f"{TODO.format('t11')}.querySelector('input').click()")
    tab.until(OPEN, ["2 of 3 open", "3 of 3 open"])
    tab.until(f"{TODO.format('t11')}.className", "done fresh")
    assert node.desk.tables["public.todos"]["t11"]["done"] == 1

    assert tab.value(f"{TODO.format('t12')}.querySelector('small').textContent") == ""
    node.desk.deploy(SECOND)
    node.checkpoint()
    tab.until(f"{TODO.format('t12')}.querySelector('small').textContent", "notes of Todo 2")
    assert "2 buckets replaced: list_todos" in tab.value("document.getElementById('checkpoints').textContent")

    tab.open(f"{page.url}?user=1", width=360)
    tab.until(OPEN, ["2 of 3 open", "3 of 3 open"])
    assert tab.value("document.documentElement.scrollWidth") <= 360

    node.close()
    tab.until("document.getElementById('state').dataset.state != 'connected'")
