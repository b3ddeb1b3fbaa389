"""The writer of the scenarios: that of the integration tests, with truncates, and pauses for the oracle."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration.world import Writer

TRUNCATE_ONCE_IN = 1500  # changes


class ScenarioWriter(Writer):
    """Commits random transactions, three changes each, until it is finished."""

    def __init__(self, dsn: str, seed: int, *, per_second: float) -> None:
        super().__init__(dsn, seed, per_second=per_second)
        self._turn = threading.RLock()  # who has it quiet may still commit something alone

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Nothing is committed while the block runs, and a last transaction before it."""
        with self._turn:
            super().transaction()
            yield

    def transaction(self) -> None:
        with self._turn:
            super().transaction()

    def alone(self, *statements: str) -> None:
        """One transaction of one's own, with the marks before, between and after."""
        with self._turn, self.connection.transaction():
            for table, statement in zip(("mark_a", "mark_b", "mark_c"), (*statements, "", "")[:3], strict=True):
                self.connection.execute(f"UPDATE {table} SET value = %s WHERE id = 1", (self.committed + 1,))  # type: ignore[arg-type]
                if statement:
                    self.connection.execute(statement)  # type: ignore[arg-type]
            self.committed += 1

    def change(self) -> None:
        if self.random.randrange(20) == 0:  # a table that no definition reads
            self.connection.execute(
                "INSERT INTO side VALUES (%s, 1) ON CONFLICT (id) DO UPDATE SET n = side.n + 1",
                (self.random.randrange(50),),
            )
        elif self.random.randrange(TRUNCATE_ONCE_IN) == 0:
            self.connection.execute("TRUNCATE todos")
            self.connection.execute(
                "INSERT INTO todos SELECT n, 'l' || 1 + n % 40, 'Anew ' || n, n % 3 = 0, n / 8.0, '{}'"
                " FROM generate_series(1, 500) n"
            )
        else:
            super().change()
