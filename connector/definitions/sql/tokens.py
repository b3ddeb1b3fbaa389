"""A SQL text as sqlglot's tokens, within limits."""

from __future__ import annotations

from sqlglot.dialects.postgres import Postgres
from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import Token, TokenType

from connector.definitions.sql.places import Refused, not_parsed, token_range

MAX_TOKENS = 5_000
MAX_NESTING = 60


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that name nothing unless they are quoted: https://www.postgresql.org/docs/current/sql-keywords-appendix.html
RESERVED = _words(
    """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
    concurrently constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze
    from full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit
    localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing references
    returning right select session_user similar some symmetric table tablesample then to trailing true union user using
    variadic verbose when where window with precision
    """
)
# Reserved words that are values by themselves.
VALUE_WORDS = _words(
    """
    current_catalog current_date current_role current_schema current_timestamp current_time localtimestamp localtime
    session_user user current_user
    """
)
# Reserved words that may name a function all the same.
FUNCTION_WORDS = frozenset(("any", "some", "all", "left", "right")) | VALUE_WORDS


def tokens_of(text: str) -> list[Token]:
    """All tokens. Raises Refused for an unclosed quote, and beyond MAX_TOKENS or MAX_NESTING."""
    try:
        tokens = Postgres().tokenize(text)
    except TokenError as error:
        raise not_parsed("the SQL breaks off inside a quoted text or comment", (0, len(text))) from error
    if len(tokens) > MAX_TOKENS:
        raise Refused(f"the query has more than {MAX_TOKENS:,} words", (0, len(text)), "split it into several")
    depth = 0
    for token in tokens:
        depth += _STEPS.get(token.token_type, 0)
        if depth > MAX_NESTING:
            raise Refused(f"nested more than {MAX_NESTING} levels deep", token_range(token))
    return tokens


_STEPS = {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1, TokenType.L_BRACKET: 1, TokenType.R_BRACKET: -1}


def is_name(token: Token) -> bool:
    """Whether a token can stand for a name: a quoted one, or a word that is not reserved."""
    if token.token_type == TokenType.IDENTIFIER:
        return True
    return is_word(token) and token.text.lower() not in RESERVED


def is_word(token: Token) -> bool:
    """Whether a token is one unquoted word, reserved or not."""
    return token.token_type not in _TEXTS and token.text.isidentifier()


_TEXTS = (TokenType.STRING, TokenType.IDENTIFIER, TokenType.BYTE_STRING, TokenType.NUMBER, TokenType.SENTINEL)
