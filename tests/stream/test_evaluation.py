"""A batch → Evaluated records, without any server: rules T2 to T4, law 11."""

from __future__ import annotations

import gc
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from connector.definitions import render
from connector.definitions.evaluate import Evaluator
from connector.definitions.model import Options, _evaluation
from connector.definitions.render import Renderings
from connector.evaluation import (
    Answer,
    CompiledVersion,
    Decoders,
    TableRows,
    batch_rows,
    compile_version,
    evaluate,
    evaluated_records,
    rejecting,
)
from connector.evaluation.answers import LONGEST_OUTPUT
from connector.evaluation.records import PART_BYTES
from schemas.registry import text_of
from tests.stream.feed import LISTS, ROW_SCHEMAS, TODOS, Change, gone, key_of, rows_of, todo, versions

EVALUATED = parse_schema(json.loads(text_of("Evaluated")))
TITLES = "SELECT id, title FROM todos"
IDS = {table: number for number, table in enumerate(ROW_SCHEMAS, 1)}
WRITERS = {table: parse_schema(json.loads(json.dumps(schema))) for table, schema in ROW_SCHEMAS.items()}
HEAD = {
    "stream": "main",
    "position": 7,
    "change_offset": 70,
    "boundary": True,
    "committed_at": 1,
    "log_rows": 9,
    "attempt": "a",
    "replay": None,
    "truncate": None,
}


def decoders() -> Decoders:
    texts = {IDS[table]: json.dumps(schema) for table, schema in ROW_SCHEMAS.items()}
    return Decoders(texts.__getitem__)


def change(entry: Change, offset: int, table: int) -> dict[str, Any]:
    name, key, row = entry
    body = io.BytesIO()
    if row is not None:
        schemaless_writer(body, WRITERS[name], dict(row))
    return {
        "table": table,
        "op": "DELETE" if row is None else "UPSERT",
        "key": key_of(name, key),
        "schema": 0 if row is None else IDS[name],
        "row": body.getvalue(),
        "partition": 3,
        "offset": offset,
    }


def batch(*changes: Change) -> dict[str, Any]:
    tables = list(dict.fromkeys(c[0] for c in changes))
    return {
        "tables": [{"table": table, "topic": f"source.{table}"} for table in tables],
        "changes": [change(c, 100 + n, tables.index(c[0])) for n, c in enumerate(changes)],
    }


def compiled(*queries: str) -> list[CompiledVersion]:
    lines = ["bucket_definitions:"]
    for number, query in enumerate(queries):
        lines += [f"  d{number}:", "    data:", f"      - {query}"]
    renderings = Renderings()
    return [compile_version(v.version, v.plan, v.evaluation, renderings) for v in versions("\n".join(lines))]


def answer(version: CompiledVersion, rows: Sequence[TableRows], reading: Decoders) -> Answer:
    steps = evaluate(version, rows, reading)
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            return ended.value


def records(
    source: dict[str, Any], asked: Sequence[CompiledVersion], *, limit: int = PART_BYTES
) -> list[dict[str, Any]]:
    reading = decoders()
    rows = batch_rows(source, lambda table: any(c.evaluator.reads(table) for c in asked), reading)
    found = evaluated_records(HEAD, asked, rows, [answer(c, rows, reading) for c in asked], limit=limit)
    for record in found:
        schemaless_writer(io.BytesIO(), EVALUATED, record)
    return found


def test_only_the_last_change_of_a_key_counts() -> None:
    source = batch(todo("a", title="1"), todo("b"), todo("a", title="2"), gone(TODOS, "b"), todo("c"), todo("b"))
    [record] = records(source, compiled("SELECT id, title FROM todos"))
    [table] = record["tables"]
    assert table["empty"] == []
    assert {r["key"]: r["outputs"][0]["data"] for r in table["rows"]} == {
        key_of(TODOS, "a"): '{"id":"a","title":"2"}',
        key_of(TODOS, "b"): '{"id":"b","title":"Todo b"}',
        key_of(TODOS, "c"): '{"id":"c","title":"Todo c"}',
    }


