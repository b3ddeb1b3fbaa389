"""What `plan` and `deploy` share: reading a sync config, making the plan from what is deployed, printing it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from connector.cli.sync_config import read_text, source_tables
from connector.definitions import SyncConfig, check
from connector.definitions.patterns import expanded
from connector.deploy.plan import LONGEST_REPLAY, Plan, make_plan
from connector.deploy.requests import adoptable, deployed, pending_deploys, retained
from connector.errors import RequestRefused
from connector.settings import Settings
from topologies.observe import Observation, observe, table_sizes


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A sync config that can be deployed."""

    path: str
    text: str
    config: SyncConfig


def read_config(path: str, settings_file: str | None) -> ConfigFile | None:
    """The config, checked against the source; None, with every error printed, where it cannot be deployed."""
    text = read_text(path)
    tables, _ = source_tables(settings_file)
    checked = check(text, path=path, tables=tables)
    for diagnostic in checked.diagnostics:
        print(diagnostic.report(), file=sys.stderr)
    return ConfigFile(path, text, checked.config) if checked.config is not None else None


def plan_of(settings: Settings, file: ConfigFile) -> tuple[Plan, Observation]:
    """The plan against the deployment in force now."""
    seen = observe(settings)
    active = seen.catalog.active
    superseded = max((d.generation for d in pending_deploys(seen.catalog)), default=0)
    counted = {v["version"]: (v["buckets"], v["rows"]) for v in seen.commit["versions"]} if seen.commit else {}
    patterns = {pattern for one in file.config.definitions for part in one.parts for pattern in part.tables}
    known = seen.progress["state"]["tables"] if seen.progress is not None else ()
    plan = make_plan(
        file.config,
        active=deployed(seen.catalog),
        pending=adoptable(seen.catalog),
        retained=retained(seen.catalog, seen.standing),
        supersedes=superseded,
        base=seen.catalog.generation,
        same_text=active is not None and active.config == file.text,
        sizes=table_sizes(settings, expanded(patterns, known)),
        counts=counted,
    )
    return plan, seen


def print_plan(plan: Plan, *, as_json: bool) -> None:
    """The plan for a person, or the stable object."""
    print(json.dumps(plan.as_json()) if as_json else "\n".join(plan_lines(plan)))


def plan_lines(plan: Plan) -> Iterable[str]:
    """The plan as a person reads it."""
    yield f"plan against generation {plan.base}" if plan.base else "plan: first deploy"
    if plan.supersedes:
        yield f"takes the place of generation {plan.supersedes}, which is pending; what both want goes on"
    for change in plan.changes:
        version = f"version {change.version}" if change.version is not None else ""
        yield f"  {change.part.definition:<20} {change.part.label:<20} {change.kind:<10} {version}".rstrip()
        if change.kind != "unchanged":
            yield from (f"      {line}" for line in change.reason.splitlines())
    if plan.replays:
        yield f"replays {plan.rows:,} rows ({size_text(plan.bytes)}) of {len(plan.replays)} snapshot topics,"
        yield f"  about {plan.seconds:.1f} s at {plan.rate:,.0f} rows/s; the database is not read, nothing is paused"
    for download in plan.downloads:
        yield f"clients download again: {download.definition}, {download.buckets:,} buckets, {download.rows:,} rows"
    if plan.nothing_to_do:
        yield "nothing to do"


def size_text(number: float) -> str:
    """Bytes for a person: 3.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def refuse_too_long(plan: Plan) -> None:
    """Raises RequestRefused for a replay that compaction could overtake (rule T7)."""
    if plan.seconds > LONGEST_REPLAY:
        raise RequestRefused(
            f"a replay of {plan.rows:,} rows takes about {plan.seconds:.0f} s; compaction could overtake it",
            hint="raise min.compaction.lag.ms of the snapshot topics, or change fewer definitions at once",
        )
