"""A version's compaction as the merge does it: from its op log to the rewrites that go into its commits (rule M4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from connector.oplog.compaction import compact, rewritten
from connector.oplog.ops import Op


def rewrites_of(ops: Iterable[Op], limit: int) -> Iterator[Op]:
    """The MOVEs and CLEARs for a version whose op log, in its order, is `ops`; nothing above op id `limit` is touched.

    They may be written in any number of commits: each is valid by itself, and whatever is appended to the log
    meanwhile makes none of them wrong. Takes memory for the version's ops without their texts.
    """
    histories: dict[str, list[Op]] = {}
    earlier: dict[str, list[Op]] = {}
    for op in ops:
        kept = histories if op["op"] in ("PUT", "REMOVE") else earlier
        kept.setdefault(op["bucket"], []).append({**op, "data": None})
    for bucket, history in histories.items():
        yield from compact(rewritten(history, earlier.get(bucket, ())), limit)
