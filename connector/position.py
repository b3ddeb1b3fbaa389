"""Numbers with types: positions, offsets, versions, op ids. Compared and made here only."""

from __future__ import annotations

from typing import NewType

Position = NewType("Position", int)  # the number of a batch in the change log, from 1; 0 is before the first
Offset = NewType("Offset", int)  # of a Kafka record
Version = NewType("Version", int)  # one part as first deployed
OpId = NewType("OpId", int)

OPS_PER_COMMIT = 1 << 20


def op_id(commit: int, index: int) -> OpId:
    """The id of the commit's op number `index`, from 0 (rule M2).

    Raises ValueError where the commit has no room for it.
    """
    if not 0 <= index < OPS_PER_COMMIT:
        raise ValueError(f"op {index} of commit {commit} is beyond {OPS_PER_COMMIT} ops per commit")
    return OpId(commit * OPS_PER_COMMIT + index)


def commit_of(op: OpId) -> int:
    """The number of the commit that wrote the op."""
    return op // OPS_PER_COMMIT
