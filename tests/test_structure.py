"""Imports go one way only, without a cycle (docs/architecture.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Each layer may import its own and the ones after it.
LAYERS = (
    ("connector.cli", "connector.__main__"),
    ("topologies",),
    ("connector.deploy", "connector.store", "connector.local", "connector.sync", "schemas"),
    ("connector.definitions", "connector.source", "connector.evaluation", "connector.oplog", "connector.merge"),
    (
        "connector.errors",
        "connector.values",
        "connector.position",
        "connector.settings",
        "connector.crash",
        "connector.hanging",
        "connector",
    ),
)
CORE = LAYERS[3] + LAYERS[4]
OUTSIDE_THE_CORE = ("faust", "confluent_kafka", "time", "datetime", "httpx", "psycopg", "rocksdict")


def modules() -> dict[str, Path]:
    files = [f for folder in ("connector", "topologies", "schemas") for f in (ROOT / folder).rglob("*.py")]
    return {".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f for f in files}


def imports(file: Path) -> set[str]:
    """Modules imported when the file is (not inside functions, not for type checkers only)."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer(module: str) -> int:
    matches = [
        (len(name), level)
        for level, names in enumerate(LAYERS)
        for name in names
        if module == name or module.startswith(name + ".")
    ]
    return max(matches)[1]


def test_imports_go_one_way() -> None:
    known = modules()
    wrong = [
        f"{module} imports {target}"
        for module, file in known.items()
        for target in imports(file) & known.keys()
        if layer(target) < layer(module)
    ]
    assert not wrong, wrong


def test_no_cycle() -> None:
    known = modules()
    graph = {module: (imports(file) & known.keys()) - {module} for module, file in known.items()}
    packages = {module for module, file in known.items() if file.name == "__init__.py"}
    # `from connector import settings` names the package and the module; only the module counts
    graph = {
        module: {t for t in targets if t not in packages or not any(o.startswith(t + ".") for o in targets)}
        for module, targets in graph.items()
    }
    assert len(list(TopologicalSorter(graph).static_order())) == len(known)


def test_core_is_pure() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, file in modules().items()
        if any(module == core or module.startswith(core + ".") for core in CORE if core != "connector")
        for name in imports(file)
        if name.split(".")[0] in OUTSIDE_THE_CORE
    ]
    assert not wrong, wrong


@pytest.mark.parametrize(
    "module", ["topologies.sequence", "topologies.stream", "topologies.serve", "connector.cli.status"]
)
def test_who_only_runs_plans_starts_without_the_parser(module: str) -> None:
    asked = f"import sys, {module}; sys.exit('sqlglot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], cwd=ROOT, check=False).returncode == 0
