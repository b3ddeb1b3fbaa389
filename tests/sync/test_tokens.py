"""Who is let in: tokens as clients send them, and as attackers do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given
from hypothesis import strategies as st
from jwt.algorithms import HMACAlgorithm, RSAAlgorithm

from connector.errors import BadConfig
from connector.sync.jwk import Key, given_keys, published_keys
from connector.sync.refusals import Refused
from connector.sync.tokens import MAX_LENGTH, Token, verify
from tests.sync.signing import ALL, CLAIMS, NOW, Signer, base64url, encoded, signer

MALFORMED = "Token is not a well-formed JWT. Check the token format."
UNKNOWN = "Could not find an appropriate key in the keystore. The key is missing or no key matched the token KID"
OURS = signer("HS256", alg="HS256")
RSA = signer("RS256", "rsa")


def keys(*signers: Signer) -> tuple[Key, ...]:
    return given_keys({"keys": [each.jwk for each in signers]}, "syncline.yaml")


KNOWN = keys(OURS, RSA)


def judged(header: str | None, known: tuple[Key, ...] = KNOWN, now: float = NOW) -> Token:
    return verify(header, known, ("app", "api"), now)


def refusal(header: str | None, known: tuple[Key, ...] = KNOWN, now: float = NOW) -> tuple[str, str]:
    with pytest.raises(Refused) as raised:
        judged(header, known, now)
    told = raised.value
    assert (told.status, told.name, told.details, told.severity) == (401, "AuthorizationError", None, None)
    return told.code.removeprefix("PSYNC_"), told.description


def claims(**changed: Any) -> dict[str, Any]:
    """Good claims but for those; None takes one away."""
    return {name: value for name, value in {**CLAIMS, **changed}.items() if value is not None}


# -- what the reference answers (the `auth.*` of its recorded traces) --

TRACES = {
    "missing": (None, "S2106", "Authentication required"),
    "bad_scheme": (f"Basic {OURS.token()}", "S2106", "Authentication required"),
    "garbage3": ("Token a.b.c", "S2101", MALFORMED),
    "bad_signature": (
        signer("HS256", number=1).header(),
        "S2101",
        "signature verification failed",
    ),
    "wrong_aud": (OURS.header(claims(aud="other")), "S2105", 'Unexpected "aud" claim value: "other"'),
    "no_aud": (OURS.header(claims(aud=None)), "S2105", 'JWT payload is missing a required claim "aud"'),
    "no_exp": (OURS.header(claims(exp=None)), "S2101", 'JWT payload is missing a required claim "exp"'),
    "no_iat": (OURS.header(claims(iat=None)), "S2101", 'JWT payload is missing a required claim "iat"'),
    "expired": (OURS.header(claims(exp=NOW - 3_600, iat=NOW - 7_200)), "S2103", "JWT has expired"),
    "too_long": (
        OURS.header(claims(exp=NOW + 259_200)),
        "S2104",
        "Token must expire in a maximum of 86400 seconds, got 259200s",
    ),
    "unknown_kid": (OURS.header(kid="other"), "S2101", UNKNOWN),
    "hs512_same_key": (OURS.header(algorithm="HS512"), "S2101", "Unexpected token algorithm HS512"),
}


@pytest.mark.parametrize("name", TRACES)
def test_the_reference_s_answer(name: str) -> None:
    header, code, description = TRACES[name]
    assert refusal(header) == (code, description)


# -- tokens that hold --


@pytest.mark.parametrize("algorithm", ALL)
@pytest.mark.parametrize("kid", ["k1", None])
def test_every_algorithm(algorithm: str, kid: str | None) -> None:
    ours, foreign = signer(algorithm, kid), signer(algorithm, kid, number=1)
    assert judged(ours.header(), keys(ours)) == Token(CLAIMS, "u1", NOW + 300)
    wanted = "signature verification failed" if kid else UNKNOWN
    assert refusal(foreign.header(), keys(ours)) == ("S2101", wanted)
    assert refusal(ours.header()[:-8] + "AAAAAAAA", keys(ours)) == ("S2101", wanted)


@pytest.mark.parametrize("scheme", ["Token", "Bearer"])
def test_both_schemes(scheme: str) -> None:
    assert judged(f"{scheme} {OURS.token()}").user_id == "u1"


@pytest.mark.parametrize("header", ["", "Token", "Token ", "Token a b", "token a.b.c", "Tokens a.b.c", " Token a"])
def test_what_is_no_header(header: str) -> None:
    assert refusal(header)[0] == "S2106"


@pytest.mark.parametrize(
    ("sub", "text"),
    [
        ("u1", "u1"),
        (7, "7"),
        (7.0, "7"),
        (7.5, "7.5"),
        (True, "true"),
        (["a", 1], '["a",1]'),
        ({"a": "ü"}, '{"a":"ü"}'),
    ],
)
def test_a_user_of_any_type_has_a_text(sub: Any, text: str) -> None:
    token = judged(OURS.header(claims(sub=sub)))
    assert (token.user_id, token.claims["sub"]) == (text, sub)


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": ["x", "api"]},
        {"exp": NOW - 59, "iat": NOW - 600},
        {"iat": NOW + 200},
        {"nbf": NOW + 60},
        {"exp": NOW + 86_400},
        {"exp": NOW + 0.5},
        {"parameters": {"a": [1]}},
    ],
)
def test_what_is_within_the_limits(changed: dict[str, Any]) -> None:
    token = judged(OURS.header(claims(**changed)))
    assert token.expires_at == changed.get("exp", CLAIMS["exp"])


# -- claims that do not hold --


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"sub": None}, "S2101"),
        ({"exp": NOW - 60}, "S2103"),
        ({"nbf": NOW + 61}, "S2101"),
        ({"nbf": "now"}, "S2101"),
        ({"exp": NOW + 86_401}, "S2104"),
        ({"exp": "soon"}, "S2101"),
        ({"exp": True}, "S2101"),
        ({"iat": [1]}, "S2101"),
        ({"aud": []}, "S2105"),
        ({"aud": {"app": 1}}, "S2105"),
        ({"aud": [["app"], 1]}, "S2105"),
        ({"aud": "APP"}, "S2105"),
        ({"parameters": [1]}, "S2101"),
        ({"parameters": "a"}, "S2101"),
    ],
)
def test_what_is_not(changed: dict[str, Any], code: str) -> None:
    assert refusal(OURS.header(claims(**changed)))[0] == code


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1]",
        b"null",
        b"{",
        b'{"sub":"\\ud800"}',
        b"\xff",
        b'{"sub":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"sub":1,"iat":1,"exp":NaN,"aud":"app"}',
        b'{"sub":1,"iat":1e400,"exp":1e400,"aud":"app"}',
        b'{"sub":1,"iat":null,"exp":null,"aud":"app"}',
        b'{"sub":1,"iat":1e300,"exp":1e300,"aud":"app"}',
    ],
)
def test_content_that_is_no_object_of_claims(content: bytes) -> None:
    assert refusal(OURS.header(content)) == ("S2101", MALFORMED)


def test_nothing_is_believed_before_the_signature_holds() -> None:
    head, _, signature = OURS.token().split(".")
    for changed in (claims(sub="root"), claims(exp=1), claims(aud="other"), [1]):
        assert refusal(f"Token {head}.{encoded(changed)}.{signature}") == ("S2101", "signature verification failed")


# -- attacks --


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "PS256", "ES256K", "ES521", "HS1", ""])
@pytest.mark.parametrize("kid", ["k1", "rsa", None])
def test_algorithms_that_there_are_not(algorithm: str, kid: str | None) -> None:
    head = encoded({"alg": algorithm, **({} if kid is None else {"kid": kid})})
    for signature in ("", OURS.token().rpartition(".")[2]):
        code, description = refusal(
            f"Token {head}.{encoded(CLAIMS)}.{signature}", keys(OURS, RSA, signer("ES256", None))
        )
        assert (code, "not allowed" in description) == ("S2101", True)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("kid", ["rsa", None])
def test_a_public_key_is_no_shared_secret(algorithm: str, kid: str | None) -> None:
    victim = signer("RS256", kid)
    public = victim.private.public_key()
    shown = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        json.dumps(victim.jwk).encode(),
        victim.jwk["n"].encode(),
    ]
    wanted = f"Unexpected token algorithm {algorithm}" if kid else UNKNOWN
    for secret in shown:
        forged = Signer(algorithm, secret, victim.jwk)
        assert refusal(forged.header(), keys(victim)) == ("S2101", wanted)


def test_an_algorithm_fits_the_key_and_the_curve() -> None:
    for ours, other in [("RS256", "ES256"), ("ES256", "ES384"), ("EdDSA", "RS256"), ("HS256", "EdDSA")]:
        known = keys(signer(ours, "a"))
        assert refusal(signer(other, "a").header(), known) == ("S2101", f"Unexpected token algorithm {other}")
    assert refusal(RSA.header(algorithm="RS512"), keys(signer("RS256", "rsa", alg="RS256")))[0] == "S2101"
    assert judged(RSA.header(algorithm="RS512")).user_id == "u1"


def test_a_key_in_the_token_is_nobody_s() -> None:
    own = signer("RS256", "rsa", number=1)
    url = "http://127.0.0.1:9/keys"
    assert refusal(own.header(jwk=own.jwk, jku=url, x5u=url)) == ("S2101", "signature verification failed")


@pytest.mark.parametrize(
    "about", [{"crit": ["b64"], "b64": False}, {"crit": []}, {"kid": 7}, {"kid": ["k1"]}, {"alg": 7}, {"alg": None}]
)
def test_a_header_that_is_not_understood(about: dict[str, Any]) -> None:
    head, content, signature = OURS.token().split(".")
    head = encoded({"alg": "HS256", "kid": "k1", **about})
    assert refusal(f"Token {head}.{content}.{signature}") == ("S2101", MALFORMED)


def test_the_key_with_its_kid_is_the_only_one_asked() -> None:
    anyone = signer("HS256", None, number=1)
    known = keys(OURS, anyone)
    assert refusal(anyone.header(kid="k1"), known) == ("S2101", "signature verification failed")
    assert judged(anyone.header(kid="other"), known).user_id == "u1"
    assert judged(anyone.header(), known).user_id == "u1"
    assert refusal(OURS.header(kid=""), keys(OURS)) == ("S2101", UNKNOWN)


def test_a_huge_token_is_not_looked_at() -> None:
    assert refusal(OURS.header(claims(pad="x" * MAX_LENGTH))) == (
        "S2101",
        f"Token is longer than {MAX_LENGTH} characters",
    )
    assert refusal("Token " + "." * 1_000_000)[0] == "S2101"
    assert judged(OURS.header(claims(pad="x" * 11_000))).user_id == "u1"


WORDS = st.sampled_from(["Token ", "Bearer ", ".", "a", "=", "\n", "é", "\x00", encoded({"alg": "none"}), OURS.token()])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["sub", "iat", "exp", "nbf", "aud", "parameters", "kid", "alg", "crit", "x"])
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=6)


@given(st.text() | st.lists(WORDS | st.text(max_size=3)).map("".join))
@example("Token " + "A." * 3)
@example("Token A.A.A")
def test_garbage_is_refused(header: str) -> None:
    try:
        assert judged(header).user_id == "u1"
    except Refused as told:
        assert told.status == 401


@given(OBJECTS, OBJECTS, st.sampled_from(["HS256", "RS256", "none"]), st.booleans())
def test_any_signed_garbage_is_a_token_or_refused(
    about: dict[str, Any], changed: dict[str, Any], algorithm: str, whole: bool
) -> None:
    signed = (
        f"{encoded({'alg': algorithm, 'kid': 'k1', **about})}.{encoded(changed if whole else {**CLAIMS, **changed})}"
    )
    signature = base64url(HMACAlgorithm(HMACAlgorithm.SHA256).sign(signed.encode(), OURS.private))
    try:
        assert isinstance(judged(f"Token {signed}.{signature}").user_id, str)
    except Refused as told:
        assert told.status == 401
        json.dumps(told.body())


# -- keys --


def without(signer_: Signer, name: str) -> dict[str, Any]:
    return {field: value for field, value in signer_.jwk.items() if field != name}


BAD_KEYS: list[tuple[Any, str]] = [
    ({}, "kty"),
    ({"kty": "oct"}, "k is missing"),
    ({"kty": "oct", "k": base64url(b"x" * 31)}, "too short"),
    ({"kty": "oct", "k": "not base64url, but a long enough secret!"}, "base64url"),
    ({"kty": ["RSA"]}, "kty"),
    ({"kty": "RSA", "n": "AQAB", "e": "AQAB"}, "key|short"),
    ({"kty": "OKP", "crv": "Ed448", "x": "AA"}, "crv"),
    ({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, "no key"),
    ({**OURS.jwk, "kid": 7}, "quotes"),
    ({**OURS.jwk, "alg": "RS256"}, "alg"),
    ({**RSA.jwk, "alg": "HS256"}, "alg"),
    ({**RSA.jwk, "alg": ["RS256"]}, "alg"),
    ({**RSA.jwk, "use": "enc"}, "signatures"),
    ({**RSA.jwk, "key_ops": ["encrypt"]}, "signatures"),
    (without(RSA, "e"), "missing"),
]


@pytest.mark.parametrize(("jwk", "reason"), BAD_KEYS)
def test_a_bad_key_of_the_settings_is_named_and_not_shown(jwk: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadConfig, match=reason) as raised:
        given_keys({"keys": [OURS.jwk, jwk]}, "syncline.yaml")
    assert "jwks.keys[1]" in raised.value.report()
    assert not [value for name, value in jwk.items() if name in ("k", "n", "x") and str(value) in raised.value.report()]


def test_bad_and_shared_keys_of_a_url_are_left_out() -> None:
    listed = [*[jwk for jwk, _ in BAD_KEYS], OURS.jwk, 7, None, RSA.jwk]
    assert [key.kid for key in published_keys({"keys": listed})] == ["rsa"]
    for document in (None, [], {}, {"keys": {}}, 7):
        with pytest.raises(ValueError, match="key set"):
            published_keys(document)


def test_of_a_private_key_the_public_half_is_kept() -> None:
    whole = RSAAlgorithm.to_jwk(RSA.private, as_dict=True)
    (key,) = given_keys({"keys": [{**whole, "kid": "rsa"}]}, "syncline.yaml")
    assert not hasattr(key.material, "sign")
    assert judged(RSA.header(), (key,)).user_id == "u1"


def test_a_secret_is_in_no_text_of_a_key() -> None:
    assert repr(keys(OURS)[0]) == "Key(kid='k1', algorithms=('HS256',))"
