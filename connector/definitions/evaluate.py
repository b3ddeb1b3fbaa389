"""A plan, compiled once, as a pure function from a row to what it gives.

A bucket plan:

    {"plan_version": 2, "kind": "bucket", "options": {…},
     "queries": [{"table": pattern, "type": name or null, "columns": [["*"] | ["**"] | [name, expression], …],
                  "alternatives": [{"functions": [[kind, expression], …], "filters": [expression, …],
                                    "keys": [expression, …]}, …]}, …]}

`table` is a pattern (`patterns.py`); the type null is the physical table's name. `*` copies the columns that do not
begin with `_` and replaces none, `**` copies and replaces all. Each alternative puts the row into one bucket per
combination of its functions' rows (`json_rows.py`) that passes the filters; a key that is NULL or a BLOB gives none.
`keys` stand in the order of the bucket's parameters. The alternatives of a query fail together.

An index plan:

    {"plan_version": 2, "kind": "index", "options": {…}, "table": pattern, "functions": […], "filters": […],
     "inputs": [expression, …], "outputs": [[name, expression], …], "null_outputs": bool}

`inputs` stand in the order of the querier's lookup values; one that is NULL or a BLOB gives no lookup. An index may
have `alternatives`: further functions, filters and inputs under which a row is found (OR in legacy queries). Without
`null_outputs` an output that is one of them drops its row too; with it NULL is kept, and the BLOB drops it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from connector.definitions.environments import Environment, all_of, compile_environments, json_typed, key_text
from connector.definitions.expressions import Expression, compile_value
from connector.definitions.model import Options, check_version
from connector.definitions.patterns import Place, is_wildcard, place
from connector.definitions.render import Renderings
from connector.errors import BadConfig, BadRecord
from connector.values import Row, parameters_text

TABLES_REMEMBERED = 10_000  # concrete tables whose queries stay compiled


class Output(NamedTuple):
    """One row of one bucket, or one lookup's outputs.

    Of a bucket part: `bucket` is the bucket's parameters and `data` the exact text of the PUT. Of an index part:
    `bucket` is the lookup's input values, `type` and `id` are empty, `data` lists the outputs (`[{"list_id":"l1"}]`).
    `hash` is the first 16 bytes of SHA-256 over `put.<type>.<id>.<data>`; its first 4, little endian, are the op's
    checksum (powersync.md 3.1).
    """

    bucket: str
    type: str
    id: str
    data: str
    hash: bytes


_new_output = tuple.__new__  # a NamedTuple's own constructor costs three times as much
Query = Callable[[Row], list[Output]]
Outputs = tuple[list[Output], list[str]]  # and the errors of the queries that failed
# What a failing row may raise in a query; anything else is a bug and must be seen.
ROW_ERRORS = (BadRecord, ArithmeticError, LookupError, TypeError, ValueError)


class Evaluator:
    """A compiled part: calling it with a table (`schema.table`) and a row gives outputs and errors.

    Outputs are unique by bucket, type and id: of equal ones the last wins. A query that fails loses only its own
    outputs; its error is a text. `tables` are patterns; the queries of a table are made when it is first asked for.
    """

    def __init__(self, queries: Sequence[tuple[str, Callable[[Place], Query]]], options: Mapping[str, Any]) -> None:
        self._queries = queries
        self._of_table: dict[str, tuple[Query, ...]] = {}
        self.tables = frozenset(pattern for pattern, _ in queries)
        self.options = options

    def reads(self, table: str) -> bool:
        """Whether any query reads the table."""
        return bool(self.queries(table))

    def queries(self, table: str) -> Sequence[Query]:
        """The queries that read a table, for callers with many rows; each may raise ROW_ERRORS and repeat outputs."""
        found = self._of_table.get(table)
        if found is None:
            if len(self._of_table) >= TABLES_REMEMBERED:
                self._of_table.clear()
            places = [(place(pattern, table), query_at) for pattern, query_at in self._queries]
            found = self._of_table[table] = tuple(query_at(where) for where, query_at in places if where is not None)
        return found

    def __call__(self, table: str, row: Row) -> Outputs:
        outputs, errors = self.every(table, row)
        return unique(outputs), errors

    def every(self, table: str, row: Row) -> Outputs:
        """What each query gives, repeated outputs included, as the reference counts them."""
        outputs: list[Output] = []
        errors = []
        for query in self.queries(table):
            try:
                outputs += query(row)
            except ROW_ERRORS as error:
                errors.append(str(error))
        return outputs, errors


def unique(outputs: list[Output]) -> list[Output]:
    """Outputs each once by bucket, type and id, the last of equal ones at the first one's place."""
    return outputs if len(outputs) < 2 else list({output[:3]: output for output in outputs}.values())


