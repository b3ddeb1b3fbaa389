"""The scalar functions of the language: which dialect and engine has them, and how many arguments they take."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, NamedTuple

from sqlglot import exp

from connector.definitions.sql import Refused, name_range, range_of
from connector.definitions.terms.scope import Scope, Term, combination


class Function(NamedTuple):
    """How many arguments a function takes, `most` None for any number; only edition 3 enforces it."""

    least: int
    most: int | None
    compiled: bool = True  # edition 3 has it
    sqlite: bool = True  # so has its SQLite engine


FUNCTIONS: dict[str, Function] = {
    "upper": Function(1, 1),
    "lower": Function(1, 1),
    "length": Function(1, 1),
    "substring": Function(2, 3),
    "instr": Function(2, 2),
    "hex": Function(1, 1),
    "base64": Function(1, 1, sqlite=False),
    "typeof": Function(1, 1),
    "ifnull": Function(2, None),
    "iif": Function(3, 3),
    "json_extract": Function(2, None),
    "json_array_length": Function(1, 2),
    "json_keys": Function(1, 1, sqlite=False),
    "json_valid": Function(1, 1, compiled=False),
    "unixepoch": Function(1, None),
    "datetime": Function(1, None),
    "uuid_blob": Function(1, 1, sqlite=False),
    "st_asgeojson": Function(1, 1),
    "st_astext": Function(1, 1),
    "st_x": Function(1, 1),
    "st_y": Function(1, 1),
}
_UNPREDICTABLE = ("random", "randomblob")
_SQLITE_IFNULL = 2


def function_name(call: exp.Expr) -> str:
    """A call's function; names are folded unless they are quoted."""
    name = call.this
    return str(name.this) if isinstance(name, exp.Expr) else str(name).lower()


def check_function(node: exp.Expr, function: str, scope: Scope) -> None:
    """Raises Refused where the dialect has no such function."""
    known = FUNCTIONS.get(function)
    if scope.dialect == "legacy":
        if known is None:
            raise Refused(f"Function '{function}' is not defined", range_of(node), _hint(function, scope))
    elif function in _UNPREDICTABLE:
        raise Refused("Forbidden call: Sync definitions must be deterministic.", name_range(node))
    elif known is None or not known.compiled:
        raise Refused("Unknown function", name_range(node), _hint(function, scope))
    else:
        _check_count(node, known, len(node.expressions))
        if scope.engine == "sqlite":
            _check_sqlite(node, function, known)


def scalar_call(node: exp.Expr, function: str, terms: list[Term], scope: Scope) -> Term:
    """The term of a call of a scalar function."""
    expression: list[Any] = ["call", function, *(term.expression for term in terms)]
    return combination("call", node, terms, scope, expression)


def substring_call(node: exp.Expr, terms: list[Term], scope: Scope) -> Term:
    """`substring(x FROM a FOR b)`, which the reference's own engine cannot run."""
    if scope.engine != "sqlite":
        raise Refused("Function not implemented: substr", range_of(node), "write substring(text, start, length)")
    text, *bounds = (term.expression for term in terms)
    start = bounds if node.args.get("start") is not None else [["literal", 1], *bounds]
    return combination("call", node, terms, scope, ["call", "substring", text, *start])


def _check_count(node: exp.Expr, known: Function, count: int) -> None:
    if count < known.least:
        raise Refused(f"Expected at least {known.least} arguments", range_of(node))
    if known.most is not None and count > known.most:
        raise Refused(f"Expected at most {known.most} arguments", range_of(node))


def _check_sqlite(node: exp.Expr, function: str, known: Function) -> None:
    if not known.sqlite:
        raise Refused(f"no such function: {function}", name_range(node), "the SQLite engine lacks it")
    if function == "ifnull" and len(node.expressions) != _SQLITE_IFNULL:
        raise Refused("wrong number of arguments to function ifnull()", range_of(node), "it takes two")


def _hint(function: str, scope: Scope) -> str | None:
    known = [name for name, one in FUNCTIONS.items() if _has(one, scope)]
    close = get_close_matches(function, known, n=1)
    return f"did you mean {close[0]}()?" if close else None


def _has(function: Function, scope: Scope) -> bool:
    return scope.dialect == "legacy" or (function.compiled and (function.sqlite or scope.engine == "js"))
