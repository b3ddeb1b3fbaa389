"""A connector in miniature: transactions in, records in partitions out, with the faults of the real one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from connector.source.lane import LaneState
from connector.source.order import Order, OrderState
from connector.source.records import Begin, End, Kind, Partition, Row

TABLE = "public.todos"
TOPIC = "source.public.todos"
COLUMNS = (("id", "text"),)
START = 1_700_000_000_000


def row(
    partition: int,
    offset: int,
    *,
    key: str = "k",
    op: str = "u",
    last_commit: int = 0,
    order: int = 0,
    transaction: str = "",
    committed_at: int = START,
    kind: Kind = Kind.NUMBERED,
    held: bool = False,
    columns: tuple[tuple[str, str], ...] = COLUMNS,
    body: bytes = b"row",
    reason: str = "",
    topic: str = TOPIC,
    table: str = TABLE,
    lsn: int = 0,
) -> Row:
    """A row as the decoder gives it."""
    text = None if key == "" or op == "t" else f'["{table}","{key}"]'
    upsert = op in ("c", "u", "r") and kind is not Kind.UNREADABLE
    return Row(
        (topic, partition),
        offset,
        kind,
        op,
        table,
        text,
        columns if text else (),
        7 if upsert else 0,
        body if upsert else b"",
        last_commit,
        order,
        transaction,
        committed_at,
        held,
        reason,
        100,
        lsn,
    )


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a transaction: where its key lies, and what is done."""

    partition: int
    key: str = "k"
    op: str = "u"
    shares: bool = False  # its entry in the log with the change before it


@dataclass(frozen=True, slots=True)
class Tear:
    """A connector's death inside a transaction: how many rows it had sent since it came, how many of these it knows to
    be in Kafka, and how many of the others are not, per partition."""

    sent: int
    stored: int
    lost: tuple[int, int, int] = (0, 0, 0)


@dataclass
class Connector:
    """Writes transactions to partitions as Debezium does; can be set back to any record it wrote."""

    partitions: int = 3
    topics: dict[Partition, list[Row]] = field(default_factory=dict)
    ends: list[Begin | End] = field(default_factory=list)
    written: list[Row | End] = field(default_factory=list)  # in the order of the first writing
    _lsn: int = 100
    _id: int = 500
    _last: int = 0
    _wal: int = 0
    _truncates: int = 0

    def __post_init__(self) -> None:
        self.topics = {(TOPIC, number): [] for number in range(self.partitions)}

    def commit(self, changes: Sequence[Change], *, end: bool = True) -> str:
        """One transaction; its id."""
        self._id += 1
        self._lsn += 10
        name, moment = str(self._id), START + self._lsn
        for number, change in enumerate(changes, 1):
            self._write(
                row(
                    change.partition,
                    0,
                    key=change.key,
                    op=change.op,
                    last_commit=self._last,
                    order=number,
                    transaction=name,
                    committed_at=moment,
                    lsn=self._entry(change),
                )
            )
        if end:
            self._write(End(0, self._lsn, len(changes), name, moment))
            self._last = self._lsn
        return name

    def torn(self, changes: Sequence[Change], tears: Sequence[Tear]) -> str:
        """One transaction, inside which the connector dies and goes on, counting anew; its id."""
        name = self.commit(changes, end=False)
        rows = self.written[len(self.written) - len(changes) :]
        for log in self.topics.values():
            while log and log[-1].transaction == name:
                log.pop()  # written below as the connector did
        self.ends.pop()
        begun = 0  # rows before the ones that are counted
        for tear in tears:
            sent = min(len(rows), begun + tear.sent)
            stored = min(sent, begun + tear.stored)
            self._count(name, rows[begun:sent])
            open_to_loss = {(row_.lsn, row_.key) for row_ in rows[stored:sent] if row_.op != "t"}  # decision 57, left
            for partition, lost in enumerate(tear.lost):
                log = self.topics[TOPIC, partition]
                for _ in range(lost):
                    if log and (log[-1].lsn, log[-1].key) in open_to_loss:
                        log.pop()
            begun = stored
        self._count(name, rows[begun:])
        end = End(0, self._lsn, len(rows), name, START + self._lsn)
        self.written.append(end)
        self.ends.append(end._replace(offset=len(self.ends), events=len(rows) - begun))
        self._last = self._lsn
        return name

    def _count(self, name: str, rows: Sequence[Row]) -> None:
        self.ends.append(Begin(len(self.ends), name))
        for number, row_ in enumerate(rows, 1):
            self._log(row_._replace(order=number))

    def _entry(self, change: Change) -> int:
        self._wal += 0 if change.shares and self._wal else 1
        return self._wal

    def read(self, partition: int, key: str) -> None:
        """A snapshot read."""
        self._write(row(partition, 0, key=key, op="r", kind=Kind.READ))

    def set_back(self, records: int) -> None:
        """Write the last so many records once more, as after a crash or a PATCH of the offsets.

        Where no commit was known, Debezium takes the offset's own LSN for the last commit's.
        """
        for record in self.written[len(self.written) - records :]:
            self._append(_gone_on(record) if isinstance(record, Row) else record)

    def begin_anew(self) -> None:
        """The offsets were deleted: no commit is known."""
        self._last = 0

    def expected(self) -> list[tuple[str, int]]:
        """(transaction, number) of every row in commit order."""
        ended = {record.transaction for record in self.written if isinstance(record, End)}
        return [
            (record.transaction, record.order)
            for record in self.written
            if isinstance(record, Row) and record.kind is Kind.NUMBERED and record.transaction in ended
        ]

    def entries(self) -> list[tuple[str, int, str | None]]:
        """(transaction, LSN, key) of every row in commit order, those of one entry by key."""
        rows = {(r.transaction, r.order): r for r in self.written if isinstance(r, Row)}
        return by_entry(rows[place] for place in self.expected())

    def _write(self, record: Row | End) -> None:
        self.written.append(record)
        self._append(record)

    def _append(self, record: Row | End) -> None:
        if isinstance(record, End):
            if record.events == 0:
                self.ends.append(Begin(len(self.ends), record.transaction))
            self.ends.append(record._replace(offset=len(self.ends)))
        else:
            if record.order == 1:
                self.ends.append(Begin(len(self.ends), record.transaction))
            self._log(record)

    def _log(self, record: Row) -> None:
        """A truncate has no key: wherever it comes again, it is in another partition."""
        topic, number = record.partition
        if record.op == "t":
            number = self._truncates = (self._truncates + 1) % self.partitions
        log = self.topics[topic, number]
        log.append(record._replace(partition=(topic, number), offset=len(log)))


