"""What a command says where the broker refuses or does not answer, and nobody nearer to it has found better words."""

from __future__ import annotations

from connector import settings
from connector.errors import SynclineError, Unavailable


def as_told(error: Exception, settings_file: str | None) -> Unavailable:
    """The error of the Kafka library for a person: what, where, and what to do."""
    return Unavailable(
        f"the broker could not do what was asked: {_cause(error)}",
        where=_broker(settings_file),
        hint="is it up? `syncline local status`; then run the command again",
    )


def _cause(error: Exception) -> str:
    cause = error.args[0] if error.args else error
    return str(cause.str()) if hasattr(cause, "str") else str(cause)


def _broker(settings_file: str | None) -> str | None:
    try:
        return settings.load(settings_file).kafka
    except SynclineError:
        return None
