"""TLS at the sync endpoint, with a certificate made on the spot."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connector.errors import BadConfig, SynclineError
from connector.settings import load
from tests.sync.desk import Desk
from tests.sync.node import serving
from tests.sync.test_sessions import CONFIG
from topologies.front import tls_settings

REQUIRED = "kafka: k\nregistry: http://r\nconnect: http://c\npostgres: p\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    paths = tmp_path / "certificate.pem", tmp_path / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(paths[0]), str(paths[1])


def test_a_stream_over_tls(tmp_path: Path, files: tuple[str, str]) -> None:
    desk = Desk(tmp_path)
    desk.write("public.lists", {"id": "l1", "owner_id": "u1"})
    desk.deploy(CONFIG)
    trusted = ssl.create_default_context(cafile=files[0])
    with serving(desk, tls=files) as node:
        node.checkpoint()
        assert node.url.startswith("https://")
        with (
            httpx.Client(timeout=20, verify=trusted) as client,
            client.stream("POST", f"{node.url}/sync/stream", json={}, headers={"authorization": "Token u1"}) as answer,
        ):
            assert "checkpoint" in orjson.loads(next(answer.iter_lines()))
        with pytest.raises(httpx.TransportError):
            httpx.get(node.url.replace("https", "http") + "/probes/liveness", timeout=20)
    desk.store.close()


def test_files_that_are_no_pair_are_named(tmp_path: Path, files: tuple[str, str]) -> None:
    for pair in ((files[0], files[0]), (files[0], str(tmp_path / "missing.pem"))):
        with pytest.raises(SynclineError, match="cannot be used for TLS") as caught:
            tls_settings(pair)
        assert pair[1] in str(caught.value.where)


def test_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "syncline.yaml"
    file.write_text(REQUIRED + "tls_certificate: c.pem\ntls_key: /keys/k.pem\n")
    settings = load(str(file))
    assert (settings.tls_certificate, settings.tls_key) == (str(tmp_path / "c.pem"), "/keys/k.pem")
    assert settings.endpoint == "https://127.0.0.1:6480"
    file.write_text(REQUIRED + "tls_certificate: c.pem\n")
    with pytest.raises(BadConfig, match="only one of"):
        load(str(file))
