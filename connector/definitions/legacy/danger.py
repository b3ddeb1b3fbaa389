"""Whether what a client gets rests on its token, or on nothing but what it says itself (powersync.md 1.4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from connector.definitions.terms import CLIENT, TOKEN, Term

DANGEROUS = (
    "Potentially dangerous query based on parameters set by the client. The client can send any value for these "
    "parameters so it's not a good place to do authorization."
)
HINT = "compare with request.user_id() or token_parameters too, or set accept_potentially_dangerous_queries"
_AUTHENTICATED_FUNCTIONS = ("user_id", "jwt")


def authenticated(expression: Sequence[Any]) -> bool:
    """Whether a value rests on what the token says; an OR only where every side does."""
    if expression[0] == "request":
        return expression[1] in _AUTHENTICATED_FUNCTIONS
    if expression[0] in (TOKEN, "auth"):
        return True
    parts = [authenticated(part) for part in expression[1:] if isinstance(part, list)]
    return bool(parts) and (all(parts) if expression[0] == "or" else any(parts))


def said_by_client(terms: Iterable[Term]) -> bool:
    """Whether any of the terms uses what the client says itself."""
    return any(CLIENT in term.sources for term in terms)