def compile_part(
    plan: Mapping[str, Any], renderings: Renderings | None = None, options: Options | None = None
) -> Evaluator:
    """The evaluator of a stored plan, at the newest level unless its `options` are given with another. Raises BadConfig
    for a plan of another version or of unknown shape.

    Parts compiled with the same `renderings` share work on the same row, which must not change in between.
    """
    check_version(plan, f"a part of kind {plan.get('kind')!r}")
    shared = Renderings() if renderings is None else renderings
    try:
        options = Options.of_plan(plan) if options is None else options
        if plan["kind"] == "bucket":
            queries = [(query["table"], _at_place(query, options, shared)) for query in plan["queries"]]
        elif plan["kind"] == "index":
            queries = [(plan["table"], _at_place(plan, options, None))]
        else:
            raise BadConfig(f"the plan is of unknown kind {plan['kind']!r}")
        return Evaluator(queries, plan["options"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BadConfig(f"the plan is damaged: {error!r}") from error


def _at_place(query: Mapping[str, Any], options: Options, renderings: Renderings | None) -> Callable[[Place], Query]:
    """The query for each table that its pattern matches. It is compiled here once, so that damage is seen at once."""

    def compiled(where: Place) -> Query:
        bound = _bound(query, where)
        return _index_query(bound, options) if renderings is None else _bucket_query(bound, options, renderings)

    schema, _, table = query["table"].partition(".")
    if is_wildcard(query["table"]):
        compiled(Place(schema, table))  # any place shows damage
        return compiled
    only = compiled(Place(schema, table))
    return lambda where: only


def _bound(query: Mapping[str, Any], where: Place) -> dict[str, Any]:
    """The query for one table: what the expressions ask about it stands in them as literals."""
    leaves = {name: ["literal", value] for name, value in where._asdict().items()}

    def bind(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: bind(each) for name, each in part.items()}
        if not isinstance(part, list):
            return part
        if len(part) == 1 and isinstance(part[0], str) and part[0] in leaves:
            return leaves[part[0]]
        return [bind(each) for each in part]

    bound: dict[str, Any] = bind(dict(query))
    if "type" in bound and bound["type"] is None:
        bound["type"] = where.table
    return bound


def _bucket_query(query: Mapping[str, Any], options: Options, renderings: Renderings) -> Query:
    alternatives = query["alternatives"]
    render = renderings.of(query, options)
    if len(alternatives) == 1 and not alternatives[0]["functions"]:
        return _plain_bucket_query(alternatives[0], query["type"], options, render)
    bucket_lists = [_buckets(alternative, options) for alternative in alternatives]
    type_ = query["type"]

    def evaluate(row: Row) -> list[Output]:
        buckets = [bucket for buckets_of in bucket_lists for bucket in buckets_of(row)]
        if not buckets:
            return []
        id_, text, digest = render(row)
        return [Output(bucket, type_, id_, text, digest) for bucket in buckets]

    return evaluate


def _plain_bucket_query(
    alternative: Mapping[str, Any], type_: str, options: Options, render: Callable[[Row], tuple[str, str, bytes]]
) -> Query:
    """One alternative without functions, the usual query: at most one bucket."""
    passes = all_of(alternative["filters"], options)
    bucket_of = key_text(alternative["keys"], options)

    def evaluate(row: Row) -> list[Output]:
        if not passes(row):
            return []
        bucket = bucket_of(row)
        if bucket is None:
            return []
        id_, text, digest = render(row)
        return [_new_output(Output, (bucket, type_, id_, text, digest))]

    return evaluate


def _buckets(alternative: Mapping[str, Any], options: Options) -> Callable[[Row], Iterator[str]]:
    environments = compile_environments(alternative, options)
    bucket_of = key_text(alternative["keys"], options, json_typed(alternative["functions"]))

    def buckets(row: Row) -> Iterator[str]:
        for environment in environments(row):
            bucket = bucket_of(environment)
            if bucket is not None:
                yield bucket

    return buckets


def _index_query(plan: Mapping[str, Any], options: Options) -> Query:
    ways = [_index_keys(way, options) for way in (plan, *plan.get("alternatives", ()))]
    outputs_of = _outputs_text(plan["outputs"], options, null_outputs=plan["null_outputs"])

    def evaluate(row: Row) -> list[Output]:
        found: dict[str, list[str]] = {}
        for lookup, environment in (pair for keys_of in ways for pair in keys_of(row)):
            outputs = outputs_of(environment)
            if outputs is not None:
                found.setdefault(lookup, []).append(outputs)
        return [_lookup(lookup, outputs) for lookup, outputs in found.items()]

    return evaluate


def _index_keys(way: Mapping[str, Any], options: Options) -> Callable[[Row], Iterator[tuple[str, Environment]]]:
    environments = compile_environments(way, options)
    lookup_of = key_text(way["inputs"], options, json_typed(way["functions"]))

    def keys(row: Row) -> Iterator[tuple[str, Environment]]:
        for environment in environments(row):
            lookup = lookup_of(environment)
            if lookup is not None:
                yield lookup, environment

    return keys


def _lookup(lookup: str, outputs: Sequence[str]) -> Output:
    text = f"[{','.join(outputs)}]"
    return Output(lookup, "", "", text, sha256(f"put...{text}".encode()).digest()[:16])


def _outputs_text(
    outputs: Sequence[tuple[str, Expression]], options: Options, *, null_outputs: bool
) -> Callable[[Environment], str | None]:
    """One row of outputs as a JSON object's text; None where it is dropped."""
    names = [orjson.dumps(name).decode() for name, _ in outputs]
    values = [compile_value(expression, options) for _, expression in outputs]

    def text(environment: Environment) -> str | None:
        found = [value(environment) for value in values]
        if any(type(value) is bytes or (value is None and not null_outputs) for value in found):
            return None
        pairs = (f"{name}:{parameters_text((value,))[1:-1]}" for name, value in zip(names, found, strict=True))
        return f"{{{','.join(pairs)}}}"

    return text
