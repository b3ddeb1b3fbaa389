"""The settings file: found by itself, and refused with the key that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connector.errors import BadConfig
from connector.kafka_security import JAVA, java
from connector.settings import FILE_NAME, load
from tests.secured import make_certificates

GOOD = "kafka: a:1\nregistry: http://a\nconnect: http://b\npostgres: postgresql://c\n"


def write(folder: Path, text: str) -> str:
    file = folder / FILE_NAME
    file.write_text(text)
    return str(file)


def test_relative_paths_start_at_the_files_folder(tmp_path: Path) -> None:
    settings = load(write(tmp_path, GOOD + "state: here\ntables: [public.a]\n"))
    assert settings.state == tmp_path / "here"
    assert settings.tables == ("public.a",)


def test_the_nearest_file_above_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, GOOD)
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert load().path == tmp_path / FILE_NAME


def test_without_one_the_message_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadConfig) as raised:
        load()
    assert "local up" in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[1]", "map"),
        ("a: [", "read"),
        (GOOD + "colour: red\n", "colour"),
        (GOOD.replace("kafka: a:1\n", ""), "kafka"),
        (GOOD + "app: 7\n", "app"),
        (GOOD + "app: ''\n", "app"),
        (GOOD + "tables: public.a\n", "tables"),
        (GOOD + "tables: [1]\n", "tables"),
        (GOOD + "snapshot_partitions: many\n", "snapshot_partitions"),
        (GOOD + "snapshot_partitions: 0\n", "snapshot_partitions"),
        (GOOD + "max_request_size: true\n", "max_request_size"),
        (GOOD + "retain_removed: -1\n", "retain_removed"),
        (GOOD + "toast: nonsense\n", "toast"),
        (GOOD + "audience: 7\n", "audience"),
        (GOOD + "audience: []\n", "audience"),
        (GOOD + "audience: [a, '']\n", "audience"),
        (GOOD + "jwks: {keys: []}\n", "jwks"),
        (GOOD + "jwks: {keys: [a]}\n", "jwks"),
        (GOOD + "jwks_uri: ftp://a\n", "jwks_uri"),
        (GOOD + "development_tokens: yes please\n", "development_tokens"),
    ],
)
def test_a_wrong_value_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(BadConfig, match=named):
        load(write(tmp_path, text))


def test_one_audience_needs_no_list(tmp_path: Path) -> None:
    assert load(write(tmp_path, GOOD + "audience: app\n")).audience == ("app",)
    assert load(write(tmp_path, GOOD + "audience: [app, api]\n")).audience == ("app", "api")


def test_keys_are_never_shown(tmp_path: Path) -> None:
    assert "hidden" not in repr(load(write(tmp_path, GOOD + "jwks: {keys: [{kty: oct, k: hidden}]}\n")))
    with pytest.raises(BadConfig) as raised:
        load(write(tmp_path, GOOD + "jwks: {kty: oct, k: hidden}\n"))
    assert "hidden" not in raised.value.report()


LOGIN = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "u", "sasl.password": "hidden"}
OWN_CERTIFICATE = {"ssl.certificate.location": "server.pem", "ssl.key.location": "server.pem"}


def secured(security: object) -> str:
    return GOOD + f"kafka_security: {json.dumps(security)}\n"


def test_files_of_kafkas_security_start_at_the_settings_file(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    settings = load(write(tmp_path, secured({**LOGIN, **OWN_CERTIFICATE, "ssl.ca.location": "ca.pem"})))
    assert settings.kafka_security["ssl.ca.location"] == str(tmp_path / "ca.pem")
    assert settings.kafka_security["ssl.key.location"] == str(tmp_path / "server.pem")
    assert settings.kafka_security["sasl.password"] == "hidden"
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize(
    ("security", "named"),
    [
        ([], "map of librdkafka's names"),
        ({}, "security.protocol"),
        ({"security.protocol": 7}, "map of librdkafka's names"),
        ({"security.protocol": "PLAINTEXT"}, "security.protocol"),
        (LOGIN | {"sasl.mechanism": "GSSAPI"}, "sasl.mechanism"),
        ({k: v for k, v in LOGIN.items() if k != "sasl.username"}, "sasl.username is missing"),
        (LOGIN | {"security.protocol": "SSL"}, '"sasl.mechanism" is unknown with SSL'),
        (LOGIN | {"security.protocol": "SASL_PLAINTEXT", "ssl.ca.location": "ca.pem"}, "ssl.ca.location"),
        (LOGIN | {"group.id": "mine"}, '"group.id" is unknown'),
        (LOGIN | {"ssl.ca.location": "nowhere.pem"}, "ssl.ca.location: there is no file .*nowhere.pem"),
        (LOGIN | {"ssl.key.location": "server.pem"}, "only one is set"),
        (LOGIN | {"ssl.key.password": "hidden"}, "set without ssl.key.location"),
        (LOGIN | OWN_CERTIFICATE | {"ssl.key.password": "hidden"}, "BEGIN ENCRYPTED PRIVATE KEY"),
        (LOGIN | OWN_CERTIFICATE | {"ssl.certificate.location": "ca.pem"}, "do not make a TLS client"),
        (LOGIN | {"ssl.ca.location": "syncline.yaml"}, "do not make a TLS client"),
    ],
)
def test_wrong_security_is_refused_by_name_and_without_its_values(tmp_path: Path, security: object, named: str) -> None:
    make_certificates(tmp_path)
    with pytest.raises(BadConfig, match=named) as raised:
        load(write(tmp_path, secured(security)))
    assert "hidden" not in raised.value.report()


@pytest.mark.parametrize("value", ["@hidden", "%hidden", "*hidden", "!hidden", '"hidden', "{hidden", "hidden: hidden"])
def test_a_line_that_is_no_yaml_is_named_and_not_shown(tmp_path: Path, value: str) -> None:
    text = f"{GOOD}kafka_security:\n  security.protocol: SSL\n  ssl.key.password: {value}\n"
    with pytest.raises(BadConfig) as raised:
        load(write(tmp_path, text))
    assert "hidden" not in raised.value.report()
    assert f"{FILE_NAME}:" in (raised.value.where or "")


@pytest.mark.parametrize(
    "url", ["http://me:1#hidden@h", "http://me:hidden/x@h", "http://me:[hidden]w@h", "ftp://hidden"]
)
def test_a_url_whose_login_cannot_be_told_is_refused_and_not_shown(tmp_path: Path, url: str) -> None:
    with pytest.raises(BadConfig, match="registry") as raised:
        load(write(tmp_path, GOOD.replace("http://a", f'"{url}"')))
    assert "hidden" not in raised.value.report()


def test_logins_are_not_shown(tmp_path: Path) -> None:
    text = "kafka: a:1\nregistry: http://u:hidden@a\nconnect: http://u:hidden@b\npostgres: postgresql://u:hidden@c\n"
    assert "hidden" not in repr(load(write(tmp_path, text)))


def test_every_name_that_a_java_client_gets_is_listed() -> None:
    """By the list `init` knows what it has written itself."""
    read = dict.fromkeys(("ssl.ca.location", "ssl.certificate.location", "ssl.key.location"), "")
    assert java(LOGIN | {"ssl.key.password": "p"}, read).keys() == set(JAVA)


def test_a_java_client_gets_texts_for_files_and_one_login() -> None:
    read = {"ssl.ca.location": "CA", "ssl.certificate.location": "CERTIFICATE", "ssl.key.location": "KEY"}
    assert java({}, {}) == {}
    assert java({"security.protocol": "SSL", "ssl.key.password": "p"}, read) == {
        "security.protocol": "SSL",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": "CA",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.certificate.chain": "CERTIFICATE",
        "ssl.keystore.key": "KEY",
        "ssl.key.password": "p",
    }
    assert java(LOGIN | {"sasl.password": 'a"b\\c'}, {}) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.jaas.config": "org.apache.kafka.common.security.plain.PlainLoginModule required"
        ' username="u" password="a\\"b\\\\c";',
    }
