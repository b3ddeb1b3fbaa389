"""What the merge's own work costs: decode, compare, row state, ops. No Kafka.

`.venv/bin/python -m benchmarks.merge` prints CPU µs per (version, row), changed and unchanged.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from connector.merge.draft import Draft
from connector.merge.settle import finish, settle
from connector.merge.state import Evaluated, Merge
from connector.store.rows import Applied, RowState
from schemas.codec import Codec
from tests.builders import catalog, evaluated, out, row, source_key, table_of, version

ROWS = 500  # per batch, as the sequencer cuts them (rule S8)
BATCHES = 100


class OwnSchemas:
    """Schemas without a registry: ids counted up."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def id_of(self, subject: str, text: str) -> int:
        if text not in self._texts:
            self._texts.append(text)
        return self._texts.index(text) + 1

    def text(self, schema_id: int) -> str:
        return self._texts[schema_id - 1]


def records(versions: int, text: str) -> list[Evaluated]:
    """Every row of the table once, in one bucket per owner."""

    def evaluate(table: str, content: Any) -> Any:
        return [out(f'["{content["owner"]}"]', content["id"], json.dumps(content))], []

    evaluators = {v: evaluate for v in range(1, versions + 1)}
    made = []
    for batch in range(BATCHES):
        rows = {source_key(f"k{n}"): row(f"k{n}", f"u{n % 200}", text) for n in range(batch * ROWS, (batch + 1) * ROWS)}
        made.append(evaluated(batch + 1, [table_of(rows, evaluators)]))
    return made


def run(state: Merge, rows: RowState, codec: Codec, encoded: list[bytes]) -> tuple[Merge, dict[str, float]]:
    """Take all records; CPU seconds per kind of work."""
    spent: dict[str, float] = {}
    ops = 0

    @contextmanager
    def timed(what: str) -> Iterator[None]:
        begun = time.process_time()
        yield
        spent[what] = spent.get(what, 0.0) + time.process_time() - begun

    draft = Draft(state)
    for number, value in enumerate(encoded):
        with timed("decode"):
            record = cast(Evaluated, codec.decode(value))
        with timed("compare"):
            fitted = draft.take("main", record, number + 1, rows)
        while not fitted or draft.full or number == len(encoded) - 1:
            ops += len(draft.changes.ops)
            with timed("encode"):
                for op in draft.changes.ops:
                    codec.encode("Op", cast(dict[str, Any], op))
            with timed("settle"):
                draft.count(rows)
                settle(draft, now=1, complete={}, retain_ms=1)
                finish(draft, {}, now=1)
            with timed("store"):
                rows.write(Applied("log", draft.state.number), draft.changes.writes, draft.bucket_writes)
            state = draft.state
            draft = Draft(state)
            if fitted:
                break
            with timed("compare"):
                fitted = draft.take("main", record, number + 1, rows)
    spent["ops"] = ops
    return state, spent


def measure(versions: int) -> None:
    codec = Codec(OwnSchemas())
    known = catalog(*(version(v) for v in range(1, versions + 1)))
    with tempfile.TemporaryDirectory() as folder:
        rows = RowState(Path(folder) / "rows")
        state = Merge().with_catalog(known)
        passes: list[tuple[str, str]] = [("new", "a"), ("unchanged", "a"), ("changed", "b")]
        for index, (name, text) in enumerate(passes):
            encoded = []
            for record in records(versions, text):
                record["position"] += index * BATCHES
                encoded.append(codec.encode("Evaluated", cast(dict[str, Any], record)))
            state, spent = run(state, rows, codec, encoded)
            print_line(f"{versions} versions, {name}", spent, versions * ROWS * BATCHES)
        rows.close()


def print_line(name: str, spent: dict[str, float], count: int) -> None:
    ops = int(spent.pop("ops"))
    each = "  ".join(f"{what} {1e6 * seconds / count:5.2f}" for what, seconds in spent.items())
    print(f"{name:<24} {1e6 * sum(spent.values()) / count:6.2f} µs per (version, row)   {each}   {ops} ops")


def main(show: Callable[[int], None] = measure) -> None:
    for versions in (1, 4):
        show(versions)


if __name__ == "__main__":
    main()
