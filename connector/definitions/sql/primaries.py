"""What an expression begins with: literals, names, calls, groups in parentheses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from connector.definitions.sql.constructs import SPECIAL_CALLS, Constructs
from connector.definitions.sql.places import Range, not_parsed, place, range_of, token_range
from connector.definitions.sql.tokens import FUNCTION_WORDS, VALUE_WORDS, is_name, is_word

_QUERY_STARTS = (TokenType.SELECT, TokenType.WITH, TokenType.VALUES)
_NAMES_OF_A_COLUMN = ("this", "table", "db", "catalog")


class Primaries(Constructs):
    """Reads what operators stand between. Their own reading is the subclass's."""

    def _parse_function_call(self, *words: Any, **options: Any) -> exp.Expr | None:
        """A call in FROM."""
        names = is_word(self._curr) or self._curr.token_type == TokenType.IDENTIFIER
        return self._name() if names and self._next.token_type == TokenType.L_PAREN else None

    def _parse_expressions(self) -> list[exp.Expr]:
        found: list[exp.Expr] = super()._parse_expressions()
        if self._prev.token_type == TokenType.COMMA:
            self._unexpected()
        return found

    def _first_operand(self) -> exp.Expr | None:
        """The expression that begins here, without operators behind it; None where none begins."""
        if self._curr.token_type in _READERS:
            return _READERS[self._curr.token_type](self)
        word = self._curr.text.lower() if is_word(self._curr) else ""
        if word in _WORD_READERS:
            return _WORD_READERS[word](self)
        if self._next.token_type == TokenType.L_PAREN and word in SPECIAL_CALLS:
            return self._special_call(word)
        calls = word in FUNCTION_WORDS and self._next.token_type == TokenType.L_PAREN
        if word in VALUE_WORDS and not calls:
            return self._placed(self._taken(), exp.Var(this=word))
        return self._name() if calls or is_name(self._curr) else None

    def _text(self) -> exp.Expr:
        token = self._taken()
        return self._placed(token, exp.Literal.string(token.text))

    def _negative(self) -> exp.Expr | None:
        """A number with its sign right before it; None where the minus is an operator."""
        signs = self._next.token_type in (TokenType.NUMBER, TokenType.DOT) and self._next.start == self._curr.end + 1
        return self._number() if signs else None

    def _constant(self, kind: Callable[[], exp.Expr]) -> exp.Expr:
        return self._placed(self._taken(), kind())

    def _group(self) -> exp.Expr:
        """What stands in parentheses: an expression, a list (exp.Tuple) or a query (exp.Subquery)."""
        self._expect("(")
        if self._curr.token_type in _QUERY_STARTS:
            found = self._query()
        else:
            members = self._listed(self._operand)
            found = members[0] if len(members) == 1 else _tuple(members)
        self._expect(")")
        return found

    def _query(self) -> exp.Expr:
        first = self._curr
        query = self._parse_select()
        if query is None:
            self._unexpected()
        return self._placed(first, exp.Subquery(this=self._parse_query_modifiers(self._parse_set_operations(query))))

    def _parameter(self) -> exp.Expr:
        first = self._taken()
        number = self._taken()
        if number.token_type != TokenType.NUMBER:
            raise not_parsed(f"Syntax error near {first.text}", token_range(first))
        return self._placed(first, exp.Parameter(this=exp.Literal.number(number.text)))

    def _name(self) -> exp.Expr:
        """A column, a call, or a typed text (`date '2020-01-01'`): all begin with a name."""
        first = self._curr
        names = [self._identifier()]
        while len(names) < len(_NAMES_OF_A_COLUMN) and self._match(TokenType.DOT):
            names.append(self._star() if self._curr.token_type == TokenType.STAR else self._member_name())
        if self._curr.token_type == TokenType.L_PAREN:
            return self._call(first, names)
        if self._curr.token_type == TokenType.STRING and len(names) == 1:
            return self._typed_text(first, names[0])
        return self._placed(first, exp.Column(**dict(zip(_NAMES_OF_A_COLUMN, reversed(names), strict=False))))

    def _identifier(self) -> exp.Expr:
        token = self._taken()
        quoted = token.token_type == TokenType.IDENTIFIER
        return self._placed(token, exp.Identifier(this=token.text, quoted=quoted).update_positions(token))

    def _member_name(self) -> exp.Expr:
        if not (is_word(self._curr) or is_name(self._curr)):
            self._unexpected()
        return self._identifier()

    def _star(self) -> exp.Expr:
        return self._placed(self._taken(), exp.Star())

    def _typed_text(self, first: Token, name: exp.Expr) -> exp.Expr:
        written = place(exp.Var(this=str(name.this).lower()), range_of(name))
        return self._placed(first, exp.Cast(this=self._text(), to=written))

    def _call(self, first: Token, names: list[exp.Expr]) -> exp.Expr:
        *schema, name = names
        if len(schema) > 1 or isinstance(name, exp.Star):
            self._unexpected()
        self._expect("(")
        if not self._word_follows("DISTINCT"):
            self._word_follows("ALL")
        closed = self._curr.token_type == TokenType.R_PAREN
        arguments = [] if closed else self._listed(self._argument)
        self._expect(")")
        named = name.this if not name.args.get("quoted") else name
        call = self._placed(self._token_at(name), exp.Anonymous(this=named, expressions=arguments))
        call.meta["name"] = range_of(name)
        if not schema:
            return call
        node = self._placed(first, exp.Dot(this=schema[0], expression=call))
        node.meta["name"] = (first.start, range_of(name)[1])
        return node

    def _argument(self) -> exp.Expr:
        if self._curr.token_type in _QUERY_STARTS:
            return self._query()
        return self._star() if self._curr.token_type == TokenType.STAR else self._operand()

    def _token_at(self, name: exp.Expr) -> Token:
        start = range_of(name)[0]
        return next(token for token in reversed(self._tokens[: self._index]) if token.start == start)


def name_range(call: exp.Expr) -> Range:
    """The characters of a call's name, with its schema."""
    found: Range = call.meta.get("name") or range_of(call)
    return found


def _tuple(members: list[exp.Expr]) -> exp.Expr:
    return place(exp.Tuple(expressions=members), (range_of(members[0])[0], range_of(members[-1])[1]))


_Reader = Callable[[Any], "exp.Expr | None"]
# By the token that begins an expression.
_READERS: dict[TokenType, _Reader] = {
    TokenType.STRING: Primaries._text,
    TokenType.BYTE_STRING: Primaries._text,
    TokenType.NUMBER: Primaries._number,
    TokenType.DOT: Primaries._number,
    TokenType.DASH: Primaries._negative,
    TokenType.L_PAREN: Primaries._group,
    TokenType.PARAMETER: Primaries._parameter,
    TokenType.STAR: Primaries._star,
}
# By the reserved word that begins an expression.
_WORD_READERS: dict[str, _Reader] = {
    "null": lambda parser: parser._constant(exp.Null),
    "true": lambda parser: parser._constant(lambda: exp.Boolean(this=True)),
    "false": lambda parser: parser._constant(lambda: exp.Boolean(this=False)),
    "default": lambda parser: parser._constant(lambda: exp.Var(this="default")),
    "case": Primaries._case,
    "cast": Primaries._cast,
    "array": Primaries._array,
}
