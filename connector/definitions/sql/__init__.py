"""SQL as sqlglot's tree, with the range of characters of every node.

What the tree holds: sqlglot's nodes, without exp.Paren; `x NOT IN y` is exp.Not over exp.In with meta "operator";
exp.In has a `query` (exp.Subquery) or a `field`, where a list is exp.Tuple; calls are exp.Anonymous, with a schema
exp.Dot over one; the type of a cast is exp.Var; operators that no dialect here has are exp.Operator.
"""

from connector.definitions.sql.places import Range, Refused, range_of, together
from connector.definitions.sql.primaries import name_range
from connector.definitions.sql.statements import Dialect, Select, parse, refuse_clauses, select_of, written

__all__ = [
    "Dialect",
    "Range",
    "Refused",
    "Select",
    "name_range",
    "parse",
    "range_of",
    "refuse_clauses",
    "select_of",
    "together",
    "written",
]
