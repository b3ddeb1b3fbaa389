"""Parts made of their plans."""

from __future__ import annotations

from typing import Any

from connector.definitions.model import PLAN_VERSION, Options, Part, canonical_text


def part_of(definition: str, label: str, body: dict[str, Any], options: Options) -> Part:
    """`body` is the plan but for its version and options."""
    plan = {"plan_version": PLAN_VERSION, **body, "options": options.plan()}
    tables = {query["table"] for query in body.get("queries", (body,))}
    return Part(body["kind"], definition, label, plan, canonical_text(plan), tuple(sorted(tables)))
