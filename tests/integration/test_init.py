"""`syncline init` on a source that changed under the connector."""

from __future__ import annotations

import pytest

from tests.integration.sequencing import ready
from tests.worlds import Source
from topologies.prepare import prepare

pytestmark = pytest.mark.stack


def test_a_table_made_anew_is_missed_in_the_publication(source: Source) -> None:
    """Postgres drops it from the publication without a word, and no change of it would ever come."""
    table = "CREATE TABLE notes (id int PRIMARY KEY)"
    source.sql(f"{table}; CREATE TABLE others (id int PRIMARY KEY)")
    ready(source)
    ready(source)
    source.sql(f"DROP TABLE notes; {table}")
    wrong = [finding for finding in prepare(source.settings) if finding.outcome == "wrong"]
    assert [finding.subject for finding in wrong] == ["table public.notes"]
    assert wrong[0].hint is not None
    source.sql(wrong[0].hint.split(";")[0])
    ready(source)
