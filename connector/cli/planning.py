"""What `plan` and `deploy` share: reading a sync config, making the plan from what is deployed, printing it."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass, replace

from connector.cli.plan_text import plan_lines
from connector.cli.sync_config import read_text, source_tables
from connector.definitions.check import check
from connector.definitions.model import SyncConfig
from connector.definitions.patterns import expanded
from connector.deploy.adopted import adopted_shares
from connector.deploy.costs import TableSize
from connector.deploy.diff import diff
from connector.deploy.generation import followed, is_active
from connector.deploy.known import adoptable, deployed, pending_generation, retained
from connector.deploy.misnamed import warnings
from connector.deploy.plan import Plan, make_plan, replayed_tables
from connector.deploy.plan_file import Expected, check_still, read
from connector.deploy.rates import measured_rate
from connector.deploy.resume import staying_stopped
from connector.errors import RequestRefused
from connector.settings import Settings
from connector.sync.connected import Connected
from schemas.codec import Codec
from topologies.capture import reads
from topologies.nodes import read_nodes
from topologies.observe import codec_of, observe
from topologies.sizes import table_sizes
from topologies.topic_settings import compaction_lag_ms


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A sync config that can be deployed, and how long it took to parse."""

    path: str
    text: str
    config: SyncConfig
    expected: Expected | None = None  # the plan that this one must be
    seconds: float = 0.0


def read_config(path: str, settings_file: str | None) -> ConfigFile | None:
    """The config, checked against the source; None, with every error printed, where it cannot be deployed.

    `path` may be a plan file, which holds its config.
    """
    text = read_text(path)
    plan = read(text, path)
    if plan is not None:
        path, text = plan.path, plan.config
    tables, _ = source_tables(settings_file)
    began = time.monotonic()
    checked = check(text, path=path, tables=tables)
    took = time.monotonic() - began  # without what it takes to print
    for diagnostic in checked.diagnostics:
        print(diagnostic.report(), file=sys.stderr)
    if checked.config is None:
        return None
    return ConfigFile(path, text, checked.config, plan.expected if plan is not None else None, took)


def plan_of(settings: Settings, file: ConfigFile, *, codec: Codec | None = None, max_rate: int = 0) -> Plan:
    """The plan against the deployment in force now. Raises RequestRefused where it is not the one expected."""
    for warning in warnings(settings, [definition.name for definition in file.config.definitions]):
        print(f"warning: {warning}", file=sys.stderr)
    codec = codec or codec_of(settings)
    seen = observe(settings, codec)
    counted = {v["version"]: (v["buckets"], v["rows"]) for v in seen.commit["versions"]} if seen.commit else {}
    active_parts, pending = deployed(seen.catalog), adoptable(seen.catalog)
    kept = retained(seen.catalog, seen.standing)
    changes = diff(active_parts, file.config, pending=pending, retained=kept)
    for name in staying_stopped(seen.catalog, changes):
        print(f'warning: "{name}" is stopped and stays so: syncline resume {name} lets it go on', file=sys.stderr)
    pending_same = followed(seen.catalog, file.config, changes)
    needed = {pattern for one in file.config.definitions for part in one.parts for pattern in part.tables}
    known = seen.progress["state"]["tables"] if seen.progress is not None else {}
    replayed = expanded(replayed_tables(changes), known)
    shares = adopted_shares(seen.catalog, changes, seen.commit, known)
    complete = {name for name, table in known.items() if table["complete"] is not None and table["refused"] is None}
    source = reads(settings, needed, complete)
    sizes = _measured(settings, {*replayed, *(table for table, _ in shares), *(read.table for read in source)})
    nodes = read_nodes(settings, codec) if any(change.kind == "removed" for change in changes) else []
    plan = make_plan(
        file.config,
        active=active_parts,
        pending=pending,
        retained=kept,
        supersedes=pending_generation(seen.catalog),
        follows=pending_same.generation if pending_same is not None else 0,
        base=seen.catalog.generation,
        same=is_active(seen.catalog, file.config, changes),
        sizes=sizes,
        counts=counted,
        reads=[replace(read, arrived=sizes[read.table].rows) if read.table in sizes else read for read in source],
        rate=measured_rate(seen.catalog.deployments),
        max_rate=max_rate,
        lag_ms=compaction_lag_ms(settings, replayed),
        adopted=[sizes[table].part(share) for table, share in shares if table in sizes],
        clients=Connected(nodes) if nodes else None,
    )
    if file.expected is not None:
        check_still(plan, file.expected)
    return plan


def _measured(settings: Settings, tables: Collection[str]) -> dict[str, TableSize]:
    return table_sizes(settings, sorted(tables)) if tables else {}


def print_plan(plan: Plan, *, as_json: bool) -> None:
    """The plan for a person, or the stable object."""
    print(json.dumps(plan.as_json()) if as_json else "\n".join(plan_lines(plan)))


def refuse_too_long(plan: Plan) -> None:
    """Raises RequestRefused for a replay that compaction could overtake (rule T7)."""
    if plan.too_long:
        raise RequestRefused(
            f"a replay of {plan.rows:,} rows takes at least {plan.own_seconds:.0f} s, more than {plan.longest:.0f} s: "
            "compaction could overtake it",
            hint=f"set min.compaction.lag.ms of the snapshot topics to {_lag_for(plan):,} or more, or change fewer "
            "definitions at once",
        )


def _lag_for(plan: Plan) -> int:
    """A lag in whole minutes with which the plan would do."""
    return math.ceil(plan.own_seconds * 2 / 60) * 60_000
