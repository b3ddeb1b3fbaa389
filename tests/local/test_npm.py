"""npm packages are fetched once from the registry that npm is set to, checked against their pins, then used offline."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from connector.errors import SynclineError, Unavailable
from connector.local import npm
from connector.local.cache import cache_folder
from tests.test_structure import ROOT

COMMITTED = ROOT / "examples" / "todo" / "client" / npm.LOCK


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Requests are nobody's business here."""


@cache
def tarball() -> bytes:
    """The same bytes each time: gzip writes the time of day into them."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in (("package.json", '{"name": "one", "version": "1.0.0"}'), ("index.js", "the real one")):
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A registry with one package, to which npm's settings point, and an empty cache."""
    served = tmp_path / "served"
    served.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    (served / "one-1.0.0.tgz").write_bytes(tarball())
    (served / "one").write_text(
        json.dumps(
            {
                "name": "one",
                "dist-tags": {"latest": "1.0.0"},
                "versions": {
                    "1.0.0": {"name": "one", "version": "1.0.0", "dist": {"tarball": f"{address}/one-1.0.0.tgz"}}
                },
            }
        )
    )
    (tmp_path / "npmrc").write_text(
        f"registry={address}/\ncache={tmp_path}/npm\nfetch-retries=0\nproxy=null\nhttps-proxy=null\nnoproxy=127.0.0.1\n"
    )
    for name in list(os.environ):
        if name.lower().startswith("npm_config_"):  # they come before a file
            monkeypatch.delenv(name)
    monkeypatch.setenv("NPM_CONFIG_USERCONFIG", str(tmp_path / "npmrc"))
    monkeypatch.setenv("SYNCLINE_CACHE", str(tmp_path / "cache"))
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that pins the package."""
    folder = tmp_path / "app"
    folder.mkdir()
    wanted = {"name": "app", "dependencies": {"one": "1.0.0"}}
    digest = base64.b64encode(hashlib.sha512(tarball()).digest()).decode()
    packages = {"": wanted, "node_modules/one": {"version": "1.0.0", "integrity": f"sha512-{digest}"}}
    (folder / "package.json").write_text(json.dumps(wanted))
    (folder / npm.LOCK).write_text(json.dumps({"name": "app", "lockfileVersion": 3, "packages": packages}))
    return folder


def test_what_is_fetched_once_is_used_without_a_network(registry: Path, folder: Path) -> None:
    assert (npm.installed(folder) / "one" / "index.js").read_text() == "the real one"
    for file in registry.iterdir():
        file.unlink()
    (folder / npm.MODULES).unlink()
    assert (npm.installed(folder) / "one" / "index.js").read_text() == "the real one"


def test_another_package_than_the_pinned_one_is_refused_and_nothing_kept(registry: Path, folder: Path) -> None:
    (registry / "one-1.0.0.tgz").write_bytes(tarball() + b"\0")
    with pytest.raises(SynclineError, match="npm package is not the pinned one") as caught:
        npm.installed(folder)
    assert not isinstance(caught.value, Unavailable)
    assert list(cache_folder().iterdir()) == []
    assert not (folder / npm.MODULES).exists()


def test_a_package_that_cannot_be_fetched_says_what_to_do(registry: Path, folder: Path) -> None:
    (registry / "one").unlink()
    with pytest.raises(Unavailable, match=r"npm packages could not be fetched: .*404") as caught:
        npm.installed(folder)
    assert caught.value.where == str(folder / npm.LOCK)
    assert "make setup" in str(caught.value.hint)


def test_a_changed_list_gets_a_folder_of_its_own(registry: Path, folder: Path) -> None:
    npm.installed(folder)
    before = (folder / npm.MODULES).readlink()
    (folder / npm.LOCK).write_text((folder / npm.LOCK).read_text() + "\n")
    npm.installed(folder)
    assert (folder / npm.MODULES).readlink() != before


def test_the_committed_list_pins_every_package_and_names_no_host() -> None:
    packages = json.loads(COMMITTED.read_text())["packages"]
    wanted = packages.pop("")["dependencies"]
    assert packages.keys() >= {f"node_modules/{name}" for name in wanted}
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name


def test_the_node_that_runs_them_is_the_packaged_one() -> None:
    said = subprocess.run([npm.node(), "--version"], capture_output=True, text=True, check=True).stdout
    assert int(said.removeprefix("v").split(".")[0]) >= 24
