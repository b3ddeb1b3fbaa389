"""The catalog, for those who read it. The values and the steps between them are in connector/merge/catalog.py."""

from connector.merge.catalog import (
    MAIN,
    Catalog,
    Comparison,
    DeployedDefinition,
    DeployedPart,
    Deployment,
    Overlay,
    ReplayEnd,
    Tributary,
    Version,
    tributary_name,
)

__all__ = [
    "MAIN",
    "Catalog",
    "Comparison",
    "DeployedDefinition",
    "DeployedPart",
    "Deployment",
    "Overlay",
    "ReplayEnd",
    "Tributary",
    "Version",
    "tributary_name",
]
