"""`syncline validate` and `syncline evaluate`, as people and scripts use them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connector.cli import main
from tests.worlds import Source

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "todo"
SCHEMA = Path(__file__).parent.parent.parent / "schemas" / "sync-config.schema.json"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without settings file, so that no database is asked."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["sync-config.yaml", "sync-config-v2.yaml"])
def test_the_examples_can_be_deployed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(EXAMPLES / name)]) == 0
    printed = capsys.readouterr()
    assert "can be deployed: 6 definitions, 9 parts, 6 tables" in printed.out
    assert "error" not in printed.err


def test_validate_prints_every_error_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(
        "bucket_definitions:\n  b:\n    prioritty: 1\n    data:\n"
        "      - SELECT id, x.y FROM t LIMIT z.w\n      - SELECT a FROM b, c\n"
    )
    assert main(["validate", str(file)]) == 1
    printed = capsys.readouterr()
    assert f"error: Unknown key 'prioritty'.\n  {file}:3:5   prioritty: 1\n" in printed.err
    lead = f"  {file}:6:23   "
    assert f"{lead}- SELECT a FROM b, c\n{' ' * (len(lead) + 16)}^\n" in printed.err
    assert "cannot be deployed: 3 errors" in printed.out


def test_validate_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("bucket_definitions:\n  b:\n    data: [SELECT id FROM t WHERE a = bucket.b]\n")
    assert main(["validate", str(file), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["deployable"] is False and found["source_checked"] is False and found["definitions"] == []
    (diagnostic,) = found["diagnostics"]
    assert (diagnostic["severity"], diagnostic["line"], diagnostic["column"]) == ("fatal", 3, 12)
    assert main(["validate", str(EXAMPLES / "sync-config.yaml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["definitions"][2]["parts"][1] == {"kind": "index", "label": "list_todos#1", "tables": ["public.lists"]}


def test_validate_says_that_events_give_no_bucket_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "events.yaml"
    file.write_text("bucket_definitions: {}\nevent_definitions:\n  e:\n    payloads: [SELECT id FROM t]\n")
    assert main(["validate", str(file)]) == 0
    printed = capsys.readouterr()
    assert "warning: event definitions give no bucket data" in printed.err and f"\n  {file}:3:3 " in printed.err
    assert "can be deployed: 0 definitions, 0 parts, 0 tables, 1 warning" in printed.out
    assert main(["validate", str(file), "--json"]) == 0
    (diagnostic,) = json.loads(capsys.readouterr().out)["diagnostics"]
    assert diagnostic["severity"] == "warning" and diagnostic["line"] == 3


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_is_no_text(content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    if content is not None:
        file.write_bytes(content)
    assert main(["validate", str(file)]) == 1
    assert str(file) in capsys.readouterr().err


def test_evaluate_shows_buckets_and_lookups(capsys: pytest.CaptureFixture[str]) -> None:
    row = '{"id": "l1", "owner_id": "u1", "name": "Home", "archived": false}'
    command = ["evaluate", str(EXAMPLES / "sync-config.yaml"), "--table", "lists", "--row", row]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert 'bucket by_user["u1"]   lists l1' in printed
    assert '{"id":"l1","owner_id":"u1","name":"Home","archived":0}' in printed
    assert 'lookup list_todos#1["u1"]   gives [{"list_id":"l1"}]' in printed
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["table"] == "public.lists" and found["errors"] == []
    assert [bucket["bucket"] for bucket in found["buckets"]] == ['by_user["u1"]', "admin[]"]
    assert found["lookups"] == [
        {"definition": "list_todos", "index": "list_todos#1", "lookup": '["u1"]', "outputs": [{"list_id": "l1"}]}
    ]


def test_evaluate_says_why_there_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", str(EXAMPLES / "sync-config.yaml"), "--table", "nothing.here", "--row", "{}"]
    assert main(command) == 0
    assert "no definition reads nothing.here" in capsys.readouterr().out
    assert main([*command[:-1], "[1]"]) == 1
    assert "--row is no JSON object" in capsys.readouterr().err


def test_the_json_schema_has_the_keys_that_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An editor must not refuse what `validate` takes, nor offer what it does not know."""
    schema = json.loads(SCHEMA.read_text())
    settings = {"edition": "2", "timestamp_max_precision": "seconds", "storage_version": "2"}
    options = "".join(f"  {name}: {settings.get(name, 'false')}\n" for name in schema["$defs"]["config"]["properties"])
    options = options.replace("timestamps_iso8601: false", "timestamps_iso8601: true")
    values = {"parameters": "SELECT WHERE 1", "data": "[]", "priority": "1"}
    keys = "".join(f"    {name}: {values.get(name, 'true')}\n" for name in schema["$defs"]["definition"]["properties"])
    file = tmp_path / "all.yaml"
    file.write_text(f"config:\n{options}bucket_definitions:\n  b:\n{keys}event_definitions: {{}}\n")
    assert main(["validate", str(file)]) == 0, capsys.readouterr().err
    file.write_text("x: 1\nconfig: {y: 1}\nbucket_definitions: {b: {data: [], z: 1}}\n")
    assert main(["validate", str(file)]) == 1
    hints = capsys.readouterr().err
    for properties in (schema["$defs"]["config"]["properties"], schema["$defs"]["definition"]["properties"]):
        assert ", ".join(properties) in hints


@pytest.mark.stack
def test_validate_knows_the_tables_of_a_database_that_answers(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.sql("CREATE TABLE todos (id int PRIMARY KEY, owner text)")
    file = tmp_path / "config.yaml"
    file.write_text(
        "bucket_definitions:\n  b:\n    data:\n      - SELECT id, ownr FROM todos\n      - SELECT id FROM lists\n"
    )
    command = ["--settings", str(source.settings.path), "validate", str(file)]
    assert main(command) == 1
    printed = capsys.readouterr().err
    assert f"error: Column not found: ownr\n  {file}:4:20 " in printed
    assert 'hint: did you mean "owner"?' in printed
    assert f"error: Table public.lists not found\n  {file}:5:24 " in printed
    file.write_text('bucket_definitions:\n  b:\n    data: ["SELECT id, owner FROM todos"]\n')
    assert main(command) == 0
