"""What differs between two plans: the innermost place, both sides as near to SQL as one line allows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_SHOWN = 100  # characters of one side


def first_difference(old: Any, new: Any, where: str = "") -> tuple[str, str]:
    """The innermost place where two plans differ, on both sides: `query on public.todos.columns: …`."""
    if where == "queries":
        return _differing_queries(old, new)
    if where.rpartition(".")[2] == "alternatives" and len(old) == len(new) == 1:
        return first_difference(old[0], new[0], where.removesuffix("alternatives").rstrip("."))
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() & new.keys()):
            if _text(old[key]) != _text(new[key]):
                return first_difference(old[key], new[key], f"{where}.{key}" if where else key)
    if isinstance(old, list) and isinstance(new, list):
        gone, come = _without(old, new), _without(new, old)
        if not gone and not come:  # the same in another order
            gone, come = old, new
        shown = _result if where.rpartition(".")[2] in ("columns", "outputs") else _shown
        return _side(where, map(shown, gone)), _side(where, map(shown, come))
    return _side(where, [_shown(old)]), _side(where, [_shown(new)])


def _differing_queries(old: list[Any], new: list[Any]) -> tuple[str, str]:
    gone, come = _without(old, new), _without(new, old)
    for was in gone:
        for now in come:
            if was["table"] == now["table"]:
                return first_difference(was, now, f"query on {was['table']}")
    if not gone and not come:
        return "queries in another order", "queries in this order"
    names = [", ".join(f"query on {query['table']}" for query in queries) for queries in (gone, come)]
    return names[0] or "no such query", names[1] or "no such query"


def _text(piece: Any) -> str:
    """A piece of a plan as text: Python's own equality takes 1 for 1.0."""
    return json.dumps(piece, sort_keys=True)


def _without(items: list[Any], others: list[Any]) -> list[Any]:
    """The items that are not among the others."""
    known = set(map(_text, others))
    return [item for item in items if _text(item) not in known]


def _side(where: str, shown: Iterable[str]) -> str:
    text = ", ".join(shown) or "none"
    return f"{where}: {text if len(text) <= _SHOWN else text[: _SHOWN - 1] + '…'}"


def _shown(item: Any) -> str:
    """An expression or an alternative of a query."""
    if isinstance(item, Mapping):
        return _conjunction(item)
    if not isinstance(item, list) or not item:
        return str(item)
    words = _WORDS.get(item[0])
    return words(*item[1:]) if words else json.dumps(item, ensure_ascii=False)


def _result(item: list[Any]) -> str:
    """A result column: `*`, or a name and its expression."""
    if len(item) == 1:
        return "*"
    name, value = item[0], _shown(item[1])
    return value if value == name else f"{value} AS {name}"


def _conjunction(alternative: Mapping[str, Any]) -> str:
    pieces = [_shown(piece) for name in ("keys", "filters", "functions") for piece in alternative.get(name, ())]
    return "(" + " AND ".join(pieces) + ")" if pieces else "every row"


def _infix(operator: str) -> Callable[..., str]:
    return lambda *operands: f" {operator} ".join(map(_shown, operands))


def _literal(value: Any) -> str:
    return "NULL" if value is None else repr(value)


def _call(name: str, *arguments: Any) -> str:
    return f"{name}({', '.join(map(_shown, arguments))})"


_WORDS: dict[str, Callable[..., str]] = {
    "column": str,
    "literal": _literal,
    "is null": lambda inner: f"{_shown(inner)} IS NULL",
    "not": lambda inner: f"NOT ({_shown(inner)})",
    "and": lambda *parts: f"({_infix('AND')(*parts)})",
    "or": lambda *parts: f"({_infix('OR')(*parts)})",
    "cast": lambda type_, inner: f"CAST({_shown(inner)} AS {type_})",
    "call": _call,
    "json_each": lambda inner: _call("json_each", inner),
    "elements": lambda inner: _call("json_each", inner),
    "value": lambda number: f"json_each[{number}].value",
    "key": lambda number: f"json_each[{number}].key",
    **{operator: _infix(operator) for operator in ("=", "!=", "<", "<=", "+", "-", "*", "/", "||", "->", "->>")},
}
