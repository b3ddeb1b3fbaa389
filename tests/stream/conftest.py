"""The world of the stream tests: the broker and the registry of the session's stack, no source database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stream.feed import Feeder, write_settings


@pytest.fixture
def feeder(stack: Any, tmp_path: Path) -> Feeder:
    """A feeder under names of its own."""
    addresses = stack.heal()
    return Feeder(write_settings(addresses.kafka, addresses.registry, tmp_path))
