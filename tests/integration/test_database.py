"""What the source database says of its tables' sizes."""

from __future__ import annotations

import pytest

from tests.worlds import Source
from topologies.database import table_estimates

pytestmark = pytest.mark.stack
ROWS = 3000


def test_a_tables_size_is_what_the_database_last_counted(source: Source) -> None:
    """Those of a partitioned one lie in its partitions, of which one may be empty and never counted."""
    some = f"SELECT g, 'row ' || g FROM generate_series(1, {ROWS}) g"
    source.sql(f"""
        CREATE TABLE counted AS {some}; ANALYZE counted;
        CREATE TABLE uncounted WITH (autovacuum_enabled = false) AS {some};
        CREATE TABLE empty (id int);
        CREATE TABLE parted (id int, body text) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (1000);
        CREATE TABLE high PARTITION OF parted FOR VALUES FROM (1000) TO (9000);
        CREATE TABLE other PARTITION OF parted DEFAULT;
        INSERT INTO parted {some}; ANALYZE parted
    """)
    names = [f"public.{name}" for name in ("counted", "uncounted", "empty", "parted", "missing")]
    counted, uncounted, empty, parted, missing = table_estimates(source.settings, names).values()
    assert (counted[0], uncounted[0], empty[0], parted[0]) == (ROWS, None, 0, ROWS)
    assert counted[1] == pytest.approx(parted[1], rel=0.5) and counted[1] == pytest.approx(uncounted[1], rel=0.2)
    assert missing == (0, 0)
