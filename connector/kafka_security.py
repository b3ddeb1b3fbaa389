"""TLS and logins to Kafka: the settings by librdkafka's names, checked, and as the connector's Java client has them.

Names and meaning: https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md; the Java client's:
https://kafka.apache.org/documentation/#consumerconfigs (PEM texts: KIP-651).
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path

from connector.errors import BadConfig

PROTOCOL = "security.protocol"
MECHANISM, USERNAME, PASSWORD = "sasl.mechanism", "sasl.username", "sasl.password"
CA, CERTIFICATE, KEY = "ssl.ca.location", "ssl.certificate.location", "ssl.key.location"
KEY_PASSWORD = "ssl.key.password"
FILES = (CA, CERTIFICATE, KEY)
LOGIN_MODULES = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}
_LOGIN = {MECHANISM, USERNAME, PASSWORD}
_TLS = {CA, CERTIFICATE, KEY, KEY_PASSWORD}
# What each protocol must have, and what else it may have.
_PROTOCOLS: dict[str, tuple[set[str], set[str]]] = {
    "SSL": (set(), _TLS),
    "SASL_SSL": (_LOGIN, _TLS),
    "SASL_PLAINTEXT": (_LOGIN, set()),
}
# Every name that `java` may give.
JAVA = (
    PROTOCOL,
    MECHANISM,
    "sasl.jaas.config",
    "ssl.truststore.type",
    "ssl.truststore.certificates",
    "ssl.keystore.type",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    KEY_PASSWORD,
)


def checked(file: Path, given: Mapping[str, str]) -> dict[str, str]:
    """The map with absolute paths; relative ones start at the settings file.

    Raises BadConfig where a name is unknown, missing or has no effect, or a file is not what it must be. No value of
    a secret is shown.
    """
    where = f"{file}, kafka_security"
    protocol = given.get(PROTOCOL)
    if protocol not in _PROTOCOLS:
        raise BadConfig(f"{PROTOCOL} is none that is known", where=where, hint=f"one of {', '.join(_PROTOCOLS)}")
    needed, possible = _PROTOCOLS[protocol]
    for name in sorted(needed - given.keys()):
        raise BadConfig(f"{name} is missing", where=where, hint=f"{protocol} needs {', '.join(sorted(needed))}")
    for name in sorted(given.keys() - needed - possible - {PROTOCOL}):
        known = ", ".join(sorted(needed | possible))
        raise BadConfig(f'"{name}" is unknown with {protocol}', where=where, hint=f"known: {known}")
    if MECHANISM in given and given[MECHANISM] not in LOGIN_MODULES:
        known = ", ".join(LOGIN_MODULES)
        raise BadConfig(f"{MECHANISM} is none that is known", where=where, hint=f"one of {known}")
    if len({CERTIFICATE, KEY} & given.keys()) == 1:
        raise BadConfig(f"of {CERTIFICATE} and {KEY} only one is set", where=where, hint="a client's own needs both")
    if KEY_PASSWORD in given and KEY not in given:
        raise BadConfig(f"{KEY_PASSWORD} is set without {KEY}", where=where)
    paths = {name: file.parent / given[name] for name in FILES if name in given}
    for name, path in paths.items():
        if not path.is_file():
            raise BadConfig(f"{name}: there is no file {path}", where=where)
    found = {**given, **{name: str(path) for name, path in paths.items()}}
    _check_key(found, where)
    try:
        context(found)
    except (OSError, ValueError) as error:
        hint = "PEM files: whom to trust; a certificate with its chain, and the key that belongs to it"
        raise BadConfig(f"its files do not make a TLS client: {error}", where=where, hint=hint) from error
    return found


def _check_key(found: Mapping[str, str], where: str) -> None:
    """A form of key that all three clients read: Java takes PKCS 8 only, and no password for a key without."""
    if KEY not in found:
        return
    wanted = "BEGIN ENCRYPTED PRIVATE KEY" if KEY_PASSWORD in found else "BEGIN PRIVATE KEY"
    if wanted not in Path(found[KEY]).read_text(errors="replace"):
        hint = f"`openssl pkcs8 -topk8` makes one; with {KEY_PASSWORD} it is encrypted, without it is not"
        raise BadConfig(f"{KEY}: {found[KEY]} has no -----{wanted}-----", where=where, hint=hint)


def context(security: Mapping[str, str]) -> ssl.SSLContext | None:
    """For clients that take an SSL context; None where there is no TLS. Raises OSError for files that do not fit."""
    if not security.get(PROTOCOL, "").endswith("SSL"):
        return None
    made = ssl.create_default_context(cafile=security.get(CA))
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python 3.13 sets it: stricter than the other clients are
    if CERTIFICATE in security:
        made.load_cert_chain(security[CERTIFICATE], security[KEY], security.get(KEY_PASSWORD))
    return made


def java(security: Mapping[str, str], read: Mapping[str, str]) -> dict[str, str]:
    """The same for a Java client; `read` has the content of each of FILES that is set."""
    if not security:
        return {}
    found = {PROTOCOL: security[PROTOCOL]}
    if MECHANISM in security:
        module = LOGIN_MODULES[security[MECHANISM]]
        login = f"username={_quoted(security[USERNAME])} password={_quoted(security[PASSWORD])}"
        found |= {MECHANISM: security[MECHANISM], "sasl.jaas.config": f"{module} required {login};"}
    if CA in read:
        found |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": read[CA]}
    if CERTIFICATE in read:
        found |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": read[CERTIFICATE],
            "ssl.keystore.key": read[KEY],
        }
    if KEY_PASSWORD in security:
        found[KEY_PASSWORD] = security[KEY_PASSWORD]
    return found


def _quoted(text: str) -> str:
    """A value of a JAAS entry."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
