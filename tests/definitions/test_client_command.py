"""`syncline evaluate FILE --token …`: what a client gets from a folder of rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connector.cli import main

CONFIG = """
config: {edition: 3}
streams:
  mine:
    auto_subscribe: true
    priority: 1
    query: SELECT * FROM lists WHERE owner_id = auth.user_id()
  todos:
    query: >-
      SELECT * FROM todos WHERE list_id = subscription.parameter('list')
      AND list_id IN (SELECT id FROM lists WHERE owner_id = auth.user_id())
  tagged:
    query: SELECT todos.* FROM todos, json_each(todos.tags) AS tag WHERE tag.value = connection.parameter('tag')
    accept_potentially_dangerous_queries: true
"""
TODOS: list[dict[str, Any]] = [
    {"id": "t1", "list_id": "l1", "done": True, "tags": ["red", "blue"]},
    {"id": "t2", "list_id": "l2", "done": False, "tags": ["red"]},
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "sync-config.yaml"
    file.write_text(CONFIG)
    return file


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "public.lists.jsonl").write_text('{"id": "l1", "owner_id": "u1"}\n\n{"id": "l2", "owner_id": "u2"}\n')
    (folder / "todos.json").write_text(json.dumps(TODOS))
    (folder / "notes.txt").write_text("no rows")
    return folder


def evaluate(config: Path, *more: str) -> int:
    return main(["evaluate", str(config), *more])


def test_buckets_and_rows_of_a_client(config: Path, rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = ("--token", '{"sub": "u1"}', "--data", str(rows))
    assert evaluate(config, *token, "--subscribe", 'todos={"list": "l1"}', "--subscribe", 'todos={"list": "l2"}') == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[:4] == [
        'bucket mine|0["u1"]   mine, priority 1, by default',
        '  lists l1   {"id":"l1","owner_id":"u1"}',
        'bucket todos|0["l1"]   todos, priority 3, --subscribe 0 (todos)',
        r'  todos t1   {"id":"t1","list_id":"l1","done":1,"tags":"[\"red\",\"blue\"]"}',
    ]
    assert printed[4].startswith("lookup ") and printed[4].endswith('["u1"]   1 found')


def test_as_one_object(config: Path, rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client = ("--token", '{"sub": "u2"}', "--parameters", '{"tag": "red"}', "--subscribe", "tagged")
    assert evaluate(config, *client, "--data", str(rows), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(b["bucket"], b["priority"], b["reasons"], b["rows"]) for b in found["buckets"]] == [
        ('mine|0["u2"]', 1, ["default"], 1),
        ('tagged|0["red"]', 3, [0], 2),
    ]
    assert [(row["type"], row["id"], row["priority"]) for row in found["rows"]] == [
        ("lists", "l2", 1),
        ("todos", "t1", 3),
        ("todos", "t2", 3),
    ]
    assert (found["failures"], found["errors"]) == ([], [])


def test_a_row_that_fails_is_shown(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "todos.jsonl").write_text('{"id": "t1", "tags": "[]"}\n{"id": "t2", "tags": "no json"}\n')
    assert evaluate(config, "--token", "{}", "--data", str(tmp_path)) == 0
    printed = capsys.readouterr().out
    assert "no bucket\n" in printed
    assert "error in tagged|0, public.todos row 2: Expected JSON string\n" in printed


def test_a_stream_that_fails_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sync-config.yaml"
    file.write_text(
        CONFIG.replace("auth.user_id()\n  todos", "auth.user_id() AND id IN auth.parameter('ids')\n  todos")
    )
    assert evaluate(file, "--token", '{"sub": "u1", "ids": "no json"}') == 0
    assert '"mine" failed (by default): Error evaluating bucket ids: ' in capsys.readouterr().out


def test_without_rows_no_lookup_finds_anything(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(config, "--token", '{"sub": "u1"}', "--subscribe", 'todos={"list": "l1"}') == 0
    assert '["u1"]   0 found' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to evaluate"),
        (["--table", "todos"], "nothing to evaluate"),
        (["--token", "{"], "--token is no JSON: "),
        (["--token", "[]"], "--token is no JSON object"),
        (["--token", "{}", "--parameters", "1"], "--parameters is no JSON object"),
        (["--token", "{}", "--subscribe", "todos=x"], "--subscribe todos is no JSON: "),
        (["--token", "{}", "--data", "nowhere"], "nowhere is no folder"),
    ],
)
def test_what_is_no_request(arguments: list[str], said: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(config, *arguments) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.jsonl", b'{"id": 1}\n[1]\n', "t.jsonl:2 is no JSON object"),
        ("t.jsonl", b'{"id": 1}\n{\n', "t.jsonl:2 is no JSON: "),
        ("t.json", b'{"id": 1}', "t.json is no array"),
        ("t.json", b"[1]", "t.json [0] is no JSON object"),
        ("t.json", b"\xff", "t.json is no UTF-8 text: "),
        ("t.json", b"[" * 100_000, "t.json is no JSON: "),
    ],
)
def test_a_file_that_holds_no_rows(
    name: str, content: bytes, said: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = config.parent / "broken"
    folder.mkdir()
    (folder / name).write_bytes(content)
    assert evaluate(config, "--token", "{}", "--data", str(folder)) == 1
    assert said in capsys.readouterr().err
