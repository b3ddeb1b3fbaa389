"""Fresh keys, and tokens signed by them, right or wrong in any way."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

NOW = 1_700_000_000.0
CLAIMS = {"sub": "u1", "iat": int(NOW), "exp": int(NOW) + 300, "aud": "app"}


@dataclass(frozen=True)
class Signer:
    """A key with both its halves; `jwk` is what settings or a URL show of it."""

    algorithm: str
    private: Any
    jwk: dict[str, Any]

    def token(self, claims: Any = None, /, algorithm: str | None = None, **header: Any) -> str:
        """Signed by this key, with its kid where it has one, unless the header says otherwise."""
        kid = {"kid": self.jwk["kid"]} if "kid" in self.jwk else {}
        about = {"alg": algorithm or self.algorithm, "typ": "JWT", **kid, **header}
        signed = f"{encoded(about)}.{encoded(CLAIMS if claims is None else claims)}"
        signature = get_default_algorithms()[algorithm or self.algorithm].sign(signed.encode(), self.private)
        return f"{signed}.{base64url(signature)}"

    def header(self, claims: Any = None, /, **header: Any) -> str:
        return f"Token {self.token(claims, **header)}"


def encoded(value: Any) -> str:
    return base64url(value if isinstance(value, bytes) else json.dumps(value).encode())


def base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


PRIVATE: dict[str, Callable[[], Any]] = {
    "HS": lambda: secrets.token_bytes(64),
    "RS": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
ALL = ("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA")


@cache  # RSA keys are slow to make
def private(kind: str, number: int) -> Any:
    return PRIVATE[kind]()


def signer(algorithm: str, kid: str | None = "k1", *, number: int = 0, **fields: Any) -> Signer:
    """A key for an algorithm; another `number` is another key."""
    own = private(algorithm if algorithm in PRIVATE else algorithm[:2], number)
    public = own if isinstance(own, bytes) else own.public_key()
    jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(public, as_dict=True)
    jwk = {name: value for name, value in jwk.items() if name not in ("key_ops", "alg", "use")}
    return Signer(algorithm, own, {**jwk, **({} if kid is None else {"kid": kid}), **fields})
