"""What became of a transaction that the broker has ended without marking its end in every partition.

Kafka calls it hanging (KIP-664). Each transaction of a writer has a number that never falls, and each partition it
writes to shows that number, at least in the transaction's last record there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from connector.errors import Gap


def committed_until(shown: int, tail: Iterable[int], seen: int) -> int:
    """The number up to which all transactions were committed.

    shown: the highest number that is visible in the partition that every transaction writes to, last of all
    tail: the numbers of those that hang there
    seen: the highest number that is visible in any partition
    Raises Gap where what is seen belongs to no transaction.
    """
    if seen <= shown:
        return shown
    ends = [number for number in tail if number >= seen]
    if not ends:
        raise Gap(f"number {seen} is visible, and no transaction from {shown} on has it")
    return min(ends)


def was_committed(until: int, tail: Sequence[int | None], where: str) -> bool:
    """Whether the records that hang in one partition are to be committed, by the numbers that they show.

    A number at the end is missing where the last transaction was never whole. Raises Gap where some of them were
    committed and others were not: the broker can end them only in one way.
    """
    kept = [number for number in tail if number is not None and number <= until]
    if not kept:
        return False
    beyond = [number for number in tail if number is not None and number > until]
    if beyond or tail[-1] is None:
        raise Gap(
            f"transactions up to {until} were committed, what follows was not, and the broker holds both open as one",
            where=where,
            hint="restore the topics of the app to one moment, or give Syncline another app name",
        )
    return True
