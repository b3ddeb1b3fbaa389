"""A definition's request side as the catalog keeps it: versioned JSON, so that no request depends on parsing."""

from __future__ import annotations

import json

from connector.definitions.model import PLAN_VERSION, Definition, Options, check_version


def stored(definition: Definition, options: Options) -> str:
    """The queriers of a definition, who asks them, and the options that they are asked under."""
    record = {
        "plan_version": PLAN_VERSION,
        "kind": definition.kind,
        "auto_subscribe": definition.auto_subscribe,
        "options": options.plan(),
        "queriers": list(definition.queriers),
    }
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False)


def loaded(name: str, priority: int, text: str) -> tuple[Definition, Options]:
    """What `stored` has written, without the parts. Raises BadConfig for another plan version."""
    record = json.loads(text)
    check_version(record if isinstance(record, dict) else {}, f'the queriers of "{name}"')
    definition = Definition(name, record["kind"], priority, record["auto_subscribe"], (), tuple(record["queriers"]))
    return definition, Options.of_plan(record)
