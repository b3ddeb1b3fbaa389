"""Logins in URLs, `https://user:password@host`: taken out, so that what is shown and logged has none."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit


def parted(url: str) -> tuple[str, tuple[str, str] | None]:
    """The URL without a login and a slash at its end; user and password where there are any."""
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
    if parts.username is None:
        return bare, None
    return bare, (unquote(parts.username), unquote(parts.password or ""))
