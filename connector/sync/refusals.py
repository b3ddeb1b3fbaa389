"""What a client is told when the answer is no (powersync.md 4.3): a status, a code, and nothing of the inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Refused(Exception):
    """An answer with an error; `body()` is its JSON. Fields that are None are not in it."""

    status: int
    code: str
    description: str
    name: str
    details: str | None = None
    severity: str | None = None

    @property
    def message(self) -> str:
        """In one text, as the reference's errors have it."""
        return f"[{self.code}] {self.description}" + (f"\n  {self.details}" if self.details else "")

    def body(self) -> dict[str, Any]:
        told = {name: getattr(self, name) for name in _ORDER}
        return {"error": {name: value for name, value in told.items() if value is not None}}


_ORDER = ("code", "status", "description", "details", "severity", "name")


def unauthorized(code: str, description: str) -> Refused:
    """401: a token that is missing, wrong, expired or for somebody else."""
    return Refused(401, code, description, "AuthorizationError")


def invalid(details: str) -> Refused:
    """400: a request that does not fit its schema; `details` is a JSON list of what is wrong."""
    return Refused(400, "PSYNC_S2001", "Validation failed", "ValidationError", details)


def invalid_http() -> Refused:
    """400: what has come is no request."""
    return Refused(400, "PSYNC_S2001", "Invalid HTTP request", "ValidationError")


def no_such_path(method: str, path: str) -> Refused:
    """404, for a wrong method too."""
    details = f'The path {method} "{path}" does not exist on this server'
    return Refused(404, "PSYNC_S2002", "The path does not exist on this server", "RouteNotFound", details, "info")


def too_many(code: str, description: str) -> Refused:
    """429: more connections, or more work at once, than this node takes."""
    return Refused(429, code, description, "ServiceError")


def full() -> Refused:
    """429: the node serves as many clients as it can."""
    return too_many("PSYNC_S2304", "Maximum active concurrent connections limit has been reached")


def unavailable(code: str, description: str) -> Refused:
    """503: not now; the client comes again."""
    return Refused(503, code, description, "ServiceError")


def broken() -> Refused:
    """500: a fault of ours, which the log tells."""
    return Refused(500, "PSYNC_S2001", "Something went wrong", "InternalServerError", severity="error")
