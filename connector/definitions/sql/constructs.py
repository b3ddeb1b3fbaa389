"""Expressions that keywords hold together: CASE, CAST, ARRAY, and the calls with words between their arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from connector.definitions.sql.places import not_parsed, place, token_range
from connector.definitions.sql.reader import Reader
from connector.definitions.sql.tokens import is_name

_LONGEST_TYPE = 4


class Constructs(Reader):
    """Each method reads one of them from its keyword on."""

    def _case(self) -> exp.Expr:
        first = self._taken()
        value = None if self._curr.text.upper() == "WHEN" else self._operand()
        branches = []
        while self._word_follows("WHEN"):
            condition = self._operand()
            self._expect("THEN")
            branches.append(exp.If(this=condition, true=self._operand()))
        default = self._operand() if self._word_follows("ELSE") else None
        self._expect("END")
        return self._placed(first, exp.Case(this=value, ifs=branches, default=default))

    def _cast(self) -> exp.Expr:
        first = self._taken()
        self._expect("(")
        operand = self._operand()
        self._expect("AS")
        node = exp.Cast(this=operand, to=self._type())
        self._expect(")")
        return self._placed(first, node)

    def _type(self) -> exp.Expr:
        """The name of a type as exp.Var, in lower case and without what it is parametrised by."""
        first = self._curr
        words = [self._taken().text.lower()] if is_name(first) or " " in first.text else self._unexpected()
        if self._match(TokenType.DOT):
            words = [self._taken().text.lower()]
        while len(words) < _LONGEST_TYPE and (words[-1], self._curr.text.lower()) in _TYPE_PAIRS:
            words.append(self._taken().text.lower())
        last = self._prev
        if self._match(TokenType.L_PAREN):
            self._listed(self._number)
            self._expect(")")
            last = self._prev
        node = place(exp.Var(this=" ".join(words)), (first.start, last.end + 1))
        while self._match_pair(TokenType.L_BRACKET, TokenType.R_BRACKET) or self._word_follows("ARRAY"):
            node = self._placed(first, exp.Var(this="undefined"))
        return node

    def _array(self) -> exp.Expr:
        first = self._taken()
        if self._curr.token_type == TokenType.L_PAREN:
            return self._placed(first, exp.Array(expressions=[self._group()]))
        return self._placed(first, exp.Array(expressions=self._bracketed()))

    def _bracketed(self) -> list[exp.Expr]:
        self._expect("[")
        members: list[exp.Expr] = []
        if self._curr.token_type != TokenType.R_BRACKET:
            members = self._listed(self._array_member)
        self._expect("]")
        return members

    def _array_member(self) -> exp.Expr:
        if self._curr.token_type != TokenType.L_BRACKET:
            return self._operand()
        first = self._curr
        return self._placed(first, exp.Array(expressions=self._bracketed()))

    def _special_call(self, word: str) -> exp.Expr:
        """EXTRACT, OVERLAY and SUBSTRING with words between their arguments, or a plain call of that name."""
        first = self._taken()
        self._expect("(")
        node = SPECIAL_CALLS[word](self)
        self._expect(")")
        if isinstance(node, exp.Anonymous):
            node.meta["name"] = token_range(first)
        return self._placed(first, node)

    def _extract(self) -> exp.Expr:
        part = exp.Var(this=self._taken().text)
        self._expect("FROM")
        return exp.Extract(this=part, expression=self._operand())

    def _overlay(self) -> exp.Expr:
        value = self._operand()
        if not self._word_follows("PLACING"):
            return self._plain_call("overlay", value)
        placing = self._operand()
        self._expect("FROM")
        start = self._operand()
        length = self._operand() if self._word_follows("FOR") else None
        return exp.Overlay(this=value, expression=placing, from_=start, for_=length)

    def _substring(self) -> exp.Expr:
        value = self._operand()
        start = self._operand() if self._word_follows("FROM") else None
        length = self._operand() if self._word_follows("FOR") else None
        if start is None and length is None:
            return self._plain_call("substring", value)
        return exp.Substring(this=value, start=start, length=length)

    def _plain_call(self, name: str, first: exp.Expr) -> exp.Expr:
        """The call whose first argument has been read. Of one argument alone the reference says it is ambiguous."""
        self._expect(",")
        return exp.Anonymous(this=name, expressions=[first, *self._listed(self._operand)])

    def _number(self) -> exp.Expr:
        """A number, with a sign if it stands right before; `.5` is two tokens."""
        first, sign, point = self._curr, "", ""
        if self._match(TokenType.DASH):
            sign = "-"
        if self._match(TokenType.DOT):
            point = "."
        token = self._taken()
        if token.token_type != TokenType.NUMBER or not set(token.text) <= set("0123456789."):
            raise not_parsed(f"Syntax error near {token.text[:40]}", token_range(token))
        return self._placed(first, exp.Literal(this=f"{sign}{point}{token.text}", is_string=False))


SPECIAL_CALLS: dict[str, Callable[[Any], exp.Expr]] = {
    "extract": Constructs._extract,
    "overlay": Constructs._overlay,
    "substring": Constructs._substring,
}
_TYPE_PAIRS = frozenset(
    (
        ("double", "precision"),
        ("character", "varying"),
        ("bit", "varying"),
        *((kind, zone) for kind in ("timestamp", "time") for zone in ("with", "without")),
        ("with", "time"),
        ("without", "time"),
        ("time", "zone"),
    )
)
