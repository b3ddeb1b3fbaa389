"""The golden cases in tests/cases, each a test; REWRITE_CASES=1 writes their results anew."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from connector.cli.rows import row_of_json
from connector.definitions.check import check
from connector.definitions.evaluate import Output, compile_part
from connector.definitions.model import Checked, Diagnostic, Part, SyncConfig
from connector.definitions.request import Connection, Subscription, buckets
from connector.values import Row

FOLDER = Path(__file__).parent.parent / "cases"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Case:
    """One section of a file: its config, a row's table and JSON or a client's request and rows, the expected lines."""

    title: str
    text: str
    config: str
    table: str | None
    row: str
    request: str
    rows: str
    expected: str

    def result(self) -> str:
        return "".join(f"{line}\n" for line in self._lines(check(self.config)))

    def _lines(self, checked: Checked) -> Iterator[str]:
        if self.table is not None:
            return _of_row(checked, self.table, _row(self.row))
        if self.request:
            return _of_request(checked, json.loads(self.request), json.loads(self.rows or "{}"))
        return _static(checked, self.config)


def cases(file: Path) -> list[Case]:
    sections = re.split(r"^## ", file.read_text(), flags=re.MULTILINE)[1:]
    return [_case(section) for section in sections]


def _case(section: str) -> Case:
    blocks = {match[1]: (match[2], match[3]) for match in BLOCK.finditer(section)}
    table, row = blocks.get("row", (None, ""))
    request, rows = (blocks.get(name, (None, ""))[1] for name in ("request", "rows"))
    title = section.split("\n", 1)[0]
    return Case(title, section, blocks["yaml"][1], table, row, request, rows, blocks["result"][1])


def _row(text: str) -> Row:
    columns = json.loads(text)
    blobs = {name: bytes.fromhex(value["$blob"]) for name, value in columns.items() if _is_blob(value)}
    return {**row_of_json(text), **blobs}


def _is_blob(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"$blob"}


def _of_row(checked: Checked, table: str, row: Row) -> Iterator[str]:
    assert checked.config is not None, checked.diagnostics
    for part in (part for definition in checked.config.definitions for part in definition.parts):
        outputs, errors = compile_part(json.loads(json.dumps(part.plan)))(table, row)
        for output in outputs:
            if part.kind == "bucket":
                yield f"bucket {part.definition}{output.bucket} {output.type} {output.id} {output.data}"
            else:
                yield f"lookup {part.definition} {part.label} {output.bucket} {output.data}"
        yield from (f"error {part.definition} {part.label}: {error}" for error in errors)


def _of_request(checked: Checked, request: dict[str, Any], tables: dict[str, list[Any]]) -> Iterator[str]:
    """The client's buckets and why, streams that failed, and all rows that it sees, each at its best priority."""
    assert checked.config is not None, checked.diagnostics
    outputs = list(_outputs(checked.config, tables))
    lookups: dict[tuple[str, str], list[Any]] = {}
    for part, output in outputs:
        if part.kind == "index":
            lookups.setdefault((part.label, output.bucket), []).extend(json.loads(output.data))
    subscriptions = [Subscription(*one) for one in request.pop("subscriptions", ())]
    client = Connection(**{"token": {}, **request, "subscriptions": subscriptions})
    answer = buckets(checked.config, client, lambda index, key: lookups.get((index, key), []))
    for index, key in sorted(answer.lookups):
        yield f"asks {index}{key}"
    for bucket in answer.buckets:
        reasons = ", ".join(str(reason) for reason in bucket.reasons)
        yield f"bucket {bucket.name} of {bucket.definition}, priority {bucket.priority}, because {reasons}"
    yield from (f"failed {one.definition} ({one.reason}): {one.message}" for one in answer.failures)
    priorities = {bucket.name: bucket.priority for bucket in answer.buckets}
    seen = {
        f"sees {output.type} {output.id} {output.data}": None
        for part, output in outputs
        if part.kind == "bucket" and part.label + output.bucket in priorities
    }
    yield from seen


def _outputs(config: SyncConfig, tables: dict[str, list[Any]]) -> Iterator[tuple[Part, Output]]:
    for part in {id(part): part for definition in config.definitions for part in definition.parts}.values():
        evaluate = compile_part(json.loads(json.dumps(part.plan)))
        for table, rows in tables.items():
            for row in rows:
                outputs, errors = evaluate(table, row_of_json(json.dumps(row)))
                assert not errors, errors
                yield from ((part, output) for output in outputs)


def _static(checked: Checked, text: str) -> Iterator[str]:
    yield from (_line(diagnostic, text) for diagnostic in checked.diagnostics)
    for definition in checked.config.definitions if checked.config is not None else ():
        for part in definition.parts:
            yield f"part {definition.name} {part.label}: {part.canonical}"
        for querier in definition.queriers:
            yield f"querier {definition.name} {json.dumps(querier)}"


def _line(diagnostic: Diagnostic, text: str) -> str:
    span, lines = diagnostic.span, text.split("\n")
    places = [sum(len(each) + 1 for each in lines[: line - 1]) for line in (span.line, span.end_line)]
    meant = text[places[0] + span.column - 1 : places[1] + span.end_column - 1]
    message = diagnostic.message.partition("\n")[0]
    hint = f" | {diagnostic.hint}" if diagnostic.hint else ""
    return f"{diagnostic.severity} {span.line}:{span.column} {json.dumps(meant)} {message}{hint}"


def _all() -> list[Any]:
    return [
        pytest.param(case, id=f"{file.stem}: {case.title}")
        for file in sorted(FOLDER.glob("*.md"))
        if file.name != "README.md"
        for case in cases(file)
    ]


@pytest.mark.parametrize("case", _all())
def test_case(case: Case) -> None:
    if not os.environ.get("REWRITE_CASES"):
        assert case.result() == case.expected


def test_rewriting_changes_nothing_but_results() -> None:
    """The rewrite switch itself: on unchanged code it gives every file back as it is."""
    for file in sorted(FOLDER.glob("*.md")):
        if file.name == "README.md":
            continue
        text = rewritten(file)
        if os.environ.get("REWRITE_CASES"):
            file.write_text(text)
        assert text == file.read_text()


def rewritten(file: Path) -> str:
    text = file.read_text()
    for case in cases(file):
        old = f"```result\n{case.expected}```"
        text = text.replace(case.text, case.text.replace(old, f"```result\n{case.result()}```"))
    return text


def test_every_finding_says_what_to_do() -> None:
    found = [
        (file.stem, diagnostic.message)
        for file in sorted(FOLDER.glob("*.md"))
        if file.name != "README.md"
        for case in cases(file)
        for diagnostic in check(case.config).diagnostics
        if not diagnostic.hint
    ]
    assert found == []
