"""What the sequencer reads, as values: rows and transaction ends, with where they came from."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal, NamedTuple

Partition = tuple[str, int]  # CDC topic and partition number


class Kind(IntEnum):
    """How a record finds its place among the others (rules S3, S4)."""

    NUMBERED = 0  # a row of a transaction: waits for its number
    READ = 1  # a snapshot read: passes in its partition's order
    BARE = 2  # c, u, d or t without a transaction block: allowed only as history
    TOMBSTONE = 3  # null value: a delete, unless it follows its own delete record
    UNREADABLE = 4  # value that cannot be decoded: has no number either
    SILENT = 5  # nothing to pass on and not numbered, e.g. a logical message outside transactions


class Row(NamedTuple):
    """One record of a CDC topic, decoded as far as the sequencer needs it."""

    partition: Partition
    offset: int
    kind: Kind
    op: str  # c u d t r m; "" where there is none
    table: str  # schema.table of the source, of a logical message its prefix; "" where not known
    key: str | None  # canonical source key; None where the record has none or it cannot be decoded
    columns: tuple[tuple[str, str], ...]  # name and canonical type of the key's columns
    schema: int  # id of the row's own schema; 0 where there is no row
    row: bytes  # the row alone, of a logical message its content; empty where there is none
    last_commit: int  # lastCommitLsn; 0 where the source says null
    order: int  # total_order; 0 where there is none
    transaction: str  # transaction id of the source; "" where there is none
    committed_at: int  # source.ts_ms
    held: bool  # has a TOAST placeholder (rule S10)
    reason: str  # why it is unreadable, or its key is
    size: int  # bytes of key and value
    lsn: int = 0  # of the row's own entry in the source's log; rows of one entry share it. 0 where the source says null

    @property
    def identity(self) -> str:
        """Tells the row from the others of its partition that have its LSN; its number does where there is no key."""
        return self.key or ("" if self.op in "tm" else f"#{self.order}")


class Begin(NamedTuple):
    """A BEGIN of one source transaction; the connector counts its rows anew from here."""

    offset: int
    transaction: str


class End(NamedTuple):
    """The END of one source transaction."""

    offset: int
    lsn: int  # L: rises always
    events: int  # numbered records of the transaction, since its last BEGIN
    transaction: str
    committed_at: int
    tables: tuple[str, ...] = ()  # with records in it


class Missing(NamedTuple):
    """What an open transaction waits for (rule S5)."""

    transaction: str
    lsn: int
    number: int
    events: int
    tables: tuple[str, ...]  # of the transaction; the missing row is of one of them


class Rejected(NamedTuple):
    """A record set aside (law 11)."""

    table: str
    key: str
    partition: Partition
    offset: int
    reason: str


ChangeOp = Literal["UPSERT", "DELETE", "UNREADABLE"]


class Change(NamedTuple):
    """One change as it goes into the change log."""

    table: str
    topic: str
    op: ChangeOp
    key: str
    schema: int
    row: bytes
    partition: int
    offset: int


class Truncate(NamedTuple):
    """A table emptied at this place of the order."""

    table: str
    topic: str
