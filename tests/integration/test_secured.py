"""Kafka with TLS, a login and rights: all runs with those that docs/settings.md names; a login that fails is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from connector import settings
from tests import stacks, worlds
from tests.integration.test_pipeline import settled
from tests.integration.world import CONFIG, deployed
from tests.secured import MECHANISM, SecuredStack, make_certificates
from tests.worlds import Janitor, Source
from topologies.prepare import prepare

pytestmark = pytest.mark.stack
PASSWORD = 'a"b\\c'
# docs/settings.md names these
OWN, SOURCE, GROUP, TRANSACTION = (
    ("READ", "WRITE", "CREATE", "DELETE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"),
    ("READ", "CREATE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"),
    ("READ", "DELETE"),
    ("WRITE",),
)


@pytest.fixture
def secured(stack: Any) -> Iterator[SecuredStack]:
    """A stack whose broker has a way in with TLS and login."""
    if isinstance(stack, SecuredStack):
        yield stack
    else:
        with stacks.local() as own:
            yield own


@pytest.fixture
def source(secured: SecuredStack, janitor: Janitor, tmp_path: Path) -> Iterator[Source]:
    """A source whose settings know no other way into Kafka, and a user with the rights of the documentation."""
    plain = worlds.create(secured.heal(), tmp_path)
    user = plain.settings.app
    admin = AdminClient({"bootstrap.servers": plain.settings.kafka})
    scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    for done in admin.alter_user_scram_credentials(
        [UserScramCredentialUpsertion(user, scram, PASSWORD.encode())]
    ).values():
        done.result(20)
    rights = [
        *((ResourceType.TOPIC, f"{plain.settings.app}.", right) for right in OWN),
        *((ResourceType.TOPIC, f"{plain.settings.topic_prefix}.", right) for right in SOURCE),
        *((ResourceType.GROUP, f"{plain.settings.app}.", right) for right in GROUP),
        *((ResourceType.TRANSACTIONAL_ID, f"{plain.settings.app}.", right) for right in TRANSACTION),
    ]
    acls = [
        AclBinding(
            kind,
            prefix,
            ResourcePatternType.PREFIXED,
            f"User:{user}",
            "*",
            AclOperation[right],
            AclPermissionType.ALLOW,
        )
        for kind, prefix, right in rights
    ]
    for created in admin.create_acls(acls).values():
        created.result(20)
    content = yaml.safe_load(plain.settings.path.read_text())
    content |= {"kafka": secured.secured, "kafka_security": security(secured, user)}
    plain.settings.path.write_text(yaml.safe_dump(content))
    yield replace(plain, settings=settings.load(str(plain.settings.path)))
    janitor.drop(plain, secured.heal())


def security(stack: SecuredStack, user: str) -> dict[str, str]:
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": MECHANISM,
        "sasl.username": user,
        "sasl.password": PASSWORD,
        "ssl.ca.location": str(stack.ca),
    }


def test_everything_runs_with_the_rights_that_are_documented(source: Source, tmp_path: Path) -> None:
    """The connector reads its signals with the same login: a table that is captured later comes whole."""
    with deployed(source, tmp_path, lists=3, todos=30) as pipeline:
        settled(source, pipeline, CONFIG)
        source.sql("CREATE TABLE notes (id int PRIMARY KEY, body text); ALTER TABLE notes REPLICA IDENTITY FULL")
        source.sql("INSERT INTO notes SELECT g, 'note' FROM generate_series(1, 50) g")
        pipeline.deploy(CONFIG + "  notes:\n    data:\n      - SELECT id, body FROM notes\n")
        assert len(pipeline.buckets()["notes", "[]"]) == 50
        pipeline.deploy(CONFIG)
        assert pipeline.ok("verify")["equal"]
        pipeline.ok("gc")
        assert "error" not in (tmp_path / "run.log").read_text().lower()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sasl.password": "wrong"}, "invalid credentials"),
        ({"ssl.ca.location": "other/ca.pem"}, "certificate verify failed"),
    ],
)
def test_a_login_that_fails_is_named(source: Source, tmp_path: Path, change: dict[str, str], said: str) -> None:
    file = source.settings.path
    (tmp_path / "other").mkdir()
    make_certificates(tmp_path / "other")
    content = yaml.safe_load(file.read_text())
    content["kafka_security"] |= change
    file.write_text(yaml.safe_dump(content))
    done = prepare(settings.load(str(file)))[0]
    assert (done.subject, done.outcome) == ("kafka", "wrong")
    assert said in done.detail
    assert done.hint == f"kafka_security in {file}"
