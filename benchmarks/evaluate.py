"""What evaluation costs: CPU µs per row of a simple data query, and of many definitions on one table.

    .venv/bin/python -m benchmarks.evaluate

The simple query selects five columns, has one filter that half of the rows pass and one bucket parameter. All rows are
passed through 1, 10 and 100 definitions, once with the same columns (their texts are shared), once each with its own.
The least of several rounds counts: what is more, other processes have taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from connector.definitions.check import check
from connector.definitions.evaluate import Evaluator, compile_part
from connector.definitions.render import Renderings
from connector.values import Row

ROWS = 10_000
ROUNDS = 7
CHUNK = 500  # rows per batch, as in the change log
TABLE = "public.todos"


def simple(name: str, own_column: str = "") -> str:
    """One definition; `own_column` makes its rows' texts its own."""
    columns = f"id, list_id, title, done, priority{own_column}"
    return (
        f"  {name}:\n    parameters: SELECT request.user_id() AS owner\n    data:\n"
        f"      - SELECT {columns} FROM todos WHERE owner_id = bucket.owner AND done = 0\n"
    )


def todos(passing: Callable[[int], bool]) -> list[Row]:
    return [
        {
            "id": f"8f14e45f-ceea-467f-a9d2-{n:012}",
            "list_id": f"list-{n % 100}",
            "owner_id": f"user-{n % 1000}",
            "title": f"Buy {n % 37} bottles of milk",
            "done": 0 if passing(n) else 1,
            "priority": n % 4,
            "created_at": "2026-01-01T00:00:00Z",
        }
        for n in range(ROWS)
    ]


def compiled(definitions: Iterable[str]) -> list[Evaluator]:
    """The bucket parts of a config, sharing their renderings as the agents of one stream do."""
    checked = check(f"bucket_definitions:\n{''.join(definitions)}")
    assert checked.config is not None, checked.diagnostics
    shared = Renderings()
    return [compile_part(one.parts[0].plan, shared) for one in checked.config.definitions]


def cost(evaluators: list[Evaluator], rows: list[Row]) -> float:
    """CPU µs per row through all evaluators."""
    queries = [evaluator.queries(TABLE)[0] for evaluator in evaluators]
    best = float("inf")
    for _ in range(ROUNDS):
        fresh = [dict(row) for row in rows]
        began = time.process_time()
        for start in range(0, len(fresh), CHUNK):
            chunk = fresh[start : start + CHUNK]
            for query in queries:
                for row in chunk:
                    query(row)
        best = min(best, time.process_time() - began)
    return best * 1e6 / len(rows)


def main() -> None:
    for said, rows in (
        ("every row passes", todos(lambda n: True)),
        ("half of the rows pass", todos(lambda n: n % 2 == 0)),
        ("no row passes", todos(lambda n: False)),
    ):
        print(f"simple data query, {said:<22} {cost(compiled([simple('one')]), rows):6.2f} µs/row")
    rows = todos(lambda n: n % 2 == 0)
    for said, column in (("the same columns", ""), ("columns of its own", ", {n} AS own")):
        for count in (1, 10, 100):
            texts = [simple(f"d{n}", column.format(n=n)) for n in range(count)]
            total = cost(compiled(texts), rows)
            print(f"{count:>3} definitions, each {said:<18} {total:8.2f} µs/row, {total / count:5.2f} per definition")


if __name__ == "__main__":
    main()