def _gone_on(record: Row) -> Row:
    """The record as a connector writes it that has gone on inside its transaction."""
    if record.kind is not Kind.NUMBERED or record.last_commit:
        return record
    return record._replace(last_commit=record.committed_at - START - 5)


class Reader:
    """Reads a connector's topics into an order, piece by piece, and starts anew from its snapshot."""

    def __init__(self, connector: Connector, state: OrderState | None = None) -> None:
        self.connector = connector
        self.state = state or fresh(connector)
        self.order = Order(self.state)
        self.at = {partition: lane.next for partition, lane in self.state.lanes.items()}
        self.end_at = self.state.end_next
        self.given: list[Row] = []
        self.there = -1  # behind which transaction all of the open one is known to be there

    def read(self, partition: int, rows: int = 1) -> None:
        """Read further rows of a partition."""
        name = (TOPIC, partition)
        log = self.connector.topics[name]
        for _ in range(min(rows, len(log) - self.at[name])):
            self.order.push(log[self.at[name]])
            self.at[name] += 1

    def read_ends(self, ends: int = 1) -> None:
        """Read on to the so many further ENDs."""
        while ends and self.end_at < len(self.connector.ends):
            record = self.connector.ends[self.end_at]
            self.end_at += 1
            if isinstance(record, Begin):
                self.order.push_begin(record)
            else:
                self.order.push_end(record)
                ends -= 1

    def read_all(self) -> None:
        """Read all there is, then give what is ready."""
        self.read_ends(1 << 30)
        for number in range(self.connector.partitions):
            self.read(number, 1 << 30)
        self.give()

    def give(self) -> list[Row]:
        """Take every row that is ready."""
        out = []
        while (taken := self.take()) is not None:
            out.append(taken)
        self.given += out
        return out

    def take(self) -> Row | None:
        """Take a row, where one is ready; where all of a transaction must be there, it is."""
        while self.order.peek() is None:
            if not self.order.merging or self.there == self.order.closed:
                return None
            self.order.all_there({partition: len(log) for partition, log in self.connector.topics.items()})
            self.there = self.order.closed
        return self.order.take()

    def restart(self) -> Reader:
        """A new process that goes on from the snapshot; what was given stays given."""
        again = Reader(self.connector, self.order.snapshot())
        again.given = self.given
        return again

    def numbers(self) -> list[tuple[str, int]]:
        """(transaction, number) of what was given, snapshot reads left out."""
        return [(given.transaction, given.order) for given in self.given if given.order]

    def entries(self) -> list[tuple[str, int, str | None]]:
        """(transaction, LSN, key) of what was given, snapshot reads left out; those of one entry by key."""
        return by_entry(given for given in self.given if given.order)


def by_entry(rows: Iterable[Row]) -> list[tuple[str, int, str | None]]:
    """(transaction, LSN, key) in the rows' order; which row of one entry comes first does not matter."""
    entries = groupby(rows, key=lambda given: (given.transaction, given.lsn))
    return [(*entry, key) for entry, same in entries for key in sorted(given.key or "" for given in same)]


def fresh(connector: Connector, **more: object) -> OrderState:
    """The state of a first start before anything was written."""
    return OrderState(lanes={partition: LaneState(next=0) for partition in connector.topics}, **more)  # type: ignore[arg-type]
