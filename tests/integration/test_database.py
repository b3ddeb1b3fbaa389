"""What the source database says of its tables, and what it publishes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.worlds import Source
from topologies.database import publish, published, table_estimates

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


def test_a_publication_is_made_and_told_of_what_it_lacks(source: Source) -> None:
    """Asked again, it changes nothing. Of a partitioned table there are its partitions, unless it stands for them."""
    source.sql("""
        CREATE TABLE plain (id int);
        CREATE TABLE "Odd name" (id int);
        CREATE TABLE parted (id int) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (1000);
        CREATE TABLE late (id int);
        CREATE PUBLICATION everything FOR ALL TABLES;
        CREATE PUBLICATION by_root FOR TABLE parted WITH (publish_via_partition_root = true)
    """)
    names = ["public.plain", "public.Odd name", "public.parted", "public.low"]
    for tables in (names, names, [*names, "public.late"], names):
        publish(source.settings, "ours", tables)
        there = frozenset(tables)
        assert published(source.settings, "ours", tables) == (there, there - {"public.parted"})
    assert source.sql("SELECT count(*) FROM pg_publication_rel") == [(6,)]
    publish(source.settings, "everything", ["public.plain", "public.low"])
    assert published(source.settings, "by_root", names)[1] == {"public.parted"}


def test_two_that_publish_at_once_are_both_done(source: Source) -> None:
    names = [f"t{n}" for n in range(20)]
    source.sql("".join(f"CREATE TABLE {name} (id int);" for name in names))
    tables = [f"public.{name}" for name in names]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: publish(source.settings, "ours", tables[n:]), (0, 5, 10, 15)))
    assert published(source.settings, "ours", tables)[1] == frozenset(tables)
