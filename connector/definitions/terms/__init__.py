"""SQL expressions as terms of a plan: what they compute (the language of `connector.definitions.expressions`), and from
which sources. Callers subclass `Scope` to say what names mean.
"""

from connector.definitions.terms.scope import (
    BUCKET,
    CLIENT,
    MIXED,
    ROW,
    TOKEN,
    Engine,
    Scope,
    Term,
    canonical_order,
)
from connector.definitions.terms.translation import translate

__all__ = ["BUCKET", "CLIENT", "MIXED", "ROW", "TOKEN", "Engine", "Scope", "Term", "canonical_order", "translate"]
