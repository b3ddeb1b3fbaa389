"""The clauses of a SELECT that the compiled language lacks, and its names and ranges as written."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlglot import exp

from connector.definitions.sql import Range, Refused, parse, range_of

_CLAUSES = {"order": "ORDER BY", "limit": "LIMIT", "group": "GROUP BY", "offset": "OFFSET"}
_KNOWN = {"expressions", "from_", "joins", "where", "distinct", "locks"}
_OUTER = {"LEFT", "RIGHT", "FULL", "CROSS", "OUTER"}


def refused_clauses(tree: exp.Select, text: str) -> Iterator[Refused]:
    """What a SELECT has and the language lacks, joins included."""
    for name, clause in tree.args.items():
        if not clause or name in _KNOWN:
            continue
        written = _CLAUSES.get(name)
        place = range_of(clause) if isinstance(clause, exp.Expr) else (0, len(text))
        if written is None:  # the reference's grammar has no such word
            yield Refused(f"Syntax error near {name.rstrip('_').upper()}", place)
        else:
            yield Refused(f"{written} is not supported", _inner_range(clause, place))
    if tree.args.get("locks"):
        yield Refused("FOR is not supported", _lock_range(text))
    for join in tree.args.get("joins") or []:
        yield from _refused_join(join, text)


def _refused_join(join: exp.Join, text: str) -> Iterator[Refused]:
    kinds = {str(join.args[word]).upper() for word in ("side", "kind") if join.args.get(word)}
    if join.args.get("method"):
        yield Refused(f"Syntax error near {join.args['method']}", range_of(join))
    elif kinds & _OUTER:
        yield Refused("FULL JOIN is not supported", _on_range(join, text), "only INNER JOIN is")
    elif join.args.get("using"):
        yield Refused("USING is not supported", range_of(join.args["using"][0]), "write ON")


def _on_range(join: exp.Join, text: str) -> Range:
    condition = join.args.get("on")
    if condition is None:
        return 0, len(text)
    start, end = range_of(condition)
    return text.lower().rindex("on", 0, start), end


def _inner_range(clause: exp.Expr, place: Range) -> Range:
    inner = clause.expressions[0] if clause.expressions else clause.args.get("expression")
    if isinstance(inner, exp.Ordered):
        inner = inner.this
    return range_of(inner) if isinstance(inner, exp.Expr) else place


def _lock_range(text: str) -> Range:
    found = list(re.finditer(r"\bfor\s+(no\s+key\s+)?(update|key|share)\b", text, re.IGNORECASE))
    return found[-1].span(2) if found else (0, len(text))


def folded(identifier: exp.Expr) -> str:
    """A name as the database knows it."""
    text = str(identifier.this)
    return text if identifier.args.get("quoted") else text.lower()


def alias_of(node: exp.Expr) -> exp.TableAlias | None:
    """The alias of an item of FROM."""
    alias = node.args.get("alias")
    return alias if isinstance(alias, exp.TableAlias) and alias.this is not None else None


def renamed_columns(alias: exp.TableAlias | None) -> list[str]:
    """The column names in `AS alias (a, b)`."""
    return [folded(column) for column in alias.args.get("columns") or []] if alias is not None else []


def is_comma_join(node: exp.Expr, text: str) -> bool:
    """Whether an item of FROM was added with a comma, not with JOIN."""
    return text[: range_of(node)[0]].rstrip().endswith(",")


def output_names(columns: list[exp.Expr]) -> Iterator[tuple[str | None, exp.Expr]]:
    """Result columns with their names; None for an expression without alias."""
    for column in columns:
        if isinstance(column, exp.Alias):
            yield folded(column.args["alias"]), column.this
        elif isinstance(column, exp.Column) and isinstance(column.this, exp.Identifier):
            yield folded(column.this), column
        else:
            yield None, column


def is_star(column: exp.Expr) -> bool:
    """`*` or `t.*`."""
    return isinstance(column, exp.Star) or (isinstance(column, exp.Column) and isinstance(column.this, exp.Star))


def standing_in(star: exp.Expr, name: str, qualifier: exp.Expr | None) -> exp.Expr:
    """A column node in the place of a star that means it among others."""
    column = exp.Column(this=exp.to_identifier(name, quoted=True), table=qualifier.copy() if qualifier else None)
    start, end = range_of(star)
    column.meta.update(first=start, last=end - 1)
    return column


def parsed(text: str) -> exp.Select:
    """The tree of a SELECT. Raises Refused."""
    tree = parse(text, "compiled").tree
    if tree.args.get("with_"):
        raise Refused("Expected a SELECT statement", (0, len(text.rstrip())), "write it under `with:`")
    return tree


def select_range(tree: exp.Select, text: str) -> Range:
    """A SELECT inside another one, without its parentheses."""
    first = min(range_of(column)[0] for column in tree.expressions)
    last = max(range_of(node)[1] for node in tree.walk() if node is not tree)
    return max(text.lower().rfind("select", 0, first), 0), last


def statement_range(tree: exp.Select, text: str) -> Range:
    """The whole statement; parentheses at the end of its conditions are not seen as part of it."""
    where = tree.args.get("where")
    last = where.this if where else None
    while isinstance(last, exp.Paren | exp.And | exp.Or | exp.Not):
        last = last.expression if isinstance(last, exp.And | exp.Or) else last.this
    return len(text) - len(text.lstrip()), range_of(last)[1] if last is not None else len(text.rstrip().rstrip(";"))
