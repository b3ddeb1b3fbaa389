"""Development tokens: signed by a key that lies in the state folder, for whoever can read it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import jwt
import orjson

from connector.errors import BadConfig
from connector.settings import Settings
from connector.sync.jwk import SHARED_BYTES, Key

KID = "development"
AUDIENCE = "syncline-development"
FILE = "development-key"


def audience(settings: Settings) -> tuple[str, ...]:
    """Whom tokens must be for. Raises BadConfig where nobody said."""
    if settings.audience:
        return settings.audience
    if settings.development_tokens:
        return (AUDIENCE,)
    raise BadConfig(
        'setting "audience" is missing: clients\' tokens must name whom they are for',
        where=str(settings.path),
        hint="set it to what your backend writes as `aud`; on your own machine `development_tokens: true` does",
    )


def key(settings: Settings) -> Key:
    """The key of development tokens, made where there is none."""
    return Key(KID, ("HS256",), _secret(settings.state))


def warning(settings: Settings) -> str | None:
    """What the operator is told where development tokens are on."""
    if not settings.development_tokens:
        return None
    return (
        f"DEVELOPMENT TOKENS ARE ON: whoever can read {settings.state / FILE} can be any user. Not for production: "
        f"there take development_tokens out of {settings.path} and name jwks_uri or jwks"
    )


def issue(settings: Settings, claims: Mapping[str, Any], *, now: float, seconds: int) -> str:
    """A token that this node takes for some seconds. Raises BadConfig where it would not."""
    if not settings.development_tokens:
        raise BadConfig(
            "development tokens are off: there is no key to sign with",
            where=str(settings.path),
            hint="on a machine for development set `development_tokens: true`; else your backend signs tokens",
        )
    issued = {"aud": audience(settings)[0], "iat": int(now), "exp": int(now) + seconds}
    content = orjson.dumps({**issued, **claims})
    return jwt.PyJWS().encode(content, _secret(settings.state), "HS256", headers={"kid": KID})


def _secret(folder: Path) -> bytes:
    """The key's bytes; of all who look at once one makes them, and all get the same."""
    file = folder / FILE
    try:
        if not file.exists():
            _make(file)
        secret = bytes.fromhex(file.read_text())
    except (OSError, ValueError) as error:
        raise _unusable(file, str(error) if isinstance(error, OSError) else "it is no key") from None
    if len(secret) < SHARED_BYTES:
        raise _unusable(file, "it is too short")
    return secret


def _make(file: Path) -> None:
    folder = file.parent
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{FILE}.{secrets.token_hex(8)}"
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as written:
        written.write(secrets.token_hex(SHARED_BYTES))
    with suppress(FileExistsError):
        os.link(unfinished, file)  # whole or not at all, and never over another's
    unfinished.unlink()


def _unusable(file: Path, reason: str) -> BadConfig:
    return BadConfig(
        f"the key of development tokens cannot be used: {reason}",
        where=str(file),
        hint="delete it: the next start makes another, and tokens signed with this one end",
    )
