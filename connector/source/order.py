"""Many partitions → one commit order (rules S3, S4, S5, S7). A state machine without clock and without Kafka.

Rows and transaction BEGINs and ENDs are pushed in as they are read; `peek` gives the row that is next in commit order,
`take` settles it. Between two takes the state is exactly what `snapshot` says, so a restart goes on from there.

A connector that has gone on inside a transaction may have begun to count its rows anew (decision 57): then one number
means two rows, and END counts only the last ones. Such a transaction shows two BEGINs, or numbers that fall while LSNs
rise. Its rows are merged by LSN, each partition's repeats dropped, once all of it is known to be there.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from connector.errors import Gap, SourceRefused
from connector.source.lane import Lane, LaneState
from connector.source.records import Begin, End, Kind, Missing, Partition, Row

RELEASES_IN_A_ROW = 3
REMEMBERED = 8  # transactions given up


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
    begun: Mapping[str, int] = field(default_factory=dict)  # BEGINs read of transactions without END before `end_next`
    truncated: Mapping[str, int] = field(default_factory=dict)  # LSN of each table's truncate in the open transaction
    given_up: tuple[str, ...] = ()  # the last transactions that lacked rows when they were released


@dataclass(slots=True)
class Counters:
    """What happened so far; for the operator."""

    late: int = 0
    repeated: int = 0
    released: int = 0
    history_gaps: int = 0
    merged: int = 0


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
        self._begun = dict(state.begun)
        self._ends: deque[tuple[End, dict[str, int]]] = deque()  # each with what had begun then
        self._opened: dict[str, int] = {}  # what had begun at the END of the open transaction
        self._lsn = 0  # of the row of the open transaction that was taken last
        self._merging = False  # the open transaction by LSN
        self._merged: list[tuple[int, int, Partition, Lane]] = []  # a heap of the lanes with a row of it
        self._there: Mapping[Partition, int] | None = None  # ends of the partitions when Kafka had all of it
        self._truncated = dict(state.truncated)
        self._given_up = deque(state.given_up, REMEMBERED)
        self._lanes = {partition: Lane(partition, lane) for partition, lane in state.lanes.items()}
        self._behind = {p for p, lane in self._lanes.items() if lane.next < lane.first_end}
        self._free: deque[Lane] = deque()
        self._numbered: dict[int, Lane] = {}
        self._waiting: list[tuple[int, int, Partition, Lane]] = []  # a heap by the first row's last_commit and number
        self._next: Lane | None = None

    # -- what is read ------------------------------------------------------------------------------------------------

    def add_partition(self, partition: Partition, state: LaneState) -> None:
        """A partition that appeared after the start (rules S6, S12)."""
        self._lanes[partition] = Lane(partition, state)

    def push(self, row: Row) -> None:
        """A record of a CDC partition, in the order of its offsets."""
        lane = self._lanes[row.partition]
        lane.push(row)
        if len(lane.queue) == 1:
            self._place(lane)

    def push_begin(self, begin: Begin) -> None:
        """A BEGIN, in the order of the transaction topic."""
        self._begun[begin.transaction] = self._begun.get(begin.transaction, 0) + 1
        self._end_read = begin.offset + 1
        if self._current is not None and self._current.transaction == begin.transaction:
            self._merge()

    def push_end(self, end: End) -> None:
        """An END, in the order of the transaction topic."""
        self._ends.append((end, dict(self._begun)))
        self._begun.pop(end.transaction, None)
        self._end_read = end.offset + 1
        if self._current is None:
            self._open_next()

    def passed(self, partition: Partition, position: int) -> None:
        """The partition was read up to `position`, which markers and aborted records may fill."""
        lane = self._lanes[partition]
        lane.read = max(lane.read, position)
        self._forget_behind(lane)

    def passed_end(self, position: int) -> None:
        """The transaction topic was read up to `position` (markers included)."""
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
                lane.mark(row, self.closed)
            self._excused |= row.kind is Kind.UNREADABLE
            if lane.unreadable and row.kind is not Kind.UNREADABLE and row.key is not None:
                lane.unreadable.pop(row.key, None)
        else:
            row = self._settle(lane)
            if self._merging:
                heapq.heappop(self._merged)
            else:
                del self._numbered[row.order]
            lane.mark(row, self.closed)
            if lane.unreadable and row.key is not None:
                lane.unreadable.pop(row.key, None)
            self._last = self._last + 1 if self._merging else row.order
            self._lsn = row.lsn
            if row.op == "t":
                self._truncated[row.table] = row.lsn
            if self._current is not None and self._last == self._current.events and not self._merging:
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
        """Numbers of the open transaction that are still to come, as far as its END tells."""
        return 0 if self._current is None else max(0, self._current.events - self._last)

    def missing(self) -> Missing | None:
        """The number that the open transaction waits for; None where a row is ready or nothing is open."""
        if self.peek() is not None:
            return None
        end, number = self._current, self._last + 1  # looked at first: the last row of a merged one closes it there
        return end and Missing(end.transaction, end.lsn, number, max(number, end.events), end.tables)

    @property
    def merging(self) -> bool:
        """Whether the open transaction waits for, or has, the word that Kafka has all of it."""
        return self._merging

    def all_there(self, ends: Mapping[Partition, int]) -> None:
        """The open transaction's rows are all in Kafka, before these ends of all the partitions."""
        self._there = ends

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
        if current is not None:
            end_next, begun = current.offset, self._opened
        elif self._ends:
            end_next, begun = self._ends[0][0].offset, self._ends[0][1]
        else:
            end_next, begun = self._end_read, self._begun
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
            lanes={p: lane.state(opened=self._is_open(lane.transaction)) for p, lane in self._lanes.items()},
            begun=dict(begun),
            truncated=dict(self._truncated),
            given_up=tuple(self._given_up),
        )

    # -- inside ------------------------------------------------------------------------------------------------------

    def _choose(self) -> Lane | None:
        while True:
            if self._free:
                return self._free[0]
            if self._current is None:
                return None
            if self._merging:
                if not self._is_all_read():
                    return None
                lane = self._merged[0][-1] if self._merged else None
                if lane is None:
                    self._close(self._current)
                elif self._is_truncated(lane, lane.queue[0]):
                    heapq.heappop(self._merged)
                    self._place(lane)
                else:
                    return lane
                continue
            lane = self._numbered.get(self._last + 1)
            if lane is not None and lane.queue[0].lsn < self._lsn:
                self._merge()
                continue
            if lane is not None or not self._is_history_gap():
                return lane
            self.counters.history_gaps += 1
            self._give_up()

    def _is_all_read(self) -> bool:
        """Whether all of the open transaction is known to be there, and each partition's next row of it is read."""
        there = self._there
        return there is not None and self._lanes.keys() <= there.keys() and self.read_to(there)

    def _is_history_gap(self) -> bool:
        """What was trimmed before the first start does not come any more."""
        current = self._current
        if not self._trimmed or current is None or current.offset >= self._first_end:
            return False
        return all(lane.queue or lane.read >= lane.first_end for lane in self._lanes.values())

    def _give_up(self) -> None:
        if not self._gap and self._current is not None:
            self._given_up.append(self._current.transaction)
        self._gap = True
        if self._numbered:
            self._last = min(self._numbered) - 1
        elif self._current is not None:
            self._close(self._current)

    def _settle(self, lane: Lane) -> Row:
        row = lane.settle()
        self._forget_behind(lane)
        return row

    def _forget_behind(self, lane: Lane) -> None:
        if self._behind and lane.next >= lane.first_end:
            self._behind.discard(lane.partition)

    def _open_next(self) -> None:
        while self._current is None and self._ends:
            end, begun = self._ends.popleft()
            if end.lsn <= self.closed:
                self._check_not_back(end)
                continue
            self._current, self._last, self._gap, self._opened = end, 0, False, begun
            self._lsn, self._merging = 0, begun.get(end.transaction, 0) > 1
            self.counters.merged += self._merging
            truncated, self._truncated = self._truncated, {}
            if self._resume is not None:
                if self._resume[0] == end.lsn:
                    self._truncated = truncated
                    self._last = self._resume[1]
                    lanes = self._lanes.values()
                    self._lsn = max((lane.lsn for lane in lanes if lane.transaction == end.transaction), default=0)
                self._resume = None
            if end.events <= self._last and not self._merging:
                self._close_one(end)
                continue
            ready = []
            while self._waiting and self._waiting[0][0] < end.lsn:
                ready.append(heapq.heappop(self._waiting)[-1])
            for lane in ready:
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
        self._merging, self._there = False, None
        self._excused = self._excused and not self._gap
        self._numbered.clear()

    def _place(self, lane: Lane) -> None:
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

    def _place_numbered(self, lane: Lane, row: Row) -> None:
        current = self._current
        if row.last_commit and row.last_commit < self.closed:
            self._free.append(lane)  # late
        elif current is None or row.last_commit >= current.lsn:
            self._wait(lane, row)
        elif row.transaction != current.transaction:
            # without lastCommitLsn (the connector began anew) only time tells whether its END is still to come
            later = row.last_commit == 0 and row.committed_at >= current.committed_at and self.closed > 0
            if later:
                self._wait(lane, row)
            else:
                self._free.append(lane)  # late, or history before the first END
        elif self._merging:
            heapq.heappush(self._merged, (row.lsn, row.order, lane.partition, lane))
        elif self._is_counted_anew(lane, row, current):
            self._merge()
            heapq.heappush(self._merged, (row.lsn, row.order, lane.partition, lane))
        elif row.order <= self._last:
            self._free.append(lane)  # late
        else:
            self._numbered[row.order] = lane

    def _wait(self, lane: Lane, row: Row) -> None:
        heapq.heappush(self._waiting, (row.last_commit, row.order, lane.partition, lane))

    def _is_counted_anew(self, lane: Lane, row: Row, current: End) -> bool:
        """Whether the number of a row that is not repeated can be none of those that were given first."""
        if not row.lsn:
            return False
        falls = lane.has_mark_of(row) and row.order <= lane.order
        behind = row.order <= self._last and row.lsn > self._lsn > 0
        return falls or behind or row.order > current.events or row.order in self._numbered

    def _merge(self) -> None:
        """Merge what is left of the open transaction by LSN: its numbers mean nothing any more."""
        if self._merging or self._current is None:
            return
        self._merging, self._there, self._next = True, None, None
        self.counters.merged += 1
        self._opened[self._current.transaction] = 2
        lanes = list(self._numbered.values())
        self._numbered.clear()
        for lane in lanes:
            self._place(lane)

    def _repeated(self, lane: Lane, row: Row) -> bool:
        if row.op == "t" and self._is_truncated(lane, row):
            return True
        if lane.has_mark_of(row):
            return lane.is_marked(row, opened=self._is_open(row.transaction))
        if (row.last_commit, row.order) > (lane.last_commit, lane.order):
            return False
        if row.committed_at <= lane.newest:
            return True
        if row.last_commit == 0:
            return False  # the connector began anew: this transaction is not the one of the mark
        raise _went_back(f"row {row.order} after commit {row.last_commit}", _where(row.partition, row.offset))

    def _is_truncated(self, lane: Lane, row: Row) -> bool:
        """Whether the row is a truncate that was given: it has no key, so it may come again in another partition."""
        if row.op != "t" or not row.lsn or row.offset < lane.first_end:
            return False
        if self._is_open(row.transaction):
            other = self._numbered.get(row.order, lane)
            first = other.queue[0]
            waits = other is not lane and (first.op, first.table, first.lsn) == (row.op, row.table, row.lsn)
            return waits or row.lsn <= self._truncated.get(row.table, 0)
        return 0 < row.last_commit < self.closed and row.transaction not in self._given_up

    def _is_open(self, transaction: str) -> bool:
        """Whether it is the open transaction, or may be: after a restart its END must be read again."""
        return self._resume is not None or (self._current is not None and self._current.transaction == transaction)

    def _check_not_back(self, end: End) -> None:
        if end.committed_at > self._closed_at:
            raise _went_back(f"END of transaction {end.transaction}:{end.lsn}", f"transaction topic {end.offset}")

    def _check_history(self, lane: Lane, row: Row) -> None:
        if row.offset >= lane.first_end or lane.order:
            raise SourceRefused(
                "a change has no transaction block",
                where=_where(row.partition, row.offset),
                hint="the connector needs provide.transaction.metadata=true (`syncline init`)",
            )


def _where(partition: Partition, offset: int) -> str:
    return f"{partition[0]} [{partition[1]}] {offset}"


def _went_back(what: str, where: str) -> SourceRefused:
    return SourceRefused(
        f"the source went back: {what} is newer by time than what came before it, but older by LSN",
        where=where,
        hint="the database was restored or failed over with loss: snapshot it anew under another app name",
    )
