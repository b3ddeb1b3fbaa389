"""`syncline rollback [GENERATION]`: deploys again what was active before.

Parts that are still kept (`retain_removed`) come back without a replay; the plan says what is replayed otherwise.
"""

from __future__ import annotations

import argparse
import time

from connector import settings
from connector.cli.deploy import carry_out
from connector.cli.planning import ConfigFile
from connector.definitions.check import check
from connector.deploy.catalog import Catalog
from connector.errors import RequestRefused
from topologies.observe import observe


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "generation", metavar="GENERATION", nargs="?", type=int, help="default: the one that was active before"
    )
    parser.add_argument("--json", action="store_true", help="print one object at the end")
    parser.add_argument("--no-wait", action="store_true", help="do not wait for the switch")


def run(args: argparse.Namespace) -> int:
    known = settings.load(args.settings)
    return carry_out(known, chosen(observe(known).catalog, args.generation), as_json=args.json, wait=not args.no_wait)


def chosen(catalog: Catalog, generation: int | None) -> ConfigFile:
    """The config of an earlier deployment. Raises RequestRefused where there is none, or its text is not kept."""
    before = [d for d in catalog.deployments if d.kind == "deploy" and d.switched_at and d.state != "active"]
    wanted = [d for d in before if generation in (None, d.generation)]
    if not wanted:
        raise RequestRefused(_why_none(catalog, generation), hint="`syncline history` lists what there was")
    deployment = max(wanted, key=lambda d: (d.switched_at, d.generation))
    began = time.monotonic()
    checked = check(deployment.config, path=deployment.path)
    if checked.config is None:
        raise RequestRefused(
            f"the text of generation {deployment.generation} is not kept any more", hint="deploy its file"
        )
    return ConfigFile(deployment.path, deployment.config, checked.config, seconds=time.monotonic() - began)


def _why_none(catalog: Catalog, generation: int | None) -> str:
    if generation is None:
        return "no deployment was active before"
    deployment = catalog.deployment(generation)
    if deployment is None or deployment.kind != "deploy":
        return f"generation {generation} is not known"
    active = deployment.state == "active"
    return f"generation {generation} {'is the active one' if active else 'never was active'}"
