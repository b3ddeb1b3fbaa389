"""Names of buckets and lookups, which may be numbered and ordered otherwise than in the cases.

Where a case is tagged so, its config's cases are compared by consistency: there must be one renaming of streams'
buckets (`stream|0` for `stream|1`), of lookups, and of the order of their values, with which all are as expected.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, permutations, product
from typing import Any, NamedTuple

MAX_RENAMINGS = 20_000


class Name(NamedTuple):
    """A bucket or a lookup: `label` as `b`, `stream|0`, `lookup#0`; numbers among the values are ("n", text)."""

    kind: str
    label: str
    values: tuple[Any, ...]

    def __repr__(self) -> str:
        texts = (each[1] if isinstance(each, tuple) else json.dumps(each, ensure_ascii=False) for each in self.values)
        return f"{self.label}[{','.join(texts)}]"


class Outputs(NamedTuple):
    """What a lookup gives, under names that may be numbers: (name, value) pairs."""

    label: str
    rows: tuple[tuple[tuple[str, Any], ...], ...]


class Bag(tuple[Any, ...]):
    """Things in no order."""


def bucket_name(text: str) -> Name:
    """`stream|0["u1",2]` taken apart."""
    for at, character in enumerate(text):
        if character == "[":
            try:
                return Name("bucket", text[:at], values_of(text[at:]))
            except ValueError:
                continue
    raise ValueError(f"not a bucket's name: {text}")


def values_of(text: str) -> tuple[Any, ...]:
    """A JSON array with its numbers as they are written."""
    return tuple(json.loads(text, parse_int=_written, parse_float=_written))


def _written(text: str) -> tuple[str, str]:
    return ("n", text)


@dataclass(frozen=True)
class Renaming:
    """Per label the label it stands for and the order of its values; per lookup the order of its outputs too."""

    labels: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __call__(self, thing: Any) -> Any:
        """The thing with all names in it renamed, and all bags in one order."""
        if isinstance(thing, Name):
            label, order = self.labels.get(thing.label, (thing.label, ()))
            values = tuple(thing.values[i] for i in order) if len(order) == len(thing.values) else thing.values
            return Name(thing.kind, label, values)
        if isinstance(thing, Outputs):
            return self._outputs(thing)
        if isinstance(thing, Bag):
            return Bag(sorted(map(self, thing), key=repr))
        if isinstance(thing, dict):
            return {name: self(content) for name, content in thing.items()}
        return type(thing)(map(self, thing)) if type(thing) in (list, tuple) else thing

    def _outputs(self, found: Outputs) -> Outputs:
        names = self.outputs.get(found.label, {})
        rows = (tuple(sorted((names.get(name, name), content) for name, content in row)) for row in found.rows)
        return Outputs(self.labels.get(found.label, (found.label, ()))[0], tuple(sorted(rows, key=repr)))


def renamings(
    buckets: Mapping[str, int], lookups: Mapping[str, tuple[int, int]]
) -> tuple[list[Renaming], list[Renaming]]:
    """All renamings of numbered buckets (label to number of values) and of lookups (to numbers of inputs, outputs)."""
    return (
        list(islice(_of_buckets(buckets), MAX_RENAMINGS)),
        list(islice(_of_lookups(lookups), MAX_RENAMINGS)),
    )


def _of_buckets(buckets: Mapping[str, int]) -> Iterator[Renaming]:
    labels = [label for label in buckets if "|" in label]
    for targets in permutations(labels):
        pairs = list(zip(labels, targets, strict=True))
        if all(label.rpartition("|")[0] == target.rpartition("|")[0] for label, target in pairs):
            for orders in product(*(permutations(range(buckets[label])) for label in labels)):
                yield Renaming({label: (target, order) for (label, target), order in zip(pairs, orders, strict=True)})


def _of_lookups(lookups: Mapping[str, tuple[int, int]]) -> Iterator[Renaming]:
    labels = [label for label in lookups if label.startswith("lookup#")]
    for targets in permutations(labels):
        orders = [permutations(range(lookups[label][0])) for label in labels]
        outputs = [permutations(map(str, range(lookups[label][1]))) for label in labels]
        for chosen in product(*orders, *outputs):
            inputs, names = chosen[: len(labels)], chosen[len(labels) :]
            yield Renaming(
                {label: pair for label, *pair in zip(labels, targets, inputs, strict=True)},  # type: ignore[misc]
                {
                    label: dict(zip(map(str, range(len(each))), each, strict=True))
                    for label, each in zip(labels, names, strict=True)
                },
            )


def best(candidates: Iterable[Renaming], failing: Callable[[Renaming], int]) -> Renaming:
    """The first candidate with the fewest failing cases."""
    found, fewest = Renaming(), None
    for candidate in candidates:
        count = failing(candidate)
        if fewest is None or count < fewest:
            found, fewest = candidate, count
        if count == 0:
            break
    return found
