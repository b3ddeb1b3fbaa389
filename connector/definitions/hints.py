"""What to do about a finding that does not say so itself: by its message, one entry a line, the first that matches."""

from __future__ import annotations

import re

from connector.definitions.terms.calls import FUNCTIONS

_ALL_FUNCTIONS = f"known: {', '.join(FUNCTIONS)}"
_INSTEAD = {
    "coalesce": "ifnull(a, b) takes the first value that is not NULL",
    "concat": "join texts by ||",
    "substr": "it is called substring(text, start, length)",
    "now": "a time of evaluation would differ between clients and replays: keep it in a column",
    "random": "a random value would differ between clients and replays: keep it in a column",
    **dict.fromkeys(("count", "sum", "min", "max", "avg"), "rows are synced one by one: keep aggregates in a table"),
    **dict.fromkeys(("any", "all", "some"), "write `value IN array`, the array as JSON"),
    **dict.fromkeys(("row", "array"), """write the values as JSON text: column IN '["a","b"]'"""),
    "exists": "write `column IN (SELECT …)`",
}
_LANGUAGE = "docs/sync-config.md lists what the language has"
_EDITION_3 = "set `edition: 3` under `config:`"
_ONE_SOURCE = "compare columns of different tables, or a column and a value of the request, by = alone"
_REQUEST = "a value of the request can only be matched: `column = request value`, or `column IN request array`"

