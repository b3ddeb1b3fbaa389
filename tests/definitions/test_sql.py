"""SQL as a tree: how operators bind, where everything stands, what is no SQL of this language."""

from __future__ import annotations

import pytest
from sqlglot import exp

from connector.definitions.sql import Refused, Select, name_range, parse, select_of, written


def column(expression: str) -> tuple[Select, exp.Expr]:
    """The expression, as the one column of a SELECT."""
    select = parse(f"SELECT {expression} AS r FROM t", "compiled")
    (alias,) = select.columns
    return select, alias.this


def grouped(expression: str) -> str:
    """The expression with parentheses around every operation."""
    select, node = column(expression)
    return _grouped(select, node)


def _grouped(select: Select, node: exp.Expr) -> str:
    if not isinstance(node, exp.Binary | exp.Not | exp.Neg | exp.In | exp.Cast):
        return written(select, node)
    tested = isinstance(node, exp.Is)
    right = None if tested else node.args.get("field") or node.args.get("query") or node.args.get("expression")
    operands = [node.this] if right is None else [node.this, right]
    return f"({' '.join(_grouped(select, part) for part in operands)})"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a OR b AND c", "(a (b c))"),
        ("NOT a = b OR c", "(((a b)) c)"),
        ("a = b < c", "(a (b c))"),
        ("a = b IS NULL", "(a (b))"),
        ("a < b | c", "(a (b c))"),
        ("a >> 1 + 2", "(a (1 2))"),
        ("a || b + c", "((a b) c)"),
        ("a || b IN c", "((a b) c)"),
        ("a + b * c", "(a (b c))"),
        ("a - b - c", "((a b) c)"),
        ("a && b || c", "((a b) c)"),
        ("a & b LIKE c", "(a (b c))"),
        ("-a::text", "((a))"),
        ("- 5", "(5)"),
        ("a -> 'b' ->> 0 = 'x'", "(((a 'b') 0) 'x')"),
        ("(a OR b) AND (c)", "((a b) c)"),
        ("a IN (b)", "(a b)"),
        ("a NOT IN (b, c)", "((a b, c))"),
    ],
)
def test_how_operators_bind(expression: str, expected: str) -> None:
    assert grouped(expression) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "i BETWEEN 1 AND 10",
        "i NOT BETWEEN 1 AND 10",
        "CASE n WHEN n THEN 'm' ELSE 'e' END",
        "CAST(i AS numeric(10, 2))",
        "i::double precision",
        "interval '1 day'",
        "substring(t FROM 2 FOR 3)",
        "extract(year from ts)",
        "overlay(t placing 'x' from 1 for 2)",
        "ARRAY[1, [2, 3]]",
        "arr[1]",
        "EXISTS (SELECT 1)",
        "s.t.x",
        "auth.parameter('a')",
        "t.*",
        "i ISNULL",
        "i IS NOT TRUE",
        "a AT TIME ZONE 'x'",
        "x !~* 'a'",
        "-1.5",
        "$1",
        "current_date",
        "'it''s'",
        '"a b"',
        "left(x, 2)",
    ],
)
def test_an_expression_stands_where_it_was_written(expression: str) -> None:
    select, node = column(expression)
    assert written(select, node) == expression


def test_parentheses_belong_to_no_expression() -> None:
    select, node = column("((a)) AND NOT (b = (c))")
    assert [written(select, part) for part in (node, node.this, node.expression)] == [
        "a)) AND NOT (b = (c",
        "a",
        "NOT (b = (c",
    ]


def test_names_of_calls_stand_alone() -> None:
    for expression, name in (("upper(a)", "upper"), ("auth.user_id()", "auth.user_id"), ('"f"(a)', '"f"')):
        select, node = column(expression)
        start, end = name_range(node)
        assert select.text[start:end] == name


@pytest.mark.parametrize(
    ("sql", "place"),
    [
        ("SELECT a FROM t WHERE", "WHERE"),
        ("SELECT a, FROM t", "FROM"),
        ("SELECT 1e3 FROM t", "1e3"),
        ("SELECT a IS DISTINCT FROM b FROM t", "DISTINCT"),
        ("SELECT a #> 'b' FROM t", "#>"),
        ("SELECT a ->> b FROM t", "b"),
        ("SELECT a SIMILAR TO 'b' FROM t", "SIMILAR TO"),
        ("SELECT substring(a) FROM t", ")"),
        ("SELECT a = NOT b FROM t", "NOT"),
        ("SELECT a FROM t HAVING a", "a"),
        ("SELECT a FROM t NATURAL JOIN u", "u"),
        ("SELECT a FROM t, LATERAL (SELECT 1) x", "LATERAL (SELECT 1) x"),
        ("SELECT a FROM t TABLESAMPLE SYSTEM (1)", "t TABLESAMPLE SYSTEM (1)"),
        ("SELECT a FROM t WHERE 'b", "SELECT a FROM t WHERE 'b"),
        ("these are words", "words"),
        ("words", "words"),
        ("", ""),
    ],
)
def test_what_breaks_the_grammar(sql: str, place: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(sql, "compiled")
    start, end = caught.value.place
    assert (caught.value.syntax, sql[start:end]) == (True, place)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("INSERT INTO t VALUES (1)", "Only SELECT statements are supported"),
        ("SELECT a FROM t UNION SELECT b FROM u", "Only SELECT statements are supported"),
        ("WITH x AS (SELECT 1) SELECT a FROM x", "Only SELECT statements are supported"),
        ("SELECT a FROM t; SELECT 1", "Only a single SELECT statement is supported"),
        ("SELECT DISTINCT a FROM t", "DISTINCT is not supported"),
        ("SELECT a FROM t OFFSET 1", "LIMIT is not supported"),
        ("SELECT a FROM t FOR UPDATE", "FOR is not supported"),
        ("SELECT a FROM t, u", "Must SELECT from a single table"),
    ],
)
def test_statements_that_the_legacy_dialect_lacks(sql: str, message: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(sql)
    assert (caught.value.syntax, caught.value.message) == (False, message)


def test_the_compiled_dialect_reads_on_where_the_legacy_one_stops() -> None:
    select = parse("(SELECT DISTINCT a FROM t, u LIMIT 1 FOR UPDATE); no SQL at all", "compiled")
    assert {"distinct", "joins", "limit", "locks"} <= {name for name, clause in select.tree.args.items() if clause}


def test_a_select_inside_another_is_one_too() -> None:
    select = parse("SELECT a FROM t WHERE a IN (SELECT b FROM u WHERE c)")
    assert isinstance(select.where, exp.In)
    inner = select_of(select.text, select.where.args["query"].this)
    assert inner.table is not None
    assert inner.where is not None
    assert [written(select, part) for part in (inner.tree, inner.table, inner.where)] == [
        "SELECT b FROM u WHERE c",
        "u",
        "c",
    ]


@pytest.mark.parametrize("sql", ["SELECT " + "(" * 100 + "a" + ")" * 100, "SELECT " + "a," * 5_000 + "a"])
def test_limits(sql: str) -> None:
    with pytest.raises(Refused, match=r"nested more than|more than 5,000 words"):
        parse(sql)


def test_nested_calls_are_read_once() -> None:
    parse("SELECT " + "substring(" * 50 + "a" + ", 1)" * 50 + " AS r FROM t")


@pytest.mark.parametrize("sql", ["SELECT " + "NOT " * 2_000 + "a", "SELECT " + "CASE " * 2_000])
def test_no_depth_breaks_the_parser(sql: str) -> None:
    with pytest.raises(Refused):
        parse(sql)
