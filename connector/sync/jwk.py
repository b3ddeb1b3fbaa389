"""Keys that clients' tokens are signed with, as JSON Web Keys (RFC 7517).

A key takes only the algorithms of its own kind: a public key is never a shared secret, whatever a token's header says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from jwt.algorithms import Algorithm, get_default_algorithms
from jwt.exceptions import InvalidKeyError

from connector.errors import BadConfig

SHARED_BYTES = 32  # the least that a shared secret has (RFC 7518, 3.2)

# kty and crv of a key: the algorithms it can verify, the fields of its public half
_KINDS: Mapping[tuple[str, str | None], tuple[tuple[str, ...], tuple[str, ...]]] = {
    ("oct", None): (("HS256", "HS384", "HS512"), ("k",)),
    ("RSA", None): (("RS256", "RS384", "RS512"), ("n", "e")),
    ("EC", "P-256"): (("ES256",), ("crv", "x", "y")),
    ("EC", "P-384"): (("ES384",), ("crv", "x", "y")),
    ("EC", "P-521"): (("ES512",), ("crv", "x", "y")),
    ("OKP", "Ed25519"): (("EdDSA",), ("crv", "x")),
}
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+=*")
ALGORITHMS: Mapping[str, Algorithm] = {
    name: algorithm
    for name, algorithm in get_default_algorithms().items()
    if any(name in names for names, _ in _KINDS.values())
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key; `kid` is None where it is tried on every token."""

    kid: str | None
    algorithms: tuple[str, ...]
    material: Any = field(repr=False)  # what PyJWT's algorithms of this kind verify with

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's. Shared secrets are compared in constant time."""
        return algorithm in self.algorithms and ALGORITHMS[algorithm].verify(signed, self.material, signature)


def given_keys(jwks: Mapping[str, Any], where: str) -> tuple[Key, ...]:
    """The keys of the settings file. Raises BadConfig for one that cannot be used, without showing it."""
    keys = []
    for number, jwk in enumerate(jwks.get("keys", ())):
        try:
            keys.append(_key(jwk))
        except ValueError as error:
            raise BadConfig(f"jwks.keys[{number}] cannot be used: {error}", where=where) from None
    return tuple(keys)


def published_keys(document: Any) -> tuple[Key, ...]:
    """The keys of a document from a URL: public ones for signatures; whatever else is in it is left out.

    Raises ValueError where it is no key set. A secret that is published is none, so shared keys do not count.
    """
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("not a key set: it has no list of keys")
    return tuple(_public(listed))


def _public(listed: list[Any]) -> Iterator[Key]:
    for jwk in listed:
        try:
            key = _key(jwk)
        except ValueError:
            continue
        if jwk["kty"] != "oct":
            yield key


def _key(jwk: Any) -> Key:
    """Raises ValueError, with a reason that tells nothing of the key."""
    if not isinstance(jwk, dict):
        raise ValueError("it is no map")
    kid = jwk.get("kid")
    if kid is not None and (not isinstance(kid, str) or not kid):
        raise ValueError("kid is no text; put it in quotes")
    if jwk.get("use", "sig") != "sig" or "verify" not in _uses(jwk):
        raise ValueError("it is not for signatures")
    fitting, fields = _kind(jwk)
    algorithms = tuple(name for name in fitting if jwk.get("alg", name) == name)
    if not algorithms:
        raise ValueError(f"alg is none of {', '.join(fitting)}")
    return Key(
        kid, algorithms, _material(ALGORITHMS[algorithms[0]], {name: jwk.get(name) for name in ("kty", *fields)})
    )


def _uses(jwk: Mapping[str, Any]) -> list[Any]:
    """A private key is for signing; its public half is what is used of it."""
    uses = jwk.get("key_ops")
    return ["verify"] if not isinstance(uses, list) or "sign" in uses else uses


def _kind(jwk: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    kty, curve = str(jwk.get("kty")), str(jwk.get("crv"))
    found = _KINDS.get((kty, curve if kty in ("EC", "OKP") else None))
    if found is None:
        raise ValueError("kty and crv are none of oct, RSA, EC with P-256, P-384 or P-521, OKP with Ed25519")
    return found


def _material(algorithm: Algorithm, public: dict[str, Any]) -> Any:
    if not all(isinstance(value, str) and _BASE64URL.fullmatch(value) for value in public.values()):
        raise ValueError(f"one of {', '.join(public)} is missing or no base64url text")
    try:
        material = algorithm.from_jwk(public)
    except (InvalidKeyError, UnsupportedAlgorithm, ValueError, KeyError, TypeError):
        raise ValueError(f"its {', '.join(public)} are no key") from None
    short = len(material) < SHARED_BYTES if isinstance(material, bytes) else algorithm.check_key_length(material)
    if short:
        raise ValueError(f"it is too short: a secret has at least {SHARED_BYTES} bytes, an RSA key 2,048 bits")
    return material
