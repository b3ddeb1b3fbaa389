"""Definitions that the settings name and nobody knows: `on_error` would look set, and stop nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from connector.deploy.catalog import Catalog
from connector.settings import Settings


def deployed_names(catalog: Catalog) -> frozenset[str]:
    """The definitions that are active or on their way; empty before the first deploy."""
    there = [d for d in catalog.deployments if d.pending or d.state == "active"]
    return frozenset(definition.name for deployment in there for definition in deployment.definitions)


def misnamed(settings: Settings, known: Collection[str]) -> list[str]:
    """The names in `on_error` that are not among the known ones."""
    return sorted(settings.on_error.keys() - set(known))


def warnings(settings: Settings, known: Collection[str]) -> Iterable[str]:
    """What is told of them. No error, since definitions come and go while the settings stay."""
    for name in misnamed(settings, known):
        near = get_close_matches(name, known, 1)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        yield f'`on_error` in {settings.path.name} names "{name}", which is no definition{hint}'
