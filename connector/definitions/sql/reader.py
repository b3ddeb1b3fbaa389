"""The small steps of reading tokens, beneath everything that is read here and not by sqlglot."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NoReturn, TypeVar

from sqlglot import exp
from sqlglot.parsers.postgres import PostgresParser
from sqlglot.tokenizer_core import Token, TokenType

from connector.definitions.sql.operators import Level
from connector.definitions.sql.places import not_parsed, place, token_range
from connector.definitions.sql.tokens import is_word

Item = TypeVar("Item")


class Reader(PostgresParser):
    """sqlglot's parser without functions of its own, and with words for "this must come next"."""

    FUNCTIONS: ClassVar = {}
    FUNCTION_PARSERS: ClassVar = {}
    NO_PAREN_FUNCTIONS: ClassVar = {}
    NO_PAREN_FUNCTION_PARSERS: ClassVar = {}
    ASSIGNMENT: ClassVar = {}

    def _operation(self, level: Level) -> exp.Expr | None:
        """An expression whose operators bind at least as tightly as `level`; None where none begins."""
        raise NotImplementedError

    def _group(self) -> exp.Expr:
        """What stands in parentheses: an expression, a list (exp.Tuple) or a query (exp.Subquery)."""
        raise NotImplementedError

    def _operand(self, level: Level = Level.ANY) -> exp.Expr:
        return self._operation(level) or self._unexpected()

    def _taken(self) -> Token:
        """The current token, read."""
        self._advance()
        return self._prev

    def _expect(self, *texts: str) -> None:
        for text in texts:
            if self._curr.text.upper() != text or self._curr.token_type in (TokenType.STRING, TokenType.IDENTIFIER):
                self._unexpected()
            self._advance()

    def _word_follows(self, word: str) -> bool:
        """Reads `word` if it is next."""
        found = is_word(self._curr) and self._curr.text.upper() == word
        if found:
            self._advance()
        return found

    def _unexpected(self) -> NoReturn:
        if not self._curr:
            raise not_parsed("Unexpected end of input", (0, len(self.sql)))
        raise not_parsed(f"Syntax error near {self._curr.text[:40]}", token_range(self._curr))

    def _placed(self, first: Token, node: exp.Expr) -> exp.Expr:
        """The node, placed from a token to the last one read."""
        return place(node, (first.start, self._prev.end + 1))

    def _listed(self, read: Callable[[], Item]) -> list[Item]:
        found = [read()]
        while self._match(TokenType.COMMA):
            found.append(read())
        return found
