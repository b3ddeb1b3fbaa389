"""Numbers for things that have no names, which do not depend on how a query was written.

A thing is known by its text and by the texts of what it is used in, refined as often as there are things: equal
texts then are things that nothing tells apart, and any order of them gives the same plan.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, TypeVar

from connector.definitions.terms import canonical_order

Thing = TypeVar("Thing")
Expression = list[Any]

_LEAVES = ("value", "key")
_COMMUTATIVE = ("and", "or")


def text(expression: Any) -> str:
    """The canonical text of an expression, or of any JSON value."""
    return json.dumps(expression, sort_keys=True, separators=(",", ":"))


def renumbered(expression: Any, numbers: Mapping[int, Any]) -> Any:
    """The expression with other numbers of json_each calls, and operands in the order that this makes canonical."""
    if not isinstance(expression, list):
        return expression
    if len(expression) == 2 and expression[0] in _LEAVES and isinstance(expression[1], int):
        return [expression[0], numbers[expression[1]]]
    found = [renumbered(part, numbers) for part in expression]
    if expression and expression[0] in _COMMUTATIVE:
        return [found[0], *canonical_order(found[1:])]
    return [found[0], *sorted(found[1:], key=text)] if expression and expression[0] == "=" else found


def numbers_in(expression: Any) -> set[int]:
    """The json_each calls that an expression reads."""
    if not isinstance(expression, list):
        return set()
    if len(expression) == 2 and expression[0] in _LEAVES and isinstance(expression[1], int):
        return {expression[1]}
    return set().union(*map(numbers_in, expression)) if expression else set()


def anonymous(expression: Expression) -> Any:
    """The expression without its numbers."""
    return renumbered(expression, dict.fromkeys(numbers_in(expression), ""))


def numbering(arguments: Mapping[int, Expression], uses: Sequence[Expression]) -> dict[int, int]:
    """Numbers from 0 for json_each calls with these arguments, each after those in its argument."""
    near = {number: [use for use in [*uses, *arguments.values()] if number in numbers_in(use)] for number in arguments}
    texts = refined(
        list(arguments),
        dict.fromkeys(arguments, ""),
        lambda number, known: [
            renumbered(arguments[number], known),
            sorted(text(renumbered(use, {**known, number: True})) for use in near[number]),
        ],
    )
    found: dict[int, int] = {}
    while len(found) < len(arguments):
        ready = [
            number for number in arguments if number not in found and numbers_in(arguments[number]) <= found.keys()
        ]
        found[min(ready, key=texts.__getitem__)] = len(found)
    return found


def refined(
    things: Sequence[Thing], texts: Mapping[Thing, str], near: Callable[[Thing, Mapping[Thing, str]], Any]
) -> dict[Thing, str]:
    """Texts of things that tell apart what differs in its surroundings; `near` tells those of a thing by texts."""
    found, distinct = dict(texts), 0
    while distinct < len(set(found.values())):
        distinct = len(set(found.values()))
        found = {thing: _short(text([texts[thing], near(thing, found)])) for thing in things}
    return found


def _short(long: str) -> str:
    return sha256(long.encode()).hexdigest()
