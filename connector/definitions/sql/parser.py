"""sqlglot's Postgres parser, with this language's own expressions: operators, calls, casts, and a place on every node.

Statements, tables and joins are sqlglot's. Expressions are read here, because what sqlglot would read as Postgres means
it must stay as written (names of functions and types, the right side of -> and ->>), and messages point at it.
Parentheses leave no node: what they group is in the tree's shape.
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from connector.definitions.sql.operators import COMBINED, GLUED, INFIX, IS_TESTS, Infix, Level
from connector.definitions.sql.places import place, range_of
from connector.definitions.sql.primaries import Primaries
from connector.definitions.sql.tokens import is_word

_MEMBERS = {TokenType.ARROW: exp.JSONExtract, TokenType.DARROW: exp.JSONExtractScalar}


class Parser(Primaries):
    """Reads one statement. Raises sqlglot's ParseError, or Refused, for what is none."""

    def expression(self, instance: Any, token: Token | None = None, comments: list[str] | None = None) -> Any:
        made = super().expression(instance, token, comments)
        if self._prev:
            made.meta.setdefault("last", self._prev.end)
        return made

    def _parse_table(self, *words: Any, **options: Any) -> Any:
        start = self._curr.start if self._curr else 0
        node = super()._parse_table(*words, **options)
        if isinstance(node, exp.Expr):
            node.meta.update(first=start, last=self._prev.end)
        return node

    def _parse_select(self, *words: Any, **options: Any) -> exp.Expr | None:
        first = self._curr
        node: exp.Expr | None = super()._parse_select(*words, **options)
        bare = first.token_type == TokenType.SELECT and isinstance(node, exp.Select)
        return place(node, (first.start, self._prev.end + 1)) if bare and node is not None else node

    def _parse_join(self, *words: Any, **options: Any) -> exp.Join | None:
        node: exp.Join | None = super()._parse_join(*words, **options)
        if node is None and self._prev.token_type == TokenType.COMMA:
            self._unexpected()
        return node

    def _parse_alias(self, this: exp.Expr | None, explicit: bool = False) -> exp.Expr | None:
        named: exp.Expr | None = None if this is None else super()._parse_alias(this, explicit)
        return named

    def _parse_offset(self, *words: Any, **options: Any) -> Any:
        start = self._curr.start
        node = super()._parse_offset(*words, **options)
        return place(node, (start, self._prev.end + 1)) if isinstance(node, exp.Offset) else node

    def _parse_locks(self) -> Any:
        start = self._next.start
        return [place(lock, (start, self._prev.end + 1)) for lock in super()._parse_locks()]

    def _parse_disjunction(self) -> exp.Expr | None:
        return self._operation(Level.ANY)

    def _parse_bitwise(self) -> exp.Expr | None:
        return self._operation(Level.ADD)

    def _parse_unary(self) -> exp.Expr | None:
        return self._operation(Level.SIGN)

    def _operation(self, level: Level) -> exp.Expr | None:
        """An expression whose operators bind at least as tightly as `level`; None where none begins."""
        left = self._prefixed(level)
        while left is not None and (grown := self._continued(left, level)) is not None:
            left = grown
        return left

    def _prefixed(self, level: Level) -> exp.Expr | None:
        first = self._curr
        if level <= Level.NOT and first.token_type == TokenType.NOT and self._word_follows("NOT"):
            return self._from(first.start, exp.Not(this=self._operand(Level.NOT)))
        operand = self._first_operand()
        if operand is not None or level > Level.SIGN:
            return operand
        if self._match(TokenType.PLUS):
            return self._from(first.start, exp.Operator(this=self._operand(Level.SIGN), operator="+"))
        if self._match(TokenType.DASH):
            return self._from(first.start, exp.Neg(this=self._operand(Level.SIGN)))
        return None

    def _continued(self, left: exp.Expr, level: Level) -> exp.Expr | None:
        """`left` with the operator behind it, where there is one that binds tightly enough."""
        kind = self._curr.token_type
        if kind in _MEMBERS:
            return self._member(left)
        if kind == TokenType.DCOLON:
            self._advance()
            return self._ending(left, exp.Cast(this=left, to=self._type()))
        if kind == TokenType.L_BRACKET and level <= Level.INDEX:
            return self._ending(left, exp.Bracket(this=left, expressions=self._bracketed()))
        operator, count = self._operator()
        if operator in INFIX:
            return self._infix(left, INFIX[operator], count, level)
        if operator in ("BETWEEN", "NOT BETWEEN") and level <= Level.BETWEEN:
            return self._between(left, count)
        return self._test(left) if level <= Level.IS else None

    def _operator(self) -> tuple[str, int]:
        """The operator that begins here, as the tables write it, and how many tokens it has; none is ("", 0)."""
        if self._curr.token_type in (TokenType.STRING, TokenType.IDENTIFIER):
            return "", 0
        ahead = self._tokens[self._index : self._index + 3]
        words = tuple(token.text.upper() for token in ahead)
        if words[:2] in GLUED and ahead[0].end + 1 == ahead[1].start:
            return "".join(words[:2]), 2
        for length in (2, 3):
            if COMBINED.get(words[:length]) == length:
                return " ".join(words[:length]), length
        return (words[0], 1) if words else ("", 0)

    def _infix(self, left: exp.Expr, infix: Infix, count: int, level: Level) -> exp.Expr | None:
        if infix.level < level:
            return None
        self._advance(count)
        right = self._operand(Level(infix.level + 1))
        return place(infix.build(left, right), (range_of(left)[0], range_of(right)[1]))

    def _between(self, left: exp.Expr, count: int) -> exp.Expr:
        self._advance(count)
        low = self._operand(Level.OTHER)
        self._expect("AND")
        high = self._operand(Level.OTHER)
        node = place(exp.Between(this=left, low=low, high=high), (range_of(left)[0], range_of(high)[1]))
        if count == 1:
            return node
        negated = place(exp.Not(this=node), range_of(node))
        negated.meta["operator"] = "NOT BETWEEN"
        return negated

    def _test(self, left: exp.Expr) -> exp.Expr | None:
        """IS and what may stand behind it, ISNULL, NOTNULL."""
        if not is_word(self._curr):
            return None
        for short, words in (("ISNULL", ("NULL",)), ("NOTNULL", ("NOT", "NULL"))):
            if self._word_follows(short):
                return self._ending(left, IS_TESTS[words](left))
        if not self._word_follows("IS"):
            return None
        negation = ("NOT",) if self._word_follows("NOT") else ()
        test = IS_TESTS.get((*negation, self._curr.text.upper())) if is_word(self._curr) else None
        if test is None:
            self._unexpected()
        self._advance()
        return self._ending(left, test(left))

    def _member(self, left: exp.Expr) -> exp.Expr:
        """-> and ->>: a text or an integer is all that may stand on their right."""
        kind = _MEMBERS[self._taken().token_type]
        starts = self._curr.token_type in (TokenType.STRING, TokenType.NUMBER, TokenType.DASH)
        right = self._first_operand() if starts else None
        if not isinstance(right, exp.Literal) or "." in ("" if right.is_string else str(right.this)):
            self._unexpected()
        return self._ending(left, kind(this=left, expression=right))

    def _from(self, start: int, node: exp.Expr) -> exp.Expr:
        """The node, placed from `start` to where its operand ends."""
        return place(node, (start, range_of(node.this)[1]))

    def _ending(self, left: exp.Expr, node: exp.Expr) -> exp.Expr:
        """The node, placed from where its left operand begins to the last token read."""
        return place(node, (range_of(left)[0], self._prev.end + 1))
