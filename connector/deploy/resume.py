"""What a resume evaluates anew: the stopped versions of a definition, each as a shadow (rule D6)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from connector.definitions.model import Options
from connector.deploy.diff import PartChange
from connector.merge.catalog import Catalog, Overlay, Version


def stopped_versions(catalog: Catalog, definition: str) -> list[Version]:
    """The stopped versions of an active definition, by number."""
    active = catalog.active.definitions if catalog.active is not None else ()
    own = {part.version for one in active if one.name == definition for part in one.parts}
    return [v for v in catalog.versions if v.version in own and v.stopped_at]


def staying_stopped(catalog: Catalog, changes: Iterable[PartChange]) -> list[str]:
    """The definitions, as they are called then, of which a deploy keeps a part that is stopped."""
    stopped = {version.version for version in catalog.versions if version.stopped_at}
    return sorted({c.part.definition for c in changes if c.kind == "unchanged" and c.version in stopped})


def shadows(versions: Sequence[Version], first: int, stream: str) -> tuple[list[Version], tuple[Overlay, ...]]:
    """A throw-away copy of each version, numbered from `first`, as this release evaluates it."""
    copies = [
        replace(
            v,
            version=first + index,
            evaluation=Options.of_plan(json.loads(v.plan)).evaluation(),
            state="throwaway",
            stream=stream,
            stopped_at=0,
            stopped_position=0,
            stopped_because="",
        )
        for index, v in enumerate(versions)
    ]
    return copies, tuple(Overlay(copy.version, v.version) for copy, v in zip(copies, versions, strict=True))