_HINTS: tuple[tuple[str, str], ...] = (
    # the file
    (r"This is using an alpha version", _EDITION_3),
    (r"Expected a map here", "write `name: value` lines below it, indented"),
    (r"bucket definition must be an object", "it needs at least `data:`, a list of queries"),
    (r"Invalid priority|Invalid value for priority", "0 is downloaded first, 3 last"),
    (r"One of `queries` or `query`", "`query:` holds one SELECT, `queries:` a list of them"),
    (r"Flow (sequence|map) in block collection", "close it, or put what it holds in quotes"),
    (r"Tabs are not allowed", "indent with spaces"),
    (r"Plain value cannot start with", "put the value in quotes"),
    (r"Nested mappings are not allowed", "put the value in quotes, or behind `|` in lines of its own"),
    (r"Missing closing", "a quote in the text is doubled ('it''s'), or has a backslash in double quotes"),
    (r"at line \d+, column \d+", "check quotes, colons and indentation there and on the line before"),
    (r"Unknown time precision", "digits beyond it are cut off"),
    (r"there twice; keys must be unique", "rename one of them"),
    (r"is used by a bucket definition and a stream", "rename one of them"),
    (r"has no anchor before it", "write `&name` before the value that it stands for"),
    (r"a character is not allowed in YAML|cannot be read", "write it as an escape in double quotes, or drop it"),
    (r"nested more than", "nest less"),
    # one SELECT
    (r"Syntax error|Unexpected end of input|this grammar is not supported", "the language is one Postgres SELECT"),
    (r"Only a single SELECT", "make it an item of the list of queries"),
    (r"SELECT statement", "write `SELECT columns FROM table WHERE condition`"),
    (r"(LIMIT|OFFSET|ORDER BY) is not supported", "clients sort and cut; all rows of a bucket are synced"),
    (r"(GROUP BY|HAVING|DISTINCT|WINDOW|UNION) is not supported", "rows are synced one by one: make it a table"),
    (r"(FOR|WITH|INTO) is not supported", "leave it out; `with:` of edition 3 names queries"),
    (r"Must SELECT from a single table", f"joins and subqueries need edition 3: {_EDITION_3}"),
    (r"Table aliases not supported", "use the table's own name"),
    (r"breaks off inside a quoted", "close the quote or the comment"),
    (r"is no number of this language", "write it in digits, with a point or without"),
    (r"takes no further words", "write * alone, and more columns behind it"),
    (r"could not be found|Column not found|not found$", "check how it is written; migrations first, then this file"),
    (r"shadows the table", "rename one of them"),
    (r"joins more than", "split it into several streams"),
    (r"converted to lower-case", "unquoted names mean the lower-case ones, as in Postgres"),
    (r"\* is not supported here", "name the columns"),
    (r"Schema is not supported in column", "write table.column"),
    (r"column is unspecified", "name the result: `… AS name`"),
    # expressions
    (r"LIKE", "compare with =, or keep what it finds in a column"),
    (r"IN lists|list not supported|array not supported", """write the values as JSON text: column IN '["a","b"]'"""),
    (r"(ternary|case|IS (NOT )?(TRUE|FALSE)|arrayIndex) ?(is )?not supported", f"edition 3 has it: {_EDITION_3}"),
    (r"Operator not supported: (%|&|<<|>>|\|)$", "the SQLite engine of edition 3 has it"),
    (r"Operator not supported: &&", "streams have it"),
    (r"Operator [+] is not supported", "leave it out"),
    (r"Operator - is not supported", "write 0 - value"),
    (r"Operator .* is not supported", _LANGUAGE),
    (r"(Operator not supported|Unsupported binary operator|not supported here)", _LANGUAGE),
    (r"Expected at (least|most)|takes \d+ arguments?", "count its arguments"),
    (r"takes a (constant|text in quotes)", "name the parameter in quotes: parameter('name')"),
    (r"Undefined reference", "use a table of the FROM clause"),
    (r"CAST not supported|Invalid SQLite cast", "types are text, integer, real, numeric and blob"),
    (r"Unknown function|Function '.*' is not defined", _ALL_FUNCTIONS),
    # bucket definitions and streams of edition 2
    (r"Cannot use table values and parameters", _REQUEST),
    (r"Parameter match (expression|clauses)", _REQUEST),
    (r"Left and right sides of OR", "make them two queries"),
    (r"Cannot have multiple (array|IN)", "make them two queries"),
    (r"Cannot have bucket parameters on both sides", "compare a column with it"),
    (r"on the right side of IN", "write `bucket.parameter IN column`, the column a JSON array"),
    (r"is given twice", "name one of them otherwise: `… AS name`"),
    (r"must return exactly one column", "select one column of the subquery's table"),
    (r"a subquery's result is of its table's row", "select a column; what the request says goes into its WHERE"),
    (r"Cannot set priority multiple times", "keep one of them"),
    (r"request schema is not available", "give it a name in `parameters:`, and use it as bucket.name"),
    (r"For IN subqueries, the left operand", "write `column IN (SELECT …)`"),
    (r"Negations are not allowed", "say which rows are synced, not which are not"),
    (r"subscribe to this stream by default", "default subscriptions have NULL for every parameter"),
    # streams of edition 3
    (r"compared with an equals operator", _ONE_SOURCE),
    (r"Unable to associate this filter", "every condition must use a table of the query, or the request alone"),
    (r"can only select from actual tables", "only columns of the table that is synced can be results"),
    (r"can only select from a single table", "make it a stream of its own"),
    (r"Must have a result column", "add a column of the table that is synced"),
    (r"attempts to sync a connection parameter", "leave it out: the client knows it"),
    (r"has not been added in a FROM clause", "add it by JOIN, or write `column IN (SELECT … FROM it)`"),
    (r"Invalid unqualified reference", "write table.column"),
    (r"must return a single|Must return a single", "select one column"),
    (r"Expected this subquery to have", "give as many names as it has columns"),
    (r"Invalid position for subqueries", "write it as `column IN (SELECT …)` in WHERE, or as a join"),
    (r"depends on request data and can't be partitioned", "compare its value by IN, or with a column of a lookup"),
    (r"\.user_id\(\) is only available", "write auth.user_id()"),
    (r"too many buckets|too many", "split it into several streams"),
    (r"synced under its alias", "quote the alias to keep it"),
    (r"not supported", _LANGUAGE),
    (r"Forbidden call", "what it gives would differ between clients and replays"),
    (
        r"Invalid schema in function name",
        "functions with a schema: auth, connection, subscription, and the table's own",
    ),
)
_COMPILED = tuple((re.compile(pattern), hint) for pattern, hint in _HINTS)


def hint_for(message: str, written: str) -> str | None:
    """A hint for a message about a place where `written` stands; None where there is none."""
    if message.startswith(("Unknown function", "Function '", "Forbidden call")):
        name = re.split(r"\W", written.strip().lower(), maxsplit=1)[0]
        if name in _INSTEAD:
            return _INSTEAD[name]
    return next((hint for pattern, hint in _COMPILED if pattern.search(message)), None)
