"""No sync config makes anything raise but a diagnostic, and whatever can be deployed can be evaluated."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.definitions.check import check
from connector.definitions.evaluate import compile_part
from connector.definitions.model import Checked, SyncConfig
from connector.definitions.request import Connection, Queriers, Subscription
from connector.errors import RequestRefused
from connector.values import Row
from tests.definitions.fuzz import broken, configs, json_values, objects, written
from tests.definitions.generators import values
from tests.definitions.test_cases import FOLDER, cases

GOLDEN = [case.config for file in sorted(FOLDER.glob("*.md")) if file.name != "README.md" for case in cases(file)]
PLACES = ("public.t", "public.u", "public.log_1", "tenant.t", "other.app.t")
ROWS = st.dictionaries(
    st.sampled_from(["id", "a", "b", "tags", "owner_id", "mixed", "quoted", "_hidden"]),
    st.one_of(values, json_values.map(lambda value: json.dumps(value, ensure_ascii=False))),
)
BOUND = timedelta(seconds=20)  # far beyond what any of them needs, on a machine that does much else
short = settings(deadline=BOUND, max_examples=150, suppress_health_check=list(HealthCheck))


def examined(text: str) -> Checked:
    """The text checked, and what must hold of every finding."""
    checked = check(text)
    assert (checked.config is None) == any(found.severity == "fatal" for found in checked.diagnostics)
    lines = text.count("\n") + 1
    for found in checked.diagnostics:
        assert 1 <= found.span.line <= found.span.end_line <= lines
        assert (found.span.line, found.span.column) <= (found.span.end_line, found.span.end_column)
        assert found.message and found.report()
        assert "sqlglot" not in found.message
    return checked


def broken_file(text: str) -> None:
    examined(text)


def whole_run(config: dict[str, Any], rows: list[Row], token: dict[str, Any], parameters: dict[str, Any]) -> None:
    """From the text to a client's buckets; rows may fail, each by its own error."""
    checked = examined(written(config))
    if checked.config is not None:
        _evaluate(checked.config, rows, token, parameters)


def _evaluate(config: SyncConfig, rows: list[Row], token: dict[str, Any], parameters: dict[str, Any]) -> None:
    lookups: dict[tuple[str, str], list[Any]] = {}
    for part in {id(part): part for definition in config.definitions for part in definition.parts}.values():
        evaluate = compile_part(json.loads(json.dumps(part.plan)))
        for place in PLACES:
            for row in rows:
                outputs, errors = evaluate(place, row)
                assert all(isinstance(error, str) for error in errors)
                for output in outputs:
                    json.loads(output.bucket)
                    found = json.loads(output.data)
                    if part.kind == "index":
                        lookups.setdefault((part.label, output.bucket), []).extend(found)
    connection = Connection(token, parameters, [Subscription("s", parameters), Subscription("r", None, 1)])
    try:
        answer = Queriers(config.definitions, config.options).answer(
            connection, lambda label, key: lookups.get((label, key), [])
        )
    except RequestRefused:
        return
    assert len({bucket.name for bucket in answer.buckets}) == len(answer.buckets)


@short
@given(broken(GOLDEN))
def test_a_broken_file_gives_diagnostics(text: str) -> None:
    broken_file(text)


@short
@given(configs(), st.lists(ROWS, max_size=2), objects, objects)
def test_what_can_be_deployed_can_be_evaluated(
    config: dict[str, Any], rows: list[Row], token: dict[str, Any], parameters: dict[str, Any]
) -> None:
    whole_run(config, rows, token, parameters)
