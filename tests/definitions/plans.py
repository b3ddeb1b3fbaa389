"""Plans by hand, as a compiler would write them."""

from __future__ import annotations

from typing import Any

from connector.definitions.model import PLAN_VERSION, Options

ID = [["id", ["column", "id"]]]


def column(name: str) -> list[Any]:
    return ["column", name]


def alternative(
    *keys: list[Any], filters: list[Any] | None = None, functions: list[Any] | None = None
) -> dict[str, Any]:
    return {"functions": functions or [], "filters": filters or [], "keys": list(keys)}


def query(
    *alternatives: dict[str, Any], table: str = "public.t", type_: str | None = "t", columns: Any = None
) -> dict[str, Any]:
    return {
        "table": table,
        "type": type_,
        "columns": columns or ID,
        "alternatives": list(alternatives) or [alternative()],
    }


def bucket_plan(*queries: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {
        "plan_version": PLAN_VERSION,
        "kind": "bucket",
        "options": Options(**options).plan(),
        "queries": list(queries),
    }


def index_plan(inputs: list[Any], outputs: list[Any], **changes: Any) -> dict[str, Any]:
    return {
        "plan_version": PLAN_VERSION,
        "kind": "index",
        "options": Options().plan(),
        "table": "public.t",
        "functions": [],
        "filters": [],
        "inputs": inputs,
        "outputs": outputs,
        "null_outputs": False,
    } | changes


def querier(*keys: list[Any], **changes: Any) -> dict[str, Any]:
    return {
        "bucket": "b",
        "priority": 3,
        "functions": [],
        "filters": [],
        "lookups": [],
        "keys": list(keys),
        "nulls": False,
    } | changes
