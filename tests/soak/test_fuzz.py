"""The fuzz tests of the definitions, for long."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.definitions.fuzz import broken, configs, objects
from tests.definitions.test_fuzz import BOUND, GOLDEN, ROWS, broken_file, whole_run

long = settings(deadline=BOUND, max_examples=10_000, suppress_health_check=list(HealthCheck))


@pytest.mark.soak
def test_broken_files() -> None:
    long(given(broken(GOLDEN))(broken_file))()


@pytest.mark.soak
def test_whole_runs() -> None:
    long(given(configs(), st.lists(ROWS, max_size=2), objects, objects)(whole_run))()
