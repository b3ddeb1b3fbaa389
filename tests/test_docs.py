"""The documents say what the code does: names, flags, JSON objects, links and the tests they cite."""

from __future__ import annotations

import argparse
import importlib
import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, replace
from pathlib import Path
from typing import Any

import pytest

from connector import errors
from connector.cli import COMMANDS, main, verify_text
from connector.cli.comparing import Verified
from connector.deploy.catalog import Catalog
from connector.deploy.costs import SourceRead, TableSize
from connector.deploy.downloads import Download
from connector.deploy.outcome import outcome
from connector.deploy.plan import Plan
from connector.deploy.progress import progress
from connector.deploy.rates import Rate
from connector.deploy.requests import DECISIONS
from connector.deploy.status import status
from connector.oplog.audit import Fault
from connector.oplog.compare import Difference
from connector.settings import Settings
from connector.sync.connected import overview
from schemas.registry import NAMES
from tests.builders import deployment, node_record, tributary, version
from tests.test_structure import ROOT
from topologies.prepare import Finding
from topologies.topics import Topics
from topologies.worker import ROLES

DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        ROOT / "schemas" / "README.md",
        ROOT / "tests" / "cases" / "README.md",
    ]
)
CITED = re.compile(r"`(?:tests/)?([\w/]+\.py)::(test_\w+)`")
LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)")


def page(name: str) -> str:
    return (DOCS / name).read_text()


def section(text: str, title: str) -> str:
    """What stands under `## title`, up to the next heading of its level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f'there is no section "{title}"'
    return found[1]


def documented(command: str, number: int = 0) -> Any:
    """The JSON object in a command's section, or the one after it."""
    blocks = re.findall(r"```json\n(.*?)```", section(page("commands.md"), command), re.DOTALL)
    return json.loads(blocks[number])


def shape(value: Any, where: str = "") -> set[str]:
    """The keys of an object and of the objects in it; of a list those of its first element."""
    if isinstance(value, list):
        return shape(value[0], f"{where}[]") if value else set()
    if not isinstance(value, dict):
        return set()
    return {f"{where}.{key}" for key in value} | {
        path for key, inner in value.items() for path in shape(inner, f"{where}.{key}")
    }


# -- settings and commands --


@pytest.mark.parametrize("setting", [f for f in fields(Settings) if f.name != "path"], ids=lambda f: f.name)
def test_every_setting_stands_with_its_default(setting: Field[Any]) -> None:
    row = re.search(rf"^\| `{setting.name}` \| [^|]+ \| ([^|]+) \|", page("settings.md"), re.MULTILINE)
    assert row is not None
    default = setting.default
    wanted = "must be given" if default is MISSING else "empty" if default in ((), "") else f"`{default}`"
    if setting.default_factory is not MISSING:
        wanted = "empty"
    assert row[1].strip() == wanted


def test_every_variable_of_the_environment_is_named() -> None:
    read = re.compile(r"""environ(?:\.get\(|\[)"(SYNCLINE_\w+)""")
    names = {name for file in (ROOT / "connector").rglob("*.py") for name in read.findall(file.read_text())}
    assert names
    assert not {name for name in names if f"`{name}`" not in page("settings.md")}


