"""The local stack with one more way into its broker: TLS and a login, which has no rights but those that are given."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connector.local import java, kafka, ports
from connector.local.parts import Part
from connector.local.stack import Stack

MECHANISM = "SCRAM-SHA-512"
HOST = "127.0.0.1"


class SecuredStack(Stack):
    """Its broker listens on `secured` too, where clients show a certificate or log in (`ca` tells it from others)."""

    def __init__(self, project: Path | str = ".") -> None:
        super().__init__(project)
        self.secured = f"{HOST}:{ports.choose({})['kafka']}"
        self.ca = self.project / "ca.pem"
        self._broker: dict[str, str] = {}
        make_certificates(self.project)

    @contextmanager
    def broker_with(self, name: str, value: str) -> Iterator[None]:
        """A broker that is started inside has this setting."""
        self._broker[name] = value
        try:
            yield
        finally:
            del self._broker[name]

    def _parts(self, chosen: Mapping[str, int], installed: Path) -> list[Part]:
        return [
            replace(part, prepare=partial(self._prepare, part, chosen)) if part.name == "kafka" else part
            for part in super()._parts(chosen, installed)
        ]

    def _prepare(self, part: Part, chosen: Mapping[str, int]) -> None:
        part.prepare()
        plain = kafka.properties(part.folder, chosen)
        names = plain["listener.security.protocol.map"]
        more = {
            "listeners": f"{plain['listeners']},SECURED://{self.secured}",
            "advertised.listeners": f"{plain['advertised.listeners']},SECURED://{self.secured}",
            "listener.security.protocol.map": f"{names},SECURED:SASL_SSL",
            "listener.name.secured.sasl.enabled.mechanisms": MECHANISM,
            f"listener.name.secured.{MECHANISM.lower()}.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "listener.name.secured.ssl.keystore.type": "PEM",
            "listener.name.secured.ssl.keystore.location": str(self.project / "server.pem"),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",  # whoever comes in without a login, as all other tests do
        }
        java.write_properties(part.folder / "server.properties", plain | more | self._broker)


def make_certificates(folder: Path) -> None:
    """`ca.pem`, and `server.pem`: a key and its certificate for loopback, which the CA has signed."""
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])

    def certificate(subject: x509.Name, public: ec.EllipticCurvePublicKey, *more: x509.ExtensionType) -> bytes:
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )
        for each in more:
            made = made.add_extension(each, critical=False)
        return made.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    (folder / "ca.pem").write_bytes(
        certificate(ca_name, ca_key.public_key(), x509.BasicConstraints(ca=True, path_length=None))
    )
    own = certificate(name, key.public_key(), x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(secret + own)
