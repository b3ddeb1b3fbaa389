"""The Java artifacts of the local stack: pinned by sha-256, fetched once into a cache, then used offline.

`artifacts.txt` beside this module lists them, one a line: folder, Maven coordinate, sha-256. Jars are put into
their folder, archives (`tar.gz`) are unpacked into it. `python -m connector.local.artifacts` fetches what is missing.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import httpx
from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL

from connector.errors import SynclineError, Unavailable
from connector.local.cache import cache_folder, whole

LIST = "artifacts.txt"
TRIES = 3
# Connect finds plugins by service files only (a class scan costs seconds); this one's jar has none.
CONVERTER = "io.apicurio.registry.utils.converter.AvroConverter"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of a Maven repository and the folder it is wanted in."""

    folder: str
    group: str
    name: str
    version: str
    classifier: str
    packaging: str
    sha256: str

    @property
    def file_name(self) -> str:
        tail = f"-{self.classifier}" if self.classifier else ""
        return f"{self.name}-{self.version}{tail}.{self.packaging}"

    @property
    def path(self) -> str:
        """Where a Maven repository holds it."""
        return f"{self.group.replace('.', '/')}/{self.name}/{self.version}/{self.file_name}"


def pinned() -> tuple[Artifact, ...]:
    """The committed list."""
    return tuple(_artifact(line) for line in _list_text().splitlines() if line and not line.startswith("#"))


def version(name: str) -> str:
    """The pinned version of the artifact called `name`, e.g. "kafka_2.13"."""
    return next(artifact.version for artifact in pinned() if artifact.name == name)


def installed() -> Path:
    """The folder with `kafka/`, `plugins/` and `registry/`, fetched first where it is missing.

    Raises Unavailable where the Maven repository cannot be reached, SynclineError where a file is not the pinned
    one or the disk is full. The folder appears whole or not at all, named by the list's digest.
    """
    folder = cache_folder() / f"java-{hashlib.sha256(_list_text().encode()).hexdigest()[:16]}"
    if not folder.is_dir():
        try:
            with whole(folder) as partial:
                _fill(partial, pinned())
        except OSError as error:
            raise SynclineError(
                f"Java artifacts cannot be stored: {error.strerror or error}",
                where=str(folder),
                hint="free some disk space (400 MB are needed), or set SYNCLINE_CACHE to another folder",
            ) from error
    return folder


def _list_text() -> str:
    return files("connector.local").joinpath(LIST).read_text()


def _artifact(line: str) -> Artifact:
    folder, coordinate, sha256 = line.split()
    group, name, number, classifier, packaging = [*coordinate.split(":"), "", "jar"][:5]
    return Artifact(folder, group, name, number, classifier, packaging, sha256)


def _fill(folder: Path, artifacts: Iterable[Artifact]) -> None:
    repository = _repository()
    with httpx.Client(timeout=60, follow_redirects=True) as client, ThreadPoolExecutor(8) as pool:
        fetches = [pool.submit(_fetch, client, repository, artifact) for artifact in artifacts]
        try:
            for artifact, fetched in zip(artifacts, fetches, strict=True):
                _place(artifact, fetched.result(), folder / artifact.folder)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    with zipfile.ZipFile(folder / "plugins/apicurio-converter/services.jar", "w") as jar:
        jar.writestr("META-INF/services/org.apache.kafka.connect.storage.Converter", CONVERTER + "\n")


def _repository() -> str:
    """The first repository of jgo's settings file, or else the one that jgo has built in."""
    return next(iter(GlobalSettings.load().repositories.values()), MAVEN_CENTRAL_URL).rstrip("/")


def _fetch(client: httpx.Client, repository: str, artifact: Artifact) -> bytes:
    for attempt in range(1, TRIES + 1):
        try:
            response = client.get(f"{repository}/{artifact.path}")
            response.raise_for_status()
            break
        except httpx.HTTPError as error:
            if attempt == TRIES:
                raise Unavailable(
                    f"download of {artifact.file_name} failed: {error or type(error).__name__}",
                    where=artifact.path,
                    hint="the first start needs a network; run `make setup` again when it is there",
                ) from error
    found = hashlib.sha256(response.content).hexdigest()
    if found != artifact.sha256:
        raise SynclineError(
            f"downloaded {artifact.file_name} is not the pinned file: sha-256 {found}, expected {artifact.sha256}",
            where=artifact.path,
            hint="the repository or a proxy gave another file; nothing of it was kept",
        )
    return response.content


def _place(artifact: Artifact, content: bytes, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if artifact.packaging == "jar":
        (folder / artifact.file_name).write_bytes(content)
    else:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            archive.extractall(folder, filter="data")


if __name__ == "__main__":
    try:
        installed()
    except SynclineError as problem:
        sys.exit(problem.report())
