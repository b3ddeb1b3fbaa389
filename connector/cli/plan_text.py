"""A plan as a person reads it: a line per part, why it changes, then what it all costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from connector.cli.columns import aligned, counted, seconds_text, size_text
from connector.deploy.costs import SOURCE_RATE, TableSize
from connector.deploy.diff import PartChange
from connector.deploy.plan import Plan

HEADINGS = ("definition", "part", "", "version", "replays", "", "takes", "clients download again")
RIGHT = (3, 4, 5, 6)
SILENT = ("equal", "added", "removed", "replaced")  # reasons that the word in the table has said


@dataclass(frozen=True, slots=True)
class Line:
    """One part of the table; a removed part that a new one replaces is one line with it, `was` its version."""

    change: PartChange
    was: int | None

    @property
    def word(self) -> str:
        return "changed" if self.was is not None else self.change.kind

    @property
    def key(self) -> tuple[str, str, str]:
        return self.change.part.kind, self.change.part.definition, self.change.part.label


def table_lines(plan: Plan) -> list[Line]:
    """The plan's parts, those of one definition one after another."""
    removed = {_key(c): c for c in plan.changes if c.kind == "removed"}
    lines = []
    for change in plan.changes:
        if change.kind == "removed" and _key(change) in removed:
            lines.append(Line(change, None))
        elif change.kind != "removed":
            before = removed.pop(_key(change), None) if change.kind in ("new", "adopted", "restored") else None
            lines.append(Line(change, before.version if before is not None else None))
    order = {line.change.part.definition: index for index, line in reversed(list(enumerate(lines)))}
    return sorted(lines, key=lambda line: order[line.change.part.definition])


def plan_lines(plan: Plan) -> Iterator[str]:
    """The whole plan."""
    yield f"plan against generation {plan.base}" if plan.base else "plan: first deploy"
    if plan.supersedes:
        yield f"takes the place of generation {plan.supersedes}, which is pending; what both want goes on"
    if plan.follows:
        yield f"generation {plan.follows}, which is pending, has all of it: a deploy follows that one"
    yield ""
    lines = table_lines(plan)
    rows = [HEADINGS, *(_cells(plan, line) for line in lines)]
    shown = aligned(without_repeats(rows), RIGHT)
    indent = " " * (max(len(row[0]) for row in rows) + 4)
    yield shown[0]
    for line, text in zip(lines, shown[1:], strict=True):
        yield text
        if line.change.reason not in SILENT:
            yield from (indent + reason for reason in line.change.reason.splitlines())
    yield ""
    yield from cost_lines(plan)


def cost_lines(plan: Plan) -> Iterator[str]:
    """What it all costs."""
    if plan.nothing_to_do:
        yield "nothing to do"
        return
    yield from replay_lines(plan)
    yield from source_lines(plan)
    yield f"active after about {seconds_text(plan.active_in)}; nothing is paused meanwhile"
    buckets, rows = sum(d.buckets for d in plan.downloads), sum(d.rows for d in plan.downloads)
    if buckets:
        by = (
            f", by {plan.affected:,} of {counted(plan.connected, 'connected client')}"
            if plan.affected is not None
            else ""
        )
        yield f"clients download again: {counted(buckets, 'bucket')}, {counted(rows, 'row')}{by}"


def replay_lines(plan: Plan) -> Iterator[str]:
    """What is replayed, and what is left of replays that are under way."""
    rate = plan.rate.rows_per_second
    how = "--max-rate" if plan.limited else "as the last replays" if plan.rate.measured else "a guess"
    if plan.replays:
        yield (
            f"replays {plan.rows:,} rows ({size_text(plan.bytes)}) of {_tables(plan.replays)}, about "
            f"{seconds_text(plan.rows / rate)} at {rate:,.0f} rows/s ({how})"
        )
    if plan.adopted:
        yield (
            f"goes on with a replay that has {plan.adopted_rows:,} rows left of {_tables(plan.adopted)}, about "
            f"{seconds_text(plan.adopted_rows / rate)} at {rate:,.0f} rows/s ({how})"
        )
    if not (plan.replays or plan.adopted):
        yield "replays nothing"


def source_lines(plan: Plan) -> Iterator[str]:
    """What is read from the database itself."""
    for read in plan.reads:
        rows = "rows that it has not counted" if read.rows is None else f"about {counted(read.rows, 'row')}"
        said = f"{rows}, {size_text(read.bytes)} by the database's own estimate"
        takes = f"about {seconds_text(read.seconds)} at {SOURCE_RATE:,.0f} rows/s (a guess)"
        if read.new:
            yield f"captures {read.table}, which is new, and reads it ({said}) once by incremental snapshot, {takes}"
        else:
            yield f"waits for {read.table} ({said}), which is being read from the database, {takes} for what is left"
    if not plan.reads:
        yield "the database is not read"


def _tables(sizes: Iterable[TableSize]) -> str:
    names = sorted({size.table for size in sizes})
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} tables"


def _key(change: PartChange) -> tuple[str, str, str]:
    return change.part.kind, change.part.definition, change.part.label


def _cells(plan: Plan, line: Line) -> tuple[str, ...]:
    change, replay = line.change, plan.replay_of(line.change)
    costs = (f"{replay.rows:,} rows", size_text(replay.bytes), seconds_text(replay.seconds)) if replay else ("", "", "")
    return (
        change.part.definition,
        change.part.label,
        line.word,
        version_text(line.was, change.version),
        *costs,
        _download(plan, change),
    )


def version_text(was: int | None, version: int | None) -> str:
    """`3`, `3 → new`, nothing for a part that is only new, or after the deploy `3 → 12`."""
    if version is None:
        return f"{was} → new" if was is not None else ""
    return f"{was} → {version}" if was is not None else str(version)


def _download(plan: Plan, change: PartChange) -> str:
    """Once per definition, at its bucket part."""
    if change.kind in ("unchanged", "removed") or change.part.kind != "bucket":
        return ""
    again = [d for d in plan.downloads if d.definition == change.part.definition]
    if not again:
        return ""
    cost = f"{counted(sum(d.buckets for d in again), 'bucket')}, {counted(sum(d.rows for d in again), 'row')}"
    clients = again[0].clients
    return cost if clients is None else f"{cost}, {counted(clients, 'client')}"


def without_repeats(rows: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """A definition's name stands at its first part only."""
    last = ""
    for row in rows:
        yield ("" if row[0] == last else row[0], *row[1:])
        last = row[0]
