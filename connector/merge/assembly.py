"""Records cut into parts are put together; only a complete attempt counts (rule T4)."""

from __future__ import annotations

from connector.merge.state import Evaluated


class Assembly:
    """The parts seen so far for a stream's next record, per attempt: two writers may interleave theirs."""

    def __init__(self) -> None:
        self._attempts: dict[str, list[Evaluated]] = {}

    def add(self, record: Evaluated) -> Evaluated | None:
        """The whole record once all parts of one attempt have come in order; None before."""
        if record["parts"] <= 1:
            return record
        if record["part"] == 0:
            self._attempts[record["attempt"]] = []
        parts = self._attempts.get(record["attempt"])
        if parts is None or len(parts) != record["part"]:
            self._attempts.pop(record["attempt"], None)
            return None
        parts.append(record)
        return _joined(self._attempts.pop(record["attempt"])) if len(parts) == record["parts"] else None

    def forget(self) -> None:
        """The record they belong to is taken: whatever else was begun for it is void."""
        self._attempts.clear()


def _joined(parts: list[Evaluated]) -> Evaluated:
    whole = parts[0].copy()
    whole["tables"] = [table for part in parts for table in part["tables"]]
    whole["rejected"] = [row for part in parts for row in part["rejected"]]
    whole["part"], whole["parts"] = 0, 1
    return whole
