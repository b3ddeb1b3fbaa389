"""The JSON schema for editors: it takes what `check` takes, and refuses what the structure of a config forbids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connector.definitions.check import check
from connector.definitions.document import Map, Node, Scalar, read
from tests.definitions.test_cases import FOLDER, cases
from tests.json_schema import Schema

ROOT = Path(__file__).parent.parent.parent
SCHEMA = Schema(json.loads((ROOT / "schemas" / "sync-config.schema.json").read_text()))


def plain(node: Node | None) -> Any:
    """The file's content as JSON would have it."""
    if node is None:
        return None
    if isinstance(node, Scalar):
        return node.value()
    if isinstance(node, Map):
        return {plain(key): plain(value) for key, value in node.entries}
    return [plain(item) for item in node.items]


def faults(text: str) -> list[str]:
    return SCHEMA.faults(plain(read(text)))


@pytest.mark.parametrize("file", sorted(ROOT.glob("examples/**/sync-config*.yaml")), ids=lambda file: file.name)
def test_the_examples(file: Path) -> None:
    assert faults(file.read_text()) == []


def test_every_deployable_golden_case() -> None:
    texts = [case.config for file in FOLDER.glob("*.md") if file.name != "README.md" for case in cases(file)]
    deployable = [text for text in texts if check(text).config is not None]
    assert len(deployable) > 50
    assert [text for text in deployable if faults(text)] == []


STREAM = "streams: {s: {query: SELECT * FROM t}}"


@pytest.mark.parametrize(
    "text",
    [
        "config: {edition: 1}",
        "bucket_defs: {}",
        "bucket_definitions: 5",
        "bucket_definitions: {b: {}}",
        "bucket_definitions: {b: {data: [], datas: []}}",
        "bucket_definitions: {b: {data: SELECT}}",
        "bucket_definitions: {b: {data: [[x]]}}",
        "bucket_definitions: {b: {data: [], priority: 4}}",
        "bucket_definitions: {b: {data: [], priority: high}}",
        "{config: {editions: 2}, bucket_definitions: {}}",
        "{config: {edition: 4}, bucket_definitions: {}}",
        "{config: {storage_version: 1}, bucket_definitions: {}}",
        "{config: {timestamps_iso8601: 'yes'}, bucket_definitions: {}}",
        "{config: {timestamp_max_precision: years, edition: 2}, bucket_definitions: {}}",
        "{config: {timestamp_max_precision: seconds}, bucket_definitions: {}}",
        "{config: {timestamp_max_precision: seconds, edition: 2, timestamps_iso8601: false}, bucket_definitions: {}}",
        "{config: {unstable_sqlite_expression_engine: true}, bucket_definitions: {}}",
        "config: {edition: 3, unstable_sqlite_expression_engine: true, fixed_json_extract: false}\nstreams: {}",
        "{config: {edition: 3}, bucket_definitions: {}}",
        "{config: {edition: 3}, streams: {}, bucket_definitions: {}}",
        f"{STREAM}",
        f"with: {{c: SELECT 1}}\nconfig: {{edition: 2}}\n{STREAM}",
        "{config: {edition: 2}, streams: {s: {queries: [SELECT * FROM t]}}}",
        "{config: {edition: 3}, streams: {s: {}}}",
        "{config: {edition: 3}, streams: {s: {query: SELECT * FROM t, queries: []}}}",
        "{config: {edition: 3}, streams: {s: {query: SELECT * FROM t, auto_subscribe: 1}}}",
        "{bucket_definitions: {}, event_definitions: {e: {}}}",
        "{bucket_definitions: {}, event_definitions: {e: {payloads: [], x: 1}}}",
    ],
)
def test_what_both_refuse(text: str) -> None:
    assert check(text).config is None
    assert faults(text) != []
