"""Where things stand in a SQL text: ranges of characters, and refusals that carry one."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp
from sqlglot.tokenizer_core import Token

Range = tuple[int, int]


class Refused(Exception):
    """A text, or a place in one, that the language does not have: message, range in the SQL, hint.

    A `place` of None is the text as the file writes it, whatever its style.
    The range None is the text as a whole, shown from the beginning of its first line. `also` are further refusals
    found beside it, of other operands of one expression. `once`: of several such in one expression the first says
    enough. `syntax`: the text breaks the grammar.
    """

    def __init__(
        self, message: str, place: Range | None, hint: str | None = None, *, once: bool = False, syntax: bool = False
    ) -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.hint = hint
        self.once = once
        self.syntax = syntax
        self.also: tuple[Refused, ...] = ()

    def all(self) -> Iterator[Refused]:
        """This one and those beside it, in the order found."""
        yield self
        for other in self.also:
            yield from other.all()


def together(found: list[Refused]) -> Refused:
    """Several refusals, at least one, as one to raise."""
    first, *others = [one for refused in found for one in refused.all()]
    said = first.once
    kept = []
    for one in others:
        if not (one.once and said):
            kept.append(one)
        said = said or one.once
        one.also = ()
    first.also = tuple(kept)
    return first


def not_parsed(message: str, place: Range, hint: str | None = None) -> Refused:
    """The refusal of a text that breaks the grammar."""
    return Refused(message, place, hint, syntax=True)


def token_range(token: Token) -> Range:
    return token.start, token.end + 1


def range_of(node: exp.Expr) -> Range:
    """The characters [start, end) that the node was written with, without parentheses around it."""
    start, last = _first(node), _last(node)
    return start or 0, (start or 0) if last is None else last + 1


def place(node: exp.Expr, found: Range) -> exp.Expr:
    """The node, with the range that it was written with noted on it."""
    node.meta.update(first=found[0], last=found[1] - 1)
    return node


def _first(node: exp.Expr) -> int | None:
    own = _own(node, ("start", "first") if isinstance(node, exp.Identifier) else ("first", "start"))
    if own is not None:
        return own
    starts = [start for child in node.iter_expressions() if (start := _first(child)) is not None]
    return min(starts, default=None)


def _last(node: exp.Expr) -> int | None:
    own = _own(node, ("end", "last") if isinstance(node, exp.Identifier) else ("last", "end"))
    if own is not None:
        return own
    ends = [end for child in node.iter_expressions() if (end := _last(child)) is not None]
    return max(ends, default=None)


def _own(node: exp.Expr, keys: tuple[str, ...]) -> int | None:
    return next((int(node.meta[key]) for key in keys if key in node.meta), None)
