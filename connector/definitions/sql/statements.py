"""One SQL text of a sync config as the SELECT that it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlglot import exp
from sqlglot.dialects.postgres import Postgres
from sqlglot.errors import ErrorLevel, ParseError
from sqlglot.tokenizer_core import Token, TokenType

from connector.definitions.sql.parser import Parser
from connector.definitions.sql.places import Refused, not_parsed, range_of
from connector.definitions.sql.tokens import tokens_of

Dialect = Literal["legacy", "compiled"]


@dataclass(frozen=True, slots=True)
class Select:
    """A SELECT as parsed: columns as written, the FROM and WHERE nodes where there are any, and the whole tree."""

    text: str
    columns: list[exp.Expr]
    table: exp.Expr | None
    where: exp.Expr | None
    tree: exp.Select

    @property
    def whole(self) -> tuple[int, int]:
        return 0, len(self.text)


def parse(text: str, dialect: Dialect = "legacy") -> Select:
    """The one SELECT in `text`. Raises Refused for anything else.

    The legacy dialect refuses the clauses that it lacks, too; of the compiled one `tree` is all there is to judge, and
    whatever follows the first `;` is ignored.
    """
    tree = _tree(text, _single_statement(text, tokens_of(text), dialect))
    if tree is not None:
        _refuse_foreign_grammar(tree)
    while isinstance(tree, exp.Subquery) and tree.args.get("alias") is None:
        tree = tree.this
    if not isinstance(tree, exp.Select):
        raise _no_select(text, dialect) if isinstance(tree, exp.Query) else not_parsed("Syntax error", (0, len(text)))
    if dialect == "legacy":
        refuse_clauses(text, tree)
    return select_of(text, tree)


def select_of(text: str, tree: exp.Select) -> Select:
    """A SELECT inside another one, seen alone; `text` is the text of the whole."""
    source = tree.args.get("from_")
    where = tree.args.get("where")
    return Select(text, tree.expressions, source.this if source else None, where.this if where else None, tree)


def written(select: Select, node: exp.Expr) -> str:
    start, end = range_of(node)
    return select.text[start:end]


def _single_statement(text: str, tokens: list[Token], dialect: Dialect) -> list[Token]:
    if not tokens:
        raise not_parsed("Unexpected end of input", (0, len(text)), "write a SELECT")
    end = next((i for i, token in enumerate(tokens) if token.token_type == TokenType.SEMICOLON), len(tokens))
    rest = [token for token in tokens[end:] if token.token_type != TokenType.SEMICOLON]
    if rest and dialect == "legacy":
        raise Refused("Only a single SELECT statement is supported", (rest[0].start, rest[-1].end + 1))
    leading = next((token for token in tokens if token.token_type != TokenType.L_PAREN), tokens[0])
    if leading.token_type in _OTHER_STATEMENTS:
        raise _no_select(text, dialect)
    return tokens[:end]


_OTHER_STATEMENTS = frozenset(
    (
        TokenType.INSERT,
        TokenType.UPDATE,
        TokenType.DELETE,
        TokenType.CREATE,
        TokenType.DROP,
        TokenType.ALTER,
        TokenType.TRUNCATE,
        TokenType.WITH,
        TokenType.VALUES,
    )
)


def _no_select(text: str, dialect: Dialect) -> Refused:
    """As the reference's, whose statements end before a parenthesis at their end."""
    bare = text.rstrip().rstrip(";").rstrip()
    message = "Expected a SELECT statement" if dialect == "compiled" else "Only SELECT statements are supported"
    return Refused(message, (0, len(bare) - bare.endswith(")")))


def _tree(text: str, tokens: list[Token]) -> exp.Expr | None:
    parser = Parser(dialect=Postgres(), error_level=ErrorLevel.IMMEDIATE)
    try:
        return parser.parse(tokens, text)[0]
    except ParseError as error:
        raise _syntax_error(text, error) from error
    except RecursionError as error:
        raise Refused("nested too deeply", (0, len(text)), "split the query into several") from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        # sqlglot trips over some broken texts instead of refusing them.
        raise not_parsed("the SQL cannot be parsed", (0, len(text))) from error


# What sqlglot reads beyond the reference's grammar is refused like any other broken text.
_GRAMMAR: dict[type[exp.Expr], frozenset[str]] = {
    exp.Select: frozenset(
        ("expressions", "distinct", "from_", "joins", "where", "group", "having", "order", "limit", "offset", "locks")
    ),
    exp.Join: frozenset(("this", "side", "kind", "on", "using")),
    exp.Table: frozenset(("this", "alias", "db", "joins")),
    exp.Subquery: frozenset(("this", "alias")),
    exp.TableAlias: frozenset(("this", "columns")),
}
_FOREIGN = (exp.Lateral, exp.Unnest, exp.Values, exp.Hint, exp.Placeholder)


def _refuse_foreign_grammar(tree: exp.Expr) -> None:
    for node in tree.walk():
        known = _GRAMMAR.get(type(node))
        unknown = known is not None and any(value and name not in known for name, value in node.args.items())
        if isinstance(node, exp.Select) and node.args.get("having") and not node.args.get("group"):
            raise not_parsed("HAVING needs GROUP BY", range_of(node.args["having"]))
        no_table = isinstance(node, exp.From | exp.Join) and not isinstance(node.this, exp.Table | exp.Subquery)
        if unknown or no_table or isinstance(node, _FOREIGN):
            raise not_parsed("this grammar is not supported", range_of(node))


def _syntax_error(text: str, error: ParseError) -> Refused:
    found = error.errors[0] if error.errors else {}
    marked = str(found.get("highlight") or "")
    lines = text.split("\n")
    line = min(int(found.get("line") or 1), len(lines))
    end = sum(len(each) + 1 for each in lines[: line - 1]) + int(found.get("col") or 0)
    start = text.rfind(marked, 0, end) if marked else -1
    if start < 0:
        return not_parsed("Unexpected end of input", (0, len(text)))
    return not_parsed(f"Syntax error near {marked}", (start, start + len(marked)))


_CLAUSES = {
    "with_": "WITH",
    "distinct": "DISTINCT",
    "joins": "JOIN",
    "group": "GROUP BY",
    "having": "HAVING",
    "order": "ORDER BY",
    "limit": "LIMIT",
    "offset": "LIMIT",
    "locks": "FOR",
    "windows": "WINDOW",
    "into": "INTO",
}
_KNOWN_CLAUSES = {"expressions", "from_", "where"}


def refuse_clauses(text: str, tree: exp.Select) -> None:
    """Raises Refused for the first clause that the legacy dialect lacks."""
    for name, clause in tree.args.items():
        if not clause or name in _KNOWN_CLAUSES:
            continue
        if name == "joins" and tree.args.get("from_"):
            raise Refused("Must SELECT from a single table", range_of(tree.args["from_"].this))
        written_name = _CLAUSES.get(name, name.rstrip("_").upper())
        whole = name == "distinct" or not isinstance(clause, exp.Expr)
        raise Refused(f"{written_name} is not supported", (0, len(text)) if whole else range_of(clause))
