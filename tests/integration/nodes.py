"""A second serving node of an app, with a store of its own and the same keys."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import yaml

from connector.local.ports import choose
from connector.settings import Settings
from tests.integration.pipeline import Pipeline, eventually


@contextmanager
def another_node(settings: Settings, folder: Path) -> Iterator[str]:
    """Its endpoint, once it has everything; it ends with the block."""
    state = folder / "second"
    state.mkdir()
    shutil.copy(settings.state / "development-key", state)
    listen = f"127.0.0.1:{choose({})['listen']}"
    file = folder / "second.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(settings.path.read_text()) | {"state": str(state), "listen": listen}))
    node = Pipeline(replace(settings, path=file), state)
    node.start("serve")
    url = f"http://{listen}"
    try:
        eventually(lambda: ready(url), what="the second node is ready")
        yield url
    finally:
        node.end()


def ready(url: str) -> bool:
    """Whether a node serves clients."""
    try:
        return httpx.get(f"{url}/probes/readiness", trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
