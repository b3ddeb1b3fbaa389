"""Tables on a terminal: columns as wide as their widest cell, two spaces between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

GAP = "  "


def aligned(rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """One line per row; the columns in `right` are flush right. Columns that are empty throughout are left out."""
    table = [list(row) for row in rows]
    flush = set(right)
    widths = [max(map(len, column), default=0) for column in zip(*table, strict=True)]
    return [
        GAP.join(
            cell.rjust(width) if index in flush else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            if width
        ).rstrip()
        for row in table
    ]


def counted(count: int, what: str) -> str:
    """3 buckets, 1 bucket."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def size_text(number: float) -> str:
    """Bytes for a person: 3.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def seconds_text(seconds: float) -> str:
    """A duration for a person: 0.7 s, 48 s, 3 min 20 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
