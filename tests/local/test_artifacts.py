"""Java artifacts are fetched once, checked against their pins, and put in place whole or not at all."""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from connector.errors import SynclineError, Unavailable
from connector.local import artifacts
from connector.local.cache import cache_folder

ROOT = Path(__file__).parent.parent.parent


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Requests are nobody's business here."""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Maven repository with one jar and one archive, the list that pins them, and an empty cache."""
    served = tmp_path / "served"
    jar, archive = b"a jar", io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("registry-run.jar"))
    files = {"plugins/apicurio-converter org.x:one:1.0": jar, "registry org.x.y:two:2.0:all:tar.gz": archive.getvalue()}
    lines = [f"{line} {hashlib.sha256(content).hexdigest()}" for line, content in files.items()]
    monkeypatch.setattr(artifacts, "_list_text", lambda: "# pinned\n" + "\n".join(lines))
    for artifact, content in zip(artifacts.pinned(), files.values(), strict=True):
        (served / artifact.path).parent.mkdir(parents=True)
        (served / artifact.path).write_bytes(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config" / "jgo.conf").write_text(
        f"[repositories]\nours = http://127.0.0.1:{server.server_address[1]}/\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SYNCLINE_CACHE", str(tmp_path / "cache"))
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_list_pins_every_file_once() -> None:
    pinned = artifacts.pinned()
    assert len({(artifact.folder, artifact.file_name) for artifact in pinned}) == len(pinned) > 100
    assert all(re.fullmatch("[0-9a-f]{64}", artifact.sha256) for artifact in pinned)
    assert artifacts.version("kafka_2.13") == artifacts.version("connect-runtime") == "4.3.1"


def test_maven_paths_follow_the_coordinates() -> None:
    paths = {artifact.name: artifact.path for artifact in artifacts.pinned()}
    assert paths["kafka_2.13"] == "org/apache/kafka/kafka_2.13/4.3.1/kafka_2.13-4.3.1.jar"
    assert paths["apicurio-registry-app"].endswith("/3.3.3/apicurio-registry-app-3.3.3-all.tar.gz")


def test_what_is_fetched_once_is_used_without_a_network(repository: Path) -> None:
    folder = artifacts.installed()
    assert (folder / "plugins/apicurio-converter/one-1.0.jar").read_bytes() == b"a jar"
    assert (folder / "registry/registry-run.jar").is_file()
    for file in repository.rglob("*.*"):
        if file.is_file():
            file.unlink()
    assert artifacts.installed() == folder


def test_another_file_than_the_pinned_one_is_refused_and_nothing_kept(repository: Path) -> None:
    (repository / artifacts.pinned()[0].path).write_bytes(b"another jar")
    with pytest.raises(SynclineError, match=r"one-1\.0\.jar is not the pinned file: sha-256 [0-9a-f]{64}, expected"):
        artifacts.installed()
    assert list(cache_folder().iterdir()) == []


def test_a_failed_download_says_which_file_and_what_to_do(repository: Path) -> None:
    (repository / artifacts.pinned()[1].path).unlink()
    with pytest.raises(Unavailable, match=r"download of two-2\.0-all\.tar\.gz failed: .*404") as caught:
        artifacts.installed()
    assert caught.value.where == "org/x/y/two/2.0/two-2.0-all.tar.gz"
    assert "make setup" in str(caught.value.hint)


def test_a_cache_that_cannot_be_written_says_where(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCLINE_CACHE", "/proc/nowhere")
    with pytest.raises(SynclineError, match="Java artifacts cannot be stored") as caught:
        artifacts.installed()
    assert str(caught.value.where).startswith("/proc/nowhere/java-")


def test_no_registry_host_is_committed() -> None:
    hosts = r"https?://[^ /]*(maven|pypi|pythonhosted|docker|quay|npmjs)"
    found = subprocess.run(
        ["git", "grep", "-nE", hosts, "--", ":!tests/local"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.stdout == ""
