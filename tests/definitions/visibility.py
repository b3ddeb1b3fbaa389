"""What a client may see of a whole dataset: rows through parts, its request through queriers, both joined by bucket."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from connector.definitions.evaluate import compile_part
from connector.definitions.model import SyncConfig
from connector.definitions.request import Connection, Subscription, buckets
from connector.values import Row


def visible_ids(
    config: SyncConfig,
    rows: Mapping[str, Sequence[Row]],
    *,
    token: Mapping[str, Any],
    subscriptions: Sequence[tuple[str, Mapping[str, Any]]] = (),
) -> set[str]:
    """The ids of all rows in the client's buckets; `rows` are those of `schema.table`."""
    contents: dict[tuple[str, str], set[str]] = {}
    lookups: dict[tuple[str, str], list[Any]] = {}
    for part in {id(part): part for definition in config.definitions for part in definition.parts}.values():
        evaluator = compile_part(json.loads(json.dumps(part.plan)))
        for table, found in rows.items():
            for row in found:
                outputs, errors = evaluator(table, row)
                assert not errors, errors
                for output in outputs:
                    if part.kind == "bucket":
                        contents.setdefault((part.label, output.bucket), set()).add(output.id)
                    else:
                        lookups.setdefault((part.label, output.bucket), []).extend(json.loads(output.data))
    client = Connection(token, {}, [Subscription(name, parameters) for name, parameters in subscriptions])
    answer = buckets(config, client, lambda index, key: lookups.get((index, key), []))
    assert not answer.failures, answer.failures
    return set().union(*(contents.get((one.label, one.parameters), set()) for one in answer.buckets))
