"""Many partitions → one commit order (rules S3, S4, S5, S7). A state machine without clock and without Kafka.

Rows and transaction ENDs are pushed in as they are read; `peek` gives the row that is next in commit order, `take`
settles it. Between two takes the state is exactly what `snapshot` says, so a restart goes on from there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from connector.errors import Gap, SourceRefused
from connector.source.records import End, Kind, Missing, Partition, Row

RELEASES_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class LaneState:
    """One CDC partition: the first offset not settled, and the mark (rule S4)."""

    next: int
    last_commit: int = 0
    order: int = 0
    newest: int = 0  # largest commit time of a numbered row, ms
    deleted: str | None = None  # key of the delete record that was settled last, if nothing came after it
    first_end: int = 0  # end captured at the very first start; below it rows may be history
    unreadable: tuple[str, ...] = ()  # keys whose newest record could not be read: their repeats are not dropped
    transaction: str = ""  # transaction id of the mark


@dataclass(frozen=True, slots=True)
class OrderState:
    """All that a restart needs of the order (rule S2)."""

    end_next: int = 0  # offset in the transaction topic of the END to read next, the open one included
    closed: int = 0  # L of the last closed transaction
    closed_at: int = 0  # largest commit time of an END, ms
    open: tuple[int, int] | None = None  # L and last number of the open transaction
    releases: int = 0  # transactions released in a row (rule S5)
    first_end: int = 0  # of the transaction topic, as in LaneState
    trimmed: bool = False  # at the first start some topic had lost its beginning: history may have gaps
    lanes: Mapping[Partition, LaneState] = field(default_factory=dict)
    events: int = 0  # rows of the open transaction; 0: none is open, or its END is not read again yet


@dataclass(slots=True)
class Counters:
    """What happened so far; for the operator."""

    late: int = 0
    repeated: int = 0
    released: int = 0
    history_gaps: int = 0


class _Lane:
    """One partition's rows that are read and not settled yet."""

    __slots__ = (
        "bytes", "deleted", "first_end", "last_commit", "newest", "order", "partition", "queue", "read", "transaction",
        "unreadable",
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

    @property
    def next(self) -> int:
        return self.queue[0].offset if self.queue else self.read

    def state(self) -> LaneState:
        first_end = 0 if self.next >= self.first_end else self.first_end
        unreadable = tuple(self.unreadable)
        return LaneState(
            self.next, self.last_commit, self.order, self.newest, self.deleted, first_end, unreadable, self.transaction
        )

    def has_mark_of(self, row: Row) -> bool:
        """Whether the mark is of the row's own transaction.

        lastCommitLsn cannot tell: it is null in the first transaction a connector streams, and the LSN of some row
        there once the connector has gone on inside it.
        """
        return row.transaction == self.transaction and row.committed_at <= self.newest


class Order:
    """Puts the rows of one source back into commit order."""

    def __init__(self, state: OrderState, counters: Counters | None = None) -> None:
        self.counters = counters or Counters()
        self.closed = state.closed
        self._closed_at = state.closed_at
        self._end_read = state.end_next
        self._resume = state.open
        self._releases = state.releases
        self._first_end = state.first_end
        self._trimmed = state.trimmed
        self._current: End | None = None
        self._last = 0
        self._gap = False  # numbers of the open transaction were given up
        self._excused = False  # an unreadable record may explain a gap
        self._ends: deque[End] = deque()
        self._lanes = {partition: _Lane(partition, lane) for partition, lane in state.lanes.items()}
        self._behind = {p for p, lane in self._lanes.items() if lane.next < lane.first_end}
        self._free: deque[_Lane] = deque()
        self._numbered: dict[int, _Lane] = {}
        self._waiting: list[_Lane] = []
        self._next: _Lane | None = None

    # -- what is read ------------------------------------------------------------------------------------------------

    def add_partition(self, partition: Partition, state: LaneState) -> None:
        """A partition that appeared after the start (rules S6, S12)."""
        self._lanes[partition] = _Lane(partition, state)

    def push(self, row: Row) -> None:
        """A record of a CDC partition, in the order of its offsets."""
        lane = self._lanes[row.partition]
        if row.offset < lane.read:
            raise Gap(
                f"offset {row.offset} came after {lane.read - 1}", where=f"{row.partition[0]} [{row.partition[1]}]"
            )
        lane.read = row.offset + 1
        lane.bytes += row.size
        lane.queue.append(row)
        if len(lane.queue) == 1:
            self._place(lane)

    def push_end(self, end: End) -> None:
        """An END, in the order of the transaction topic."""
        self._ends.append(end)
        self._end_read = end.offset + 1
        if self._current is None:
            self._open_next()

    def passed(self, partition: Partition, position: int) -> None:
        """The partition was read up to `position`, which markers and aborted records may fill."""
        lane = self._lanes[partition]
        lane.read = max(lane.read, position)
        self._forget_behind(lane)

    def passed_end(self, position: int) -> None:
        """The transaction topic was read up to `position` (BEGINs and markers included)."""
        self._end_read = max(self._end_read, position)

    # -- what is given -----------------------------------------------------------------------------------------------

    def peek(self) -> Row | None:
        """The row that is next; None where more must be read first."""
        if self._next is None:
            self._next = self._choose()
        return None if self._next is None else self._next.queue[0]

    def take(self) -> Row:
        """Settle the row that `peek` gave."""
        lane, self._next = self._next, None
        if lane is None:
            raise Gap("take without peek")
        if self._free and self._free[0] is lane:
            self._free.popleft()
            row = self._settle(lane)
            if row.kind is Kind.NUMBERED:
                self.counters.late += 1
                self._mark(lane, row)
            self._excused |= row.kind is Kind.UNREADABLE
            if lane.unreadable and row.kind is not Kind.UNREADABLE and row.key is not None:
                lane.unreadable.pop(row.key, None)
        else:
            row = self._settle(lane)
            del self._numbered[row.order]
            self._mark(lane, row)
            if lane.unreadable and row.key is not None:
                lane.unreadable.pop(row.key, None)
            self._last = row.order
            if self._current is not None and self._last == self._current.events:
                self._close(self._current)
        if lane.queue:
            self._place(lane)
        return row

    @property
    def at_boundary(self) -> bool:
        """No transaction is open and the past of the first start is done (rule S4)."""
        return (self._current is None or self._last == 0) and self._resume is None and not self._behind

    @property
    def ahead(self) -> int:
        """Numbers of the open transaction that are still to come."""
        return 0 if self._current is None else self._current.events - self._last

    def missing(self) -> Missing | None:
        """The number that the open transaction waits for; None where a row is ready or nothing is open."""
        if self._current is None or self.peek() is not None:
            return None
        end = self._current
        return Missing(end.transaction, end.lsn, self._last + 1, end.events, end.tables)

    def read_to(self, ends: Mapping[Partition, int]) -> bool:
        """Whether every partition shows a later transaction or was read to its end (rule S5)."""
        return all(lane.queue or lane.read >= ends.get(p, 0) for p, lane in self._lanes.items())

    def release(self) -> Missing:
        """Give up the missing numbers of the open transaction (rule S5).

        Raises SourceRefused at the third transaction in a row that no unreadable record explains.
        """
        gap = self.missing()
        if gap is None:
            raise Gap("nothing to release")
        if not self._gap and not self._excused:
            self._releases += 1
            self.counters.released += 1
        if self._releases >= RELEASES_IN_A_ROW:
            raise SourceRefused(
                f"{self._releases} transactions in a row lack rows that Kafka has acknowledged; the last is "
                f"{gap.transaction}, number {gap.number} of {gap.events}",
                hint="a filtering or routing transform in the connector? Remove it, or capture fewer tables instead",
            )
        self._give_up()
        return gap

    # -- buffers (rule S7) -------------------------------------------------------------------------------------------

    def buffered(self, partition: Partition) -> tuple[int, int]:
        """Rows and bytes read and not settled."""
        lane = self._lanes[partition]
        return len(lane.queue), lane.bytes

    @property
    def ends_buffered(self) -> int:
        return len(self._ends)

    def partitions(self) -> Iterable[Partition]:
        return self._lanes.keys()

    def next_offset(self, partition: Partition) -> int:
        """The first offset that is not settled."""
        return self._lanes[partition].next

    def blocked_or_at(self, partition: Partition, end: int) -> bool:
        """Whether a partition has nothing left before `end` that could pass now (rule S12)."""
        lane = self._lanes[partition]
        return bool(lane.queue) or lane.read >= end

    def snapshot(self) -> OrderState:
        """The state between two takes."""
        current = self._current
        started = current is not None and self._last > 0
        end_next = current.offset if current else self._ends[0].offset if self._ends else self._end_read
        if self._resume is not None:
            opened: tuple[int, int] | None = self._resume
        else:
            opened = (current.lsn, self._last) if current is not None and started else None
        return OrderState(
            end_next=end_next,
            closed=self.closed,
            closed_at=self._closed_at,
            open=opened,
            events=current.events if current is not None and started else 0,
            releases=self._releases,
            first_end=0 if end_next >= self._first_end else self._first_end,
            trimmed=self._trimmed and bool(self._behind),
            lanes={p: lane.state() for p, lane in self._lanes.items()},
        )

    # -- inside ------------------------------------------------------------------------------------------------------

    def _choose(self) -> _Lane | None:
        while True:
            if self._free:
                return self._free[0]
            if self._current is None:
                return None
            lane = self._numbered.get(self._last + 1)
            if lane is not None or not self._is_history_gap():
                return lane
            self.counters.history_gaps += 1
            self._give_up()

    def _is_history_gap(self) -> bool:
        """What was trimmed before the first start does not come any more."""
        current = self._current
        if not self._trimmed or current is None or current.offset >= self._first_end:
            return False
        return all(lane.queue or lane.read >= lane.first_end for lane in self._lanes.values())

    def _give_up(self) -> None:
        self._gap = True
        if self._numbered:
            self._last = min(self._numbered) - 1
        elif self._current is not None:
            self._close(self._current)

    def _settle(self, lane: _Lane) -> Row:
        row = lane.queue.popleft()
        lane.bytes -= row.size
        lane.deleted = row.key if row.op == "d" else None
        if row.kind is Kind.UNREADABLE and row.key is not None:
            lane.unreadable[row.key] = None
        self._forget_behind(lane)
        return row

    def _forget_behind(self, lane: _Lane) -> None:
        if self._behind and lane.next >= lane.first_end:
            self._behind.discard(lane.partition)

    def _mark(self, lane: _Lane, row: Row) -> None:
        here = (row.last_commit or self.closed, row.order)
        if lane.has_mark_of(row):
            lane.order = max(lane.order, row.order)
        elif here > (lane.last_commit, lane.order):
            (lane.last_commit, lane.order), lane.transaction = here, row.transaction
        lane.newest = max(lane.newest, row.committed_at)

    def _open_next(self) -> None:
        while self._current is None and self._ends:
            end = self._ends.popleft()
            if end.lsn <= self.closed:
                self._check_not_back(end)
                continue
            self._current, self._last, self._gap = end, 0, False
            if self._resume is not None:
                if self._resume[0] == end.lsn:
                    self._last = self._resume[1]
                self._resume = None
            waiting, self._waiting = self._waiting, []
            if end.events <= self._last:
                self._waiting = waiting
                self._close_one(end)
                continue
            for lane in waiting:
                self._place(lane)

    def _close(self, end: End) -> None:
        """The transaction is complete; what is at the head of the lanes belongs to later ones."""
        left = list(self._numbered.values())
        self._close_one(end)
        for lane in left:
            self._place(lane)
        self._open_next()

    def _close_one(self, end: End) -> None:
        self.closed = end.lsn
        self._closed_at = max(self._closed_at, end.committed_at)
        if end.events and not self._gap:
            self._releases = 0
        self._current, self._last = None, 0
        self._excused = self._excused and not self._gap
        self._numbered.clear()

    def _place(self, lane: _Lane) -> None:
        """Find the place of the lane's first row; what is repeated is dropped on the way."""
        while lane.queue:
            row = lane.queue[0]
            if row.kind is Kind.NUMBERED:
                if not self._repeated(lane, row):
                    self._place_numbered(lane, row)
                    return
                if row.key in lane.unreadable:
                    self._free.append(lane)  # an unreadable repeat has covered what this row said
                    return
                self.counters.repeated += 1
            elif row.kind is Kind.BARE:
                self._check_history(lane, row)
                self._free.append(lane)
                return
            elif row.kind is Kind.TOMBSTONE:
                if row.key is None or lane.deleted != row.key:
                    self._free.append(lane)
                    return
            elif row.kind is not Kind.SILENT:
                self._free.append(lane)
                return
            self._settle(lane)

    def _place_numbered(self, lane: _Lane, row: Row) -> None:
        current = self._current
        if row.last_commit and row.last_commit < self.closed:
            self._free.append(lane)  # late
        elif current is None or row.last_commit >= current.lsn:
            self._waiting.append(lane)
        elif row.transaction != current.transaction:
            # without lastCommitLsn (the connector began anew) only time tells whether its END is still to come
            later = row.last_commit == 0 and row.committed_at >= current.committed_at and self.closed > 0
            (self._waiting if later else self._free).append(lane)  # else late, or history before the first END
        elif not self._last < row.order <= current.events:
            self._free.append(lane)  # late
        elif row.order in self._numbered:
            other = self._numbered[row.order]
            raise Gap(
                f"two rows have number {row.order} of transaction {row.transaction}",
                where=f"{_place(row.partition, row.offset)} and {_place(other.partition, other.next)}",
            )
        else:
            self._numbered[row.order] = lane

    def _repeated(self, lane: _Lane, row: Row) -> bool:
        if lane.has_mark_of(row):
            return row.order <= lane.order
        if (row.last_commit, row.order) > (lane.last_commit, lane.order):
            return False
        if row.committed_at <= lane.newest:
            return True
        if row.last_commit == 0:
            return False  # the connector began anew: this transaction is not the one of the mark
        raise _went_back(f"row {row.order} after commit {row.last_commit}", _place(row.partition, row.offset))

    def _check_not_back(self, end: End) -> None:
        if end.committed_at > self._closed_at:
            raise _went_back(f"END of transaction {end.transaction}:{end.lsn}", f"transaction topic {end.offset}")

    def _check_history(self, lane: _Lane, row: Row) -> None:
        if row.offset >= lane.first_end or lane.order:
            raise SourceRefused(
                "a change has no transaction block",
                where=_place(row.partition, row.offset),
                hint="the connector needs provide.transaction.metadata=true (`syncline init`)",
            )


def _place(partition: Partition, offset: int) -> str:
    return f"{partition[0]} [{partition[1]}] {offset}"


def _went_back(what: str, where: str) -> SourceRefused:
    return SourceRefused(
        f"the source went back: {what} is newer by time than what came before it, but older by LSN",
        where=where,
        hint="the database was restored or failed over with loss: snapshot it anew under another app name",
    )
