"""A querier, compiled once: from one request and the rows of lookups to parameters of buckets.

    {"bucket": part label, "priority": int, "functions": [[kind, expression], …], "filters": [expression, …],
     "lookups": [{"index": part label, "inputs": [expression, …]}, …], "keys": [[expression, …], …], "nulls": bool}

The functions' rows that pass the filters are combined with the rows of each lookup, in order: `inputs` may use what
functions and earlier lookups gave. A key has one expression, or several that must be equal. An input that is NULL finds
nothing, and a key that is NULL gives no bucket, unless `nulls`. A BLOB never does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.definitions.environments import Environment, compile_environments, json_typed, key_text
from connector.definitions.expressions import compile_value
from connector.definitions.model import Options, Request
from connector.errors import RequestRefused
from connector.values import SqliteValue, parameters_text

MAX_COMBINATIONS = 100_000  # of lookups' rows, for one querier and one request
MAX_BUCKETS = 1_000  # of one connection

Lookup = Callable[[str, str], Sequence[Mapping[str, SqliteValue]]]  # index label, key → rows of outputs
Text = Callable[[Environment], str | None]
Key = tuple[tuple[Text, ...], ...]  # per source of its values (the request, a function, a lookup) what they are
_REQUEST = ("request",)


@dataclass(frozen=True, slots=True)
class Stage:
    """One lookup: its index, its inputs' text, and what of an environment is used after it."""

    number: int
    index: str
    key_of: Text
    used_later: frozenset[Any]


@dataclass(frozen=True, slots=True)
class Querier:
    """A compiled querier; `static` ones need no lookup."""

    bucket: str
    priority: int
    stages: tuple[Stage, ...]
    _begin: Callable[[Environment], Iterator[Environment]]
    _keys: tuple[Key, ...]

    @property
    def static(self) -> bool:
        return not self.stages

    def parameters(self, request: Request, lookup: Lookup) -> Counter[str]:
        """The texts of the buckets' parameters, each with how often it was found. Raises ROW_ERRORS."""
        environments: Iterable[tuple[Environment, int]]
        environments = [(environment, 1) for environment in self._begin({_REQUEST: request})]
        for stage in self.stages:
            environments = _merged(_looked_up(stage, environments, lookup), stage.used_later)
        return self._found(environments)

    def _found(self, environments: Iterable[tuple[Environment, int]]) -> Counter[str]:
        """What a key's sources say of it is intersected. The reference counts before that; so is counted here."""
        counts: Counter[tuple[str, ...]] = Counter()
        agreed: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
        for environment, count in environments:
            texts = _key_texts(self._keys, environment)
            if texts is None:
                continue
            single = tuple(key[0] for key in texts if len(key) == 1)
            counts[single] += count
            if len(agreed) > MAX_BUCKETS:
                break  # one too many is refused, whatever else there is
            if all(key.count(key[0]) == len(key) for key in texts):
                agreed.setdefault(single, set()).add(tuple(key[0] for key in texts))
        found: Counter[str] = Counter()
        for single, combinations in agreed.items():
            for combination in sorted(combinations):
                found[f"[{','.join(combination)}]"] += counts[single]
        return found


def _key_texts(keys: Sequence[Key], environment: Environment) -> list[list[str]] | None:
    """Per key what each of its sources says; None where one says nothing, or contradicts itself."""
    found = []
    for key in keys:
        texts = []
        for source in key:
            said = {text_of(environment) for text_of in source}
            text = said.pop()
            if said or text is None:
                return None
            texts.append(text)
        found.append(texts)
    return found


def _looked_up(
    stage: Stage, environments: Iterable[tuple[Environment, int]], lookup: Lookup
) -> Iterator[tuple[Environment, int]]:
    for environment, count in environments:
        key = stage.key_of(environment)
        for row in () if key is None else lookup(stage.index, key):
            outputs = {("output", stage.number, name): value for name, value in row.items()}
            yield {**environment, **outputs}, count


def _merged(environments: Iterator[tuple[Environment, int]], used: frozenset[Any]) -> Iterable[tuple[Environment, int]]:
    """Environments that later stages cannot tell apart are one, so that independent lookups do not multiply."""
    found: dict[str, tuple[Environment, int]] = {}
    for environment, count in environments:
        kept = {name: value for name, value in environment.items() if name in used}
        text = repr(sorted((name, value) for name, value in kept.items() if name != _REQUEST))
        _, before = found.get(text, (kept, 0))
        found[text] = (kept, before + count)
        if len(found) > MAX_COMBINATIONS:
            raise RequestRefused(
                f"its lookups give more than {MAX_COMBINATIONS:,} combinations of rows for one client",
                hint="let the lookups depend on each other, or on the request",
            )
    return found.values()


def compile_querier(querier: Mapping[str, Any], options: Options) -> Querier:
    """The closure of a querier as a plan has it."""
    typed = json_typed(querier["functions"])
    inputs = [each["inputs"] for each in querier["lookups"]]
    stages = tuple(
        Stage(
            number,
            each["index"],
            _inputs_text(each["inputs"], options, typed, nulls=querier["nulls"]),
            _leaves([inputs[number + 1 :], querier["keys"]]) | {_REQUEST},
        )
        for number, each in enumerate(querier["lookups"])
    )
    keys = tuple(_key(key, options, typed, nulls=querier["nulls"]) for key in querier["keys"])
    return Querier(
        querier["bucket"], querier["priority"], stages, compile_environments(_of_request(querier), options), keys
    )


def _inputs_text(inputs: Sequence[Sequence[Any]], options: Options, typed: frozenset[int], *, nulls: bool) -> Text:
    """A lookup's key; with `nulls` NULL finds what JSON's null is among, as in the reference's editions 1 and 2."""
    if not nulls:
        return key_text(inputs, options, typed)
    texts_of = [_parameter_text(each, options, nulls=True) for each in inputs]

    def text(environment: Environment) -> str | None:
        texts = [text_of(environment) for text_of in texts_of]
        found = [each for each in texts if each is not None]
        return f"[{','.join(found)}]" if len(found) == len(texts) else None

    return text


def _of_request(querier: Mapping[str, Any]) -> dict[str, Any]:
    """In a request what is JSON but no array has no elements; in a row it is an error."""
    functions = [["array elements" if kind == "elements" else kind, each] for kind, each in querier["functions"]]
    return {"functions": functions, "filters": querier["filters"]}


def _key(key: Sequence[Sequence[Any]], options: Options, typed: frozenset[int], *, nulls: bool) -> Key:
    sources: dict[frozenset[Any], list[Text]] = {}
    for expression in key:
        keeps_null = nulls or (expression[0] == "value" and expression[1] in typed)
        text = _parameter_text(expression, options, nulls=keeps_null)
        source = frozenset((leaf[0] == "output", leaf[1]) for leaf in _leaves(expression))
        sources.setdefault(source, []).append(text)
    return tuple(map(tuple, sources.values()))


def _parameter_text(expression: Sequence[Any], options: Options, *, nulls: bool) -> Text:
    value = compile_value(expression, options)

    def text(environment: Environment) -> str | None:
        found = value(environment)
        if isinstance(found, bytes) or (found is None and not nulls):
            return None
        return parameters_text((found,))[1:-1]

    return text


def _leaves(expression: Any) -> frozenset[Any]:
    """The keys of the environment that expressions use, as far as functions and lookups give them."""
    if not isinstance(expression, list):
        return frozenset()
    if expression and expression[0] in ("key", "value", "output"):
        return frozenset((tuple(expression),))
    return frozenset().union(*map(_leaves, expression))