def test_each_version_is_evaluated_at_the_level_that_the_catalog_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule T3: two levels side by side, of which the second writes other ids."""
    [one] = versions(f'bucket_definitions: {{d: {{data: ["{TITLES}"]}}}}')
    monkeypatch.setattr("connector.definitions.model.EVALUATOR_LEVELS", (2, 1))
    rendering = render._rendering

    def by_level(query: Any, options: Options) -> Any:
        made = rendering(query, options)
        return made if options.level == 1 else lambda row: (made(row)[0].upper(), *made(row)[1:])

    monkeypatch.setattr(render, "_rendering", by_level)
    shared = Renderings()
    newest = Options.of_plan(json.loads(one.plan)).evaluation()
    asked = [compile_version(n, one.plan, e, shared) for n, e in ((1, one.evaluation), (2, newest), (3, "e3"))]
    [record] = records(batch(todo("a")), asked)
    assert [v["evaluation"] for v in record["versions"]] == [one.evaluation, newest, "e3"]
    assert newest != one.evaluation
    [table] = record["tables"]
    assert table["versions"] == [1, 2]
    assert [(o["versions"], o["id"]) for o in table["rows"][0]["outputs"]] == [([1], "a"), ([2], "A")]
    assert record["unable"] == [3], "of another release: asked for no row"


@pytest.mark.parametrize("plan", [{"plan_version": 1}, {"kind": "other"}, {"options": {"new": 1}}, {"queries": None}])
def test_a_plan_of_another_release_is_answered_for_without_a_row(plan: dict[str, Any]) -> None:
    [one] = versions(f'bucket_definitions: {{d: {{data: ["{TITLES}"]}}}}')
    made = json.loads(one.plan) | plan
    evaluation = _evaluation(made["options"], 1)
    [record] = records(batch(todo("a")), [compile_version(1, json.dumps(made), evaluation, Renderings())])
    assert (record["tables"], record["unable"]) == ([], [1])
    assert record["versions"] == [{"version": 1, "evaluation": evaluation}]


def test_keys_without_output_are_listed_once() -> None:
    source = batch(todo("a", done=True), todo("b"), gone(TODOS, "c"))
    [record] = records(source, compiled("SELECT id FROM todos WHERE done = 0"))
    assert record["tables"][0]["empty"] == [key_of(TODOS, "a"), key_of(TODOS, "c")]
    assert record["rejected"] == []


def test_a_wildcard_reads_every_table_that_matches() -> None:
    source = batch(todo("a"), (LISTS, "l", {"id": "l", "owner_id": "u", "title": "L"}))
    [record] = records(source, compiled('SELECT id FROM "%"', 'SELECT id FROM "to%" AS t', 'SELECT id FROM "x%"'))
    assert [(t["table"], t["versions"]) for t in record["tables"]] == [(TODOS, [1, 2]), (LISTS, [1])]
    assert [(o["versions"], o["type"]) for o in record["tables"][0]["rows"][0]["outputs"]] == [
        ([1], "todos"),
        ([2], "t"),
    ]
    assert [(o["versions"], o["type"]) for o in record["tables"][1]["rows"][0]["outputs"]] == [([1], "lists")]


def test_equal_outputs_of_versions_are_shared_and_others_are_not() -> None:
    same, other = "SELECT id, title FROM todos", "SELECT id, n FROM todos WHERE n = 1"
    [record] = records(batch(todo("a", n=1), todo("b")), compiled(same, same, other))
    [table] = record["tables"]
    assert table["versions"] == [1, 2, 3]
    by_key = {r["key"]: [o["versions"] for o in r["outputs"]] for r in table["rows"]}
    assert by_key == {key_of(TODOS, "a"): [[1, 2], [3]], key_of(TODOS, "b"): [[1, 2]]}


def test_a_table_lists_only_the_versions_that_read_it() -> None:
    source = batch(todo("a"), (LISTS, "l", {"id": "l", "owner_id": "u", "title": "L"}))
    [record] = records(source, compiled("SELECT id FROM todos", "SELECT id FROM lists"))
    assert [(t["table"], t["versions"]) for t in record["tables"]] == [(TODOS, [1]), (LISTS, [2])]
    assert record["versions"][0]["version"] == 1


def test_a_row_that_cannot_be_decoded_is_rejected_and_gives_nothing() -> None:
    source = batch(todo("a"), todo("b"))
    source["changes"][0]["row"] = b"\x03\x99"
    [record] = records(source, compiled("SELECT id FROM todos"))
    [rejected] = record["rejected"]
    assert (rejected["key"], rejected["topic"], rejected["partition"], rejected["offset"]) == (
        key_of(TODOS, "a"),
        "source.public.todos",
        3,
        100,
    )
    assert "does not fit schema" in rejected["reason"]
    assert record["tables"][0]["empty"] == [key_of(TODOS, "a")]


def test_an_exception_of_an_evaluator_is_an_answer_and_hurts_no_other_row() -> None:
    def broken(row: Any) -> list[Any]:
        if row["id"] == "a":
            raise RuntimeError("a bug")
        return good.evaluator.queries(TODOS)[0](row)

    good = compiled("SELECT id FROM todos")[0]
    bad = replace(good, version=2, evaluator=Evaluator([(TODOS, lambda where: broken)], {}))
    [record] = records(batch(todo("a"), todo("b")), [good, bad])
    assert [(r["version"], r["key"]) for r in record["rejected"]] == [(2, key_of(TODOS, "a"))]
    assert "a bug" in record["rejected"][0]["reason"]
    assert set(rows_of([record], 1)) == {key_of(TODOS, "a"), key_of(TODOS, "b")}
    assert set(rows_of([record], 2)) == {key_of(TODOS, "b")}


@pytest.mark.parametrize("others", [[], ["SELECT id, n FROM todos"]])
def test_an_output_that_no_op_log_could_hold_is_rejected(others: list[str]) -> None:
    """Law 11: it would stop the merge for all."""
    long = "\u0001" * (LONGEST_OUTPUT // 6 + 1)  # six bytes each as JSON
    lines = ["bucket_definitions:", "  d:", "    data:", *(f"      - {q}" for q in (*others, TITLES))]
    [version] = [compile_version(v.version, v.plan, v.evaluation, Renderings()) for v in versions("\n".join(lines))]
    found = records(batch(todo("a", title=long), todo("b")), [version])
    [rejected] = [r for record in found for r in record["rejected"]]
    assert rejected["key"] == key_of(TODOS, "a")
    assert "longer than" in rejected["reason"]
    assert set(rows_of(found, version.version)) == {key_of(TODOS, "b")}


def test_a_row_that_is_too_large_for_all_versions_together_goes_in_parts() -> None:
    """Rule T4, law 11: a record that no topic takes would end the stream again and again."""
    title = "x" * (LONGEST_OUTPUT * 2 // 5)
    queries = [f"SELECT id, title, {number} AS number FROM todos" for number in range(3)]
    found = records(
        batch(todo("a", title="short"), todo("b", title=title), todo("c", title="short")), compiled(*queries)
    )
    sizes = [sum(len(o["data"]) for t in part["tables"] for r in t["rows"] for o in r["outputs"]) for part in found]
    assert max(sizes) < LONGEST_OUTPUT
    assert [part["part"] for part in found] == list(range(found[0]["parts"]))
    for number in (1, 2, 3):
        assert set(rows_of(found, number)) == {key_of(TODOS, key) for key in "abc"}


def test_a_row_in_too_many_buckets_is_rejected() -> None:
    """All outputs of a row are of one record, whatever their number."""
    [version] = compiled("SELECT id FROM todos")
    one = version.evaluator("public.todos", {"id": "x" * 1000})[0][0]
    many = [one._replace(bucket=f"[{n}]") for n in range(LONGEST_OUTPUT // 1000)]
    wide = replace(version, evaluator=Evaluator([(TODOS, lambda where: lambda row: many)], {}))
    [record] = records(batch(todo("a")), [wide])
    assert record["tables"][0]["empty"] == [key_of(TODOS, "a")]
    assert record["rejected"][0]["reason"].startswith("its outputs are longer than ")


def test_a_version_that_cannot_be_asked_rejects_every_row() -> None:
    [version] = compiled("SELECT id FROM todos")
    reading = decoders()
    rows = batch_rows(batch(todo("a"), todo("b")), lambda table: table == TODOS, reading)
    answer = rejecting(version, rows, "evaluation did not end")
    answer.hung = True
    [record] = evaluated_records(HEAD, [version], rows, [answer])
    assert record["hung"] == [version.version]
    assert len(record["rejected"]) == 2
    assert record["tables"][0]["empty"] == [key_of(TODOS, "a"), key_of(TODOS, "b")]


@given(st.lists(st.text(max_size=300), min_size=1, max_size=60), st.integers(300, 4000))
def test_parts_are_small_whole_and_in_order(titles: list[str], limit: int) -> None:
    """Rule T4: no part is larger than the limit unless one row is; together they are the batch."""
    asked = compiled("SELECT id, title FROM todos", "SELECT id, title FROM todos WHERE n = 1")
    source = batch(*(todo(str(n), title=title, n=n % 2) for n, title in enumerate(titles)))
    parts = records(source, asked, limit=limit)
    assert [(p["part"], p["parts"]) for p in parts] == [(n, len(parts)) for n in range(len(parts))]
    whole = records(source, asked)
    for version in (1, 2):
        assert rows_of(parts, version) == rows_of(whole, version)
    for part in parts:
        body = io.BytesIO()
        schemaless_writer(body, EVALUATED, {**part, "versions": [], "stream": "", "attempt": ""})
        rows = [r for t in part["tables"] for r in t["rows"]]
        assert len(rows) <= 1 or len(body.getvalue()) <= limit + 200


def test_an_empty_batch_is_answered() -> None:
    [record] = records(batch(), compiled("SELECT id FROM todos"))
    assert record["tables"] == []
    assert (record["part"], record["parts"], record["position"]) == (0, 1, 7)


def test_a_rendering_goes_with_the_last_part_that_has_it() -> None:
    """It remembers thousands of rows."""
    config = "bucket_definitions:\n" + "".join(
        f'  d{n}:\n    data: ["SELECT id, title FROM todos WHERE done = {n % 2}"]\n' for n in range(2)
    )
    renderings = Renderings()
    parts = [compile_version(v.version, v.plan, v.evaluation, renderings) for v in versions(config)]
    assert [bool(part.evaluator.reads(TODOS)) for part in parts] == [True, True]
    assert len(renderings) == 1
    parts.pop()
    gc.collect()
    assert len(renderings) == 1
    parts.clear()
    gc.collect()
    assert len(renderings) == 0
