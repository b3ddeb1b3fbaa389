"""Files of cases: reading them, and telling by its shape what a case is about."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Case = dict[str, Any]

NUMBERING = "bucket_numbering_and_parameter_order_are_implementation_detail"
_EVALUATION = ("row", "parameter_row", "request", "diagnostics")


def read(path: Path) -> Iterator[Case]:
    """The cases of one file, each with its `kind`; a dataset stands in the case instead of its name.

    A line that is no case is one of unknown kind: it fails, and the others go on.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        yield from _visibility(json.loads(text))
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield _case(line, f"{path.name}:{number}")


def _case(line: str, place: str) -> Case:
    try:
        case = json.loads(line)
        return {"id": place, **case, "kind": _kind(case)}
    except (ValueError, TypeError, AttributeError):
        return {"id": place, "kind": "unknown", "line": line}


def _visibility(content: dict[str, Any]) -> Iterator[Case]:
    default_schema = content.get("meta", {}).get("default_schema", "public")
    for case in content["cases"]:
        dataset = content["datasets"].get(case.get("dataset"))
        kind = "unknown" if dataset is None else "visibility"
        yield {**case, "kind": kind, "dataset": dataset, "default_schema": default_schema}


def tagged(case: Case, *tags: str) -> bool:
    return any(tag in case.get("tags", ()) for tag in tags)


def alternatives(case: Case) -> list[Any]:
    """What may come out: the case's output, or that of the reference's head."""
    return [case[name] for name in ("expected", "expected_head_0_40_0") if name in case]


def _kind(case: Case) -> str:
    """What the case says itself, else what its shape says; `unknown` fails."""
    if "kind" in case:
        return str(case["kind"]) if case["kind"] in _EVALUATION else "unknown"
    if "source" in case:
        return "source_value"
    steps = case.get("steps") or [{}]
    return "reprocess" if "mapping" in steps[0] else "oplog" if "event" in steps[0] else "unknown"
