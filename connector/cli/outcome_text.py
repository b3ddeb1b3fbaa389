"""What a deploy did, as a person reads it: the plan's table with what really happened beside the estimate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connector.cli.columns import aligned, seconds_text
from connector.cli.plan_text import table_lines, version_text, without_repeats
from connector.deploy.plan import Plan

HEADINGS = ("definition", "part", "", "version", "estimated", "replayed", "buckets", "rows", "ops")
RIGHT = (3, 4, 5, 6, 7, 8)


def outcome_lines(plan: Plan, done: dict[str, Any]) -> Iterator[str]:
    """The table, then the sums."""
    parts = {(p["kind"], p["definition"], p["part"]): p for p in done["parts"]}
    rows = [HEADINGS]
    for line in table_lines(plan):
        replay, part = plan.replay_of(line.change), parts.get(line.key)
        if part is None or line.change.kind == "removed":
            continue
        estimated, replayed = (f"{replay.rows:,} rows", f"{part['replayed_rows']:,} rows") if replay else ("", "")
        rows.append(
            (
                *(line.change.part.definition, line.change.part.label, line.word),
                *(version_text(line.was, part["version"]), estimated, replayed),
                *(f"{part['buckets']:,}", f"{part['rows']:,}", f"{part['ops']:,}"),
            )
        )
    yield from aligned(without_repeats(rows), RIGHT)
    yield ""
    yield from _sums(plan, done["happened"])
    yield _untouched(done)


def _untouched(done: dict[str, Any]) -> str:
    """What the deploy did to what it was to leave alone (law 1); changes went on meanwhile."""
    kept = [p for p in done["parts"] if p["change"] == "unchanged"]
    changed, batches = sum(p["changed_ops"] for p in kept), done["happened"]["positions"]
    wrote = f"{sum(p['ops'] for p in kept) - changed:,}"
    came = f" by the deploy, {changed:,} by {batches:,} batches of changes that came meanwhile"
    return f"ops on unchanged parts: {wrote}{came if batches else ''}"


def _sums(plan: Plan, happened: dict[str, Any]) -> Iterator[str]:
    if plan.replays:
        yield from aligned(
            [
                ("", "estimated", "really"),
                ("rows replayed", f"{plan.rows:,}", f"{happened['rows']:,}"),
                ("replay took", seconds_text(plan.seconds), seconds_text(happened["seconds"])),
                ("rows/s", f"{plan.rate.rows_per_second:,.0f}", _number(happened["rows_per_second"])),
                ("active after", seconds_text(plan.active_in), _seconds(happened["active_in_seconds"])),
            ],
            (1, 2),
        )
        yield ""


def _number(value: int | None) -> str:
    return f"{value:,}" if value is not None else "-"


def _seconds(value: float | None) -> str:
    return seconds_text(value) if value is not None else "-"
