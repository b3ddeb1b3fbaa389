"""One CDC partition as the order sees it: rows read and not settled yet, and the mark of those that are (rule S4)."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from connector.errors import Gap
from connector.source.records import Kind, Partition, Row


class LaneState(NamedTuple):
    """The first offset not settled, and the mark: which rows of their transaction the partition has given already."""

    next: int
    last_commit: int = 0
    order: int = 0
    newest: int = 0  # largest commit time of a numbered row, ms
    deleted: str | None = None  # key of the delete record that was settled last, if nothing came after it
    first_end: int = 0  # end captured at the very first start; below it rows may be history
    unreadable: tuple[str, ...] = ()  # keys whose newest record could not be read: their repeats are not dropped
    transaction: str = ""  # transaction id of the mark
    lsn: int = 0  # largest LSN of the mark's transaction
    entry: tuple[str, ...] = ()  # while that transaction is open, which of the rows with that LSN were settled


class Lane:
    """Rows in the order of their offsets, settled from the front."""

    __slots__ = (
        "bytes", "deleted", "entry", "first_end", "last_commit", "lsn", "newest", "order", "partition", "queue", "read",
        "transaction", "unreadable",
    )  # fmt: skip

    def __init__(self, partition: Partition, state: LaneState) -> None:
        self.partition = partition
        self.queue: deque[Row] = deque()
        self.bytes = 0
        self.read = state.next
        self.last_commit = state.last_commit
        self.order = state.order
        self.newest = state.newest
        self.deleted = state.deleted
        self.first_end = state.first_end
        self.unreadable = dict.fromkeys(state.unreadable)
        self.transaction = state.transaction
        self.lsn = state.lsn
        self.entry = list(state.entry)

    @property
    def next(self) -> int:
        """The first offset that is not settled."""
        return self.queue[0].offset if self.queue else self.read

    def state(self, *, opened: bool) -> LaneState:
        """`opened`: the mark is of a transaction that is open."""
        following = self.next
        behind = following < self.first_end
        entry = tuple(self.entry) if opened or behind else ()
        mark = (tuple(self.unreadable), self.transaction, self.lsn, entry)
        first_end = self.first_end if behind else 0
        return LaneState(following, self.last_commit, self.order, self.newest, self.deleted, first_end, *mark)

    def push(self, row: Row) -> None:
        """The row that was read next. Raises Gap where it was before."""
        if row.offset < self.read:
            raise Gap(
                f"offset {row.offset} came after {self.read - 1}", where=f"{row.partition[0]} [{row.partition[1]}]"
            )
        self.read = row.offset + 1
        self.bytes += row.size
        self.queue.append(row)

    def settle(self) -> Row:
        """The first row leaves."""
        row = self.queue.popleft()
        self.bytes -= row.size
        self.deleted = row.key if row.op == "d" else None
        if row.kind is Kind.UNREADABLE and row.key is not None:
            self.unreadable[row.key] = None
        return row

    def has_mark_of(self, row: Row) -> bool:
        """Whether the mark is of the row's own transaction.

        lastCommitLsn cannot tell: it is null in the first transaction a connector streams, and the LSN of some row
        there once the connector has gone on inside it.
        """
        return row.transaction == self.transaction and row.committed_at <= self.newest

    def mark(self, row: Row, closed: int) -> None:
        """The row was given, after the transaction whose END is at `closed`: the mark takes it in."""
        here = (row.last_commit or closed, row.order)
        if self.has_mark_of(row):
            self.order = max(self.order, row.order)
            if row.lsn > self.lsn:
                self.lsn, self.entry = row.lsn, [row.identity]
            elif row.lsn and row.lsn == self.lsn:
                self.entry.append(row.identity)
        elif here > (self.last_commit, self.order):
            (self.last_commit, self.order), self.transaction = here, row.transaction
            self.lsn, self.entry = row.lsn, [row.identity]
        self.newest = max(self.newest, row.committed_at)

    def is_marked(self, row: Row, *, opened: bool) -> bool:
        """Whether the row, of the mark's own transaction, was given. `opened`: that is open, or may be."""
        if not (row.lsn and self.lsn):
            return row.order <= self.order
        if row.lsn != self.lsn:
            return row.lsn < self.lsn
        known = opened or row.offset < self.first_end  # else all of the entry was settled
        return row.identity in self.entry or not known
