"""Who a client is: its token (a JWT, RFC 7519), judged as the reference does (powersync.md 4.4).

Nothing is believed of a token before a key that we know has verified it. What a client is told names claims of its own
token and nothing of ours.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from connector.sync.jwk import ALGORITHMS, Key
from connector.sync.refusals import Refused, unauthorized
from connector.values import real_text

TOLERANCE = 60  # seconds that clocks may differ
MAX_LIFETIME = 86_400  # seconds from iat to exp
LATEST = 2**53  # seconds since 1970: what JavaScript counts to
MAX_LENGTH = 16_384  # characters of a token

_HEADER = re.compile(r"(?:Token|Bearer) (\S+)")
_JWS = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)")


@dataclass(frozen=True, slots=True)
class Token:
    """A token that holds: its claims, its user, and when it ends (seconds since 1970)."""

    claims: Mapping[str, Any]
    user_id: str  # `sub` as text
    expires_at: float


@dataclass(frozen=True, slots=True)
class Presented:
    """A token as it came; nothing of it is verified."""

    algorithm: str
    kid: str | None
    signed: bytes
    content: bytes
    signature: bytes


def verify(header: str | None, keys: Iterable[Key], audience: Collection[str], now: float) -> Token:
    """The token of an Authorization header. Raises Refused."""
    presented = present(header)
    if not is_signed(presented, keys):
        raise no_key()
    return judge(presented, audience, now)


def present(header: str | None) -> Presented:
    """Take a header apart. Raises Refused where it holds no signed token of an algorithm there is."""
    found = _HEADER.fullmatch(header or "")
    if found is None:
        raise unauthorized("PSYNC_S2106", "Authentication required")
    if len(found[1]) > MAX_LENGTH:
        raise _invalid(f"Token is longer than {MAX_LENGTH} characters")
    parts = _JWS.fullmatch(found[1])
    if parts is None:
        raise _malformed()
    head, content, signature = map(_decoded, parts.groups())
    about = _object(head)
    algorithm, kid = about.get("alg"), about.get("kid")
    if not isinstance(algorithm, str) or not isinstance(kid, str | None) or "crit" in about:
        raise _malformed()
    if algorithm not in ALGORITHMS:  # `none` is one of them
        raise _invalid('"alg" (Algorithm) Header Parameter value not allowed')
    signed = found[1].rpartition(".")[0].encode()
    return Presented(algorithm, kid or None, signed, content, signature)


def is_signed(presented: Presented, keys: Iterable[Key]) -> bool:
    """Whether a key has signed it: the one with its kid, else one without any kid.

    Raises Refused where the key with its kid has not: no other key is asked then.
    """
    known = tuple(keys)
    own = next((key for key in known if key.kid is not None and key.kid == presented.kid), None)
    if own is None:
        return any(key.kid is None and _fits(key, presented) for key in known)
    if presented.algorithm not in own.algorithms:
        raise _invalid(f"Unexpected token algorithm {presented.algorithm}")
    if not _fits(own, presented):
        raise _invalid("signature verification failed")
    return True


def judge(presented: Presented, audience: Collection[str], now: float) -> Token:
    """What a verified token says of itself, or Refused. The checks' order is the reference's."""
    claims = _object(presented.content)
    for name in ("exp", "iat", "sub"):
        if name not in claims:
            raise _lacking("PSYNC_S2101", name)
    if not all(_is_time(claims.get(name, 0)) for name in ("iat", "nbf", "exp")):
        raise _malformed()
    if claims.get("nbf", now) > now + TOLERANCE:
        raise _invalid("JWT is not valid yet")
    if claims["exp"] <= now - TOLERANCE:
        raise unauthorized("PSYNC_S2103", "JWT has expired")
    _check_audience(claims.get("aud"), audience)
    _check_lifetime(claims["exp"] - claims["iat"])
    if not isinstance(claims.get("parameters"), dict | None):
        raise _invalid("Payload parameters must be an object")
    return Token(claims, _text(claims["sub"]), claims["exp"])


def no_key() -> Refused:
    """401: signed by nobody we know."""
    return _invalid(
        "Could not find an appropriate key in the keystore. The key is missing or no key matched the token KID"
    )


def _check_audience(aud: Any, audience: Collection[str]) -> None:
    if aud is None:
        raise _lacking("PSYNC_S2105", "aud")
    if not any(one in audience for one in (aud if isinstance(aud, list) else [aud]) if isinstance(one, str)):
        raise unauthorized("PSYNC_S2105", f'Unexpected "aud" claim value: {orjson.dumps(aud).decode()}')


def _check_lifetime(seconds: float) -> None:
    if seconds > MAX_LIFETIME:
        told = f"Token must expire in a maximum of {MAX_LIFETIME} seconds, got {real_text(float(seconds))}s"
        raise unauthorized("PSYNC_S2104", told)


def _fits(key: Key, presented: Presented) -> bool:
    return key.verifies(presented.algorithm, presented.signed, presented.signature)


def _decoded(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise _malformed() from None


def _object(text: bytes) -> dict[str, Any]:
    """JSON that can be written again: no number without end, no half a surrogate, no depth without end."""
    try:
        value = orjson.loads(text)
        orjson.dumps(value)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        raise _malformed() from None
    if not isinstance(value, dict):
        raise _malformed()
    return value


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= LATEST


def _text(sub: Any) -> str:
    """A text is itself; numbers print as JavaScript's do, so `5.0` is the user `5`."""
    if isinstance(sub, str):
        return sub
    return real_text(sub) if isinstance(sub, float) else orjson.dumps(sub).decode()


def _invalid(description: str) -> Refused:
    return unauthorized("PSYNC_S2101", description)


def _malformed() -> Refused:
    return _invalid("Token is not a well-formed JWT. Check the token format.")


def _lacking(code: str, claim: str) -> Refused:
    return unauthorized(code, f'JWT payload is missing a required claim "{claim}"')
