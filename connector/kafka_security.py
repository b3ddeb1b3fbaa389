"""TLS and logins to Kafka: the settings by librdkafka's names, checked, and as the connector's Java client has them.

Names and meaning: https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md; the Java client's:
https://kafka.apache.org/documentation/#consumerconfigs (PEM texts: KIP-651).
"""

from __future__ import annotations

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


def checked(file: Path, given: Mapping[str, str]) -> dict[str, str]:
    """The map with absolute paths; relative ones start at the settings file.

    Raises BadConfig where a name is unknown, missing or has no effect, or a file is not there. No value is shown.
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
    if len({CERTIFICATE, KEY} & given.keys()) == 1 or (KEY_PASSWORD in given and KEY not in given):
        raise BadConfig(f"of {CERTIFICATE} and {KEY} only one is set", where=where, hint="a client's own needs both")
    paths = {name: file.parent / given[name] for name in FILES if name in given}
    for name, path in paths.items():
        if not path.is_file():
            raise BadConfig(f"{name}: there is no file {path}", where=where)
    return {**given, **{name: str(path) for name, path in paths.items()}}


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
