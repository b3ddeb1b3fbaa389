"""The catalog, for those who read it. The steps from one to the next are in connector/merge: catalog.py, endings.py."""

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
