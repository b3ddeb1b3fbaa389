"""`local up` writes the settings file, and leaves what a person wrote in it."""

from __future__ import annotations

from pathlib import Path

from connector import settings
from connector.local import settings_file
from connector.local.parts import addresses

FIRST = addresses({"kafka": 1, "registry": 2, "connect": 3, "postgres": 4, "listen": 5})
SECOND = addresses({"kafka": 11, "registry": 2, "connect": 3, "postgres": 14, "listen": 5})


def test_a_new_file_is_one_that_every_command_can_load(tmp_path: Path) -> None:
    loaded = settings.load(str(settings_file.write(tmp_path, FIRST)))
    assert (loaded.kafka, loaded.registry) == ("127.0.0.1:1", "http://127.0.0.1:2/apis/ccompat/v7")
    assert (loaded.connect, loaded.postgres) == ("http://127.0.0.1:3", "postgresql://postgres@127.0.0.1:4/app")
    assert loaded.listen == "127.0.0.1:5"
    assert (loaded.app, loaded.connector, loaded.topic_prefix) == ("syncline", "syncline", "source")
    assert loaded.state == tmp_path / ".syncline"
    assert loaded.development_tokens


def test_only_addresses_are_mended(tmp_path: Path) -> None:
    file = settings_file.write(tmp_path, FIRST)
    file.write_text(file.read_text().replace("app: syncline", "app: shop  # ours\ntables: [public.todos]"))
    before = file.read_text()
    settings_file.write(tmp_path, SECOND)
    assert file.read_text() == before.replace("127.0.0.1:1\n", "127.0.0.1:11\n").replace(":4/app", ":14/app")
    assert settings.load(str(file)).tables == ("public.todos",)


def test_a_missing_address_is_added(tmp_path: Path) -> None:
    file = tmp_path / settings.FILE_NAME
    file.write_text("app: shop\n")
    settings_file.write(tmp_path, FIRST)
    assert file.read_text().splitlines()[:2] == ["app: shop", "kafka: 127.0.0.1:1"]
    assert settings.load(str(file)).app == "shop"


def test_a_right_file_is_not_touched(tmp_path: Path) -> None:
    file = settings_file.write(tmp_path, FIRST)
    before = file.stat().st_mtime_ns
    settings_file.write(tmp_path, FIRST)
    assert file.stat().st_mtime_ns == before
