"""The runner itself: it compares, skips nothing, and allows only the differences that powersync.md allows."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.command import main

TWO_STREAMS = """
config: {edition: 3}
streams:
  s:
    auto_subscribe: true
    queries:
      - SELECT id FROM t WHERE a = auth.user_id() AND b = auth.parameter('b')
      - SELECT id FROM u WHERE a = auth.parameter('a')
"""
NUMBERING = ["bucket_numbering_and_parameter_order_are_implementation_detail"]


def checksum(table: str) -> int:
    """Of the row's PUT (powersync.md 3.1)."""
    return int.from_bytes(sha256(f'put.{table}.x.{{"id":"x"}}'.encode()).digest()[:4], "little")


def row_case(name: str, bucket: str = "b[]", **fields: Any) -> dict[str, Any]:
    """A bucket with all rows of t; the row has one column."""
    return {
        "id": name,
        "kind": "row",
        "default_schema": "public",
        "definition_yaml": "bucket_definitions:\n  b:\n    data: [SELECT id FROM t]\n",
        "table": "t",
        "row": {"id": "x"},
        "expected": {
            "rows": [
                {"bucket": bucket, "table": "t", "id": "x", "data_json": '{"id":"x"}', "put_checksum": checksum("t")}
            ],
            "errors": [],
            "accepted": True,
        },
        **fields,
    }


def stream_case(name: str, table: str, bucket: str, **fields: Any) -> dict[str, Any]:
    case = row_case(name, bucket, definition_yaml=TWO_STREAMS, table=table, **fields)
    case["row"] = {"id": "x", "a": "A", "b": "B"}
    (row,) = case["expected"]["rows"]
    row["table"] = table
    row["put_checksum"] = checksum(table)
    return case


def printed(tmp_path: Path, capsys: pytest.CaptureFixture[str], *cases: Any) -> tuple[int, list[str]]:
    """The exit code and the lines that the cases give."""
    file = tmp_path / "cases.jsonl"
    file.write_text("".join(f"{case if isinstance(case, str) else json.dumps(case)}\n" for case in cases))
    code = main([str(file)])
    return code, capsys.readouterr().out.splitlines()


def test_a_case_that_agrees_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(tmp_path, capsys, row_case("one")) == (0, ["1 passed, 0 failed"])


def test_a_case_that_differs_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = printed(tmp_path, capsys, row_case("one"), row_case("two", "c[]"))
    assert (code, lines[0], lines[-1]) == (1, "two", "1 passed, 1 failed")
    assert "'bucket': c[]" in lines[1] and "'bucket': b[]" in lines[2]


@pytest.mark.parametrize(
    "case",
    [
        '{"id": "nothing known"}',
        '{"id": "a kind of its own", "kind": "weather"}',
        "no JSON",
        "[]",
        '{"id": "no config", "kind": "row", "expected": {}}',
    ],
)
def test_what_cannot_be_compared_fails(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = printed(tmp_path, capsys, case, row_case("one"))
    assert (code, lines[-1]) == (1, "1 passed, 1 failed")


def test_either_expectation_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = row_case("head")["expected"]
    refused = {"accepted": False, "diagnostics": [{"severity": "fatal", "message": "no", "start": 0, "end": 1}]}
    code, _ = printed(tmp_path, capsys, row_case("head", expected=refused, expected_head_0_40_0=head))
    assert code == 0
    code, _ = printed(tmp_path, capsys, row_case("neither", expected=refused, expected_head_0_40_0=refused))
    assert code == 1


def test_numbers_and_orders_may_differ_consistently(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever we number the two buckets, one of these pairs is ours and the other is a renaming of it."""
    ways = [("s|0", "s|1", '["A","B"]'), ("s|1", "s|0", '["B","A"]')]
    for number, (first, second, values) in enumerate(ways):
        tagged = [
            stream_case(f"t{number}", "t", first + values, tags=NUMBERING),
            stream_case(f"u{number}", "u", f'{second}["A"]', tags=NUMBERING),
        ]
        assert printed(tmp_path, capsys, *tagged)[0] == 0
    both = [stream_case("t", "t", 's|0["A","B"]', tags=NUMBERING), stream_case("u", "u", 's|0["A"]', tags=NUMBERING)]
    assert printed(tmp_path, capsys, *both)[0] == 1
    untagged = [[stream_case("t", "t", first + values)] for first, _, values in ways]
    assert sum(printed(tmp_path, capsys, *cases)[0] for cases in untagged) >= 1


def test_a_parser_s_own_words_do_not_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = {
        "accepted": False,
        "diagnostics": [{"severity": "fatal", "message": "other words", "start": 0, "end": 1}],
    }
    broken = "bucket_definitions:\n  b:\n    data: [SELECT FROM]\n"
    case = row_case("syntax", definition_yaml=broken, expected=refused, tags=["syntax_error"])
    assert printed(tmp_path, capsys, case)[0] == 0
    assert printed(tmp_path, capsys, {**case, "tags": []})[0] == 1


def test_values_of_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = {
        "id": "pg",
        "source": "postgres",
        "type": "int4",
        "input_text": "7",
        "expected": {"edition1": {"$int": "7"}},
    }
    assert printed(tmp_path, capsys, case)[0] == 0
    assert printed(tmp_path, capsys, {**case, "expected": {"edition1": "7"}})[0] == 1


def reprocess_case(reused: list[dict[str, str]], tables: list[str]) -> dict[str, Any]:
    """The second deploy changes a column."""
    definition = "config: {{edition: 3}}\nstreams:\n  s:\n    query: SELECT {} FROM t\n"
    first = {"definition_yaml": definition.format("id"), "mapping": {}}
    second = {"definition_yaml": definition.format("id, a"), "reused": reused, "tables_to_snapshot": tables}
    return {"id": "reprocess", "steps": [first, second]}


def test_deploys_keep_what_the_reference_keeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(tmp_path, capsys, reprocess_case([], ["t"]))[0] == 0
    kept = {"type": "bucket_data", "name": "s|0", "id": "1"}
    code, lines = printed(tmp_path, capsys, reprocess_case([kept], []))
    assert code == 1 and "'not kept': [('bucket', 's')]" in lines[2] and "['public.t']" in lines[2]