def flags(parser: argparse.ArgumentParser) -> Iterator[str]:
    """All flags and positional names of a parser and those below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices
            for below in action.choices.values():
                yield from flags(below)
        elif not isinstance(action, argparse._HelpAction):
            yield from action.option_strings or [str(action.metavar)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_stands_in_its_commands_section(command: str) -> None:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"connector.cli.{COMMANDS[command][0]}").add(parser)
    text = section(page("commands.md"), command)
    assert not [flag for flag in flags(parser) if flag not in text]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_readme_and_changelog(command: str) -> None:
    assert f"syncline {command}" in (ROOT / "README.md").read_text()
    assert f"`syncline {command}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_role_of_run_is_explained() -> None:
    assert not [role for role in ROLES if f"| `{role}` |" not in section(page("commands.md"), "run")]


# -- JSON objects --


def test_the_object_of_evaluate(capsys: pytest.CaptureFixture[str]) -> None:
    file = str(ROOT / "examples" / "todo" / "sync-config.yaml")
    row = '{"id": "l1", "owner_id": "u1", "name": "Home", "archived": false}'
    main(["evaluate", file, "--table", "lists", "--row", row, "--json"])
    given, told = json.loads(capsys.readouterr().out), documented("evaluate")
    assert shape(given) | shape({"errors": told["errors"]}) == shape(told)
    assert told["buckets"][0] in given["buckets"]
    assert told["lookups"][0] in given["lookups"]


def test_the_object_of_evaluate_for_a_client(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lists.jsonl").write_text('{"id": "l1", "owner_id": "u1", "archived": 0}\n')
    (tmp_path / "list_members.jsonl").write_text('{"list_id": "l1", "user_id": "u1"}')
    (tmp_path / "public.todos.json").write_text('[{"id": "t1", "list_id": "l1"}]')
    file = str(ROOT / "examples" / "todo" / "sync-config.yaml")
    main(["evaluate", file, "--token", '{"sub": "u1"}', "--data", str(tmp_path), "--json"])
    given, told = json.loads(capsys.readouterr().out), documented("evaluate", 1)
    assert shape(given) | shape({name: told[name] for name in ("failures", "errors")}) == shape(told)
    assert told["lookups"][0] in given["lookups"]


def test_the_object_of_validate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = documented("validate")
    main(["validate", str(ROOT / "examples" / "todo" / "sync-config.yaml"), "--json"])
    good = json.loads(capsys.readouterr().out)
    file = tmp_path / "sync-config.yaml"
    file.write_text("bucket_definitions: {}\nbuckets: 1\n")
    main(["validate", str(file), "--json"])
    bad = json.loads(capsys.readouterr().out)
    assert shape(good) | shape(bad) == shape(told)


def test_the_object_of_plan() -> None:
    plan = Plan(0, (), (TableSize("public.todos", 1, 1),), (Download("all", 1, 1),), Rate(), False)
    plan = replace(plan, reads=(SourceRead("public.notes", 1, new=True),), connected=1, affected=1)
    told = documented("plan")
    assert shape(plan.as_json()) == shape({**told, "parts": []})


def test_the_object_of_status() -> None:
    given = status(endpoint="", now_ms=0, head=None, progress=None, commit=None, checkpoint=None, catalog=Catalog())
    told = documented("status")
    assert given.keys() == told.keys()
    assert given["source"].keys() == told["source"].keys()
    assert given["lag"].keys() == told["lag"].keys()
    pending = deployment(2, [2], state="replaying")
    known = Catalog(
        deployments=(pending,), versions=(version(2, state="pending", stream="t2"),), tributaries=(tributary(2, [2]),)
    )
    shown = progress(pending, known, None)
    assert shape(shown) | {".waits[]"} == shape(told["pending"]) | {".waits[]"}


def test_the_object_of_clients() -> None:
    assert shape(overview([node_record()], 0)) == shape(documented("clients"))


def test_the_object_of_deploy() -> None:
    given = outcome(
        Plan(0, (), (), (), Rate(), False), deployment(2, [2]), before=None, after=None, replays=(), seconds=1.0
    )
    assert shape(given) == shape(documented("deploy"))


def test_the_object_of_verify() -> None:
    found = Difference("1#all[]", "todos", "t1", '["public.todos","t1"]', None, "00", None, "{}")
    verified = Verified(position=1, different=1, found=[found], stopped=("all",), faults=[Fault("", 1, "")])
    assert shape(verify_text.as_json(verified, 1.0)) == shape(documented("verify"))


def test_the_object_of_init() -> None:
    assert documented("init")["findings"][0].keys() == {f.name for f in fields(Finding)}


# -- names of the inside --


def topic_names() -> Iterator[str]:
    """Every topic as the documents write it."""
    names = Topics("<app>")
    for one in ("changes", "sequence", "schemas", "rejected", "requests", "checkpoints", "catalog", "markers", "nodes"):
        yield getattr(names, one)
    yield from (names.snapshot("<schema>.<table>"), names.evaluated("<stream>"), names.stream("main"))
    yield names.oplog("<version>")  # type: ignore[arg-type]
    yield from (names.sequencer_id, names.merge_id)


def test_every_name_that_topics_gives_is_covered() -> None:
    public = [name for name in vars(Topics) if not name.startswith("_") and name != "app"]
    assert len(list(topic_names())) == len(public)


@pytest.mark.parametrize("name", list(topic_names()))
def test_every_topic_group_and_transactional_id_is_in_the_architecture(name: str) -> None:
    assert f"`{name}`" in page("architecture.md")


@pytest.mark.parametrize("record", NAMES)
def test_every_record_is_listed(record: str) -> None:
    text = (ROOT / "schemas" / "README.md").read_text()
    assert f"| `syncline.{record}.avsc` | `{record}`" in text
    assert f"`{record}`" in page("architecture.md")


def test_every_kind_of_request_is_in_its_schema() -> None:
    schema = json.loads((ROOT / "schemas" / "syncline.Request.avsc").read_text())
    told = next(field["doc"] for field in schema["fields"] if field["name"] == "kind")
    assert not [kind for kind in DECISIONS if kind not in told]


@pytest.mark.parametrize(
    "error", [errors.SynclineError, *errors.SynclineError.__subclasses__()], ids=lambda e: e.__name__
)
def test_every_error_is_explained(error: type[errors.SynclineError]) -> None:
    assert f"`{error.__name__}`" in section(page("architecture.md"), "Errors")
    assert error.__name__ in (errors.__doc__ or "")


def test_every_target_of_make_is_in_the_readme() -> None:
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    readme = (ROOT / "README.md").read_text()
    assert not [target for target in phony[1].split() if f"| `make {target}` |" not in readme]


def test_every_decision_is_listed() -> None:
    listed = (DOCS / "decisions" / "README.md").read_text()
    assert not [file.name for file in DOCS.glob("decisions/0*.md") if f"({file.name})" not in listed]


# -- links, citations, places --


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("file", PAGES, ids=lambda f: str(f.relative_to(ROOT)))
def test_links_lead_somewhere(file: Path) -> None:
    for link in LINK.findall(re.sub(r"```.*?```|`[^`\n]*`", "", file.read_text(), flags=re.DOTALL)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path) if path else file
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("file", PAGES, ids=lambda f: str(f.relative_to(ROOT)))
def test_cited_tests_exist(file: Path) -> None:
    for path, name in CITED.findall(file.read_text()):
        assert f"def {name}(" in (ROOT / "tests" / path).read_text(), f"{path}::{name}"


def test_every_law_cites_a_test() -> None:
    rows = re.findall(r"^\| (\d+) .*$", section(page("guarantees.md"), "The laws"), re.MULTILINE)
    assert rows == [str(number) for number in range(1, 12)]
    for row in re.findall(r"^\| \d+ .*$", page("guarantees.md"), re.MULTILINE):
        assert CITED.search(row), row
    broken = re.findall(r"^\| (\d+) .*$", section(page("guarantees.md"), "Broken on purpose"), re.MULTILINE)
    assert set(broken) == set(rows)


@pytest.mark.parametrize("file", PAGES, ids=lambda f: str(f.relative_to(ROOT)))
def test_no_page_names_a_machines_paths(file: Path) -> None:
    assert not re.search(r"/(?:root|work|tmp)/|/home/(?!me\b)", file.read_text())
