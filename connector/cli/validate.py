"""`syncline validate FILE`: everything that is wrong with a sync config, at once.

Needs no server; where a settings file names a database that answers, unknown tables and columns are errors too.
Exit 0 where the file can be deployed, 1 otherwise. `--json` prints one object:

    {"file": …, "deployable": true | false, "source_checked": true | false,
     "diagnostics": [{"severity": "fatal" | "warning", "message": …, "hint": … | null,
                      "line": …, "column": …, "end_line": …, "end_column": …}, …],
     "definitions": [{"name": …, "priority": …, "parts": [{"kind": …, "label": …, "tables": […]}, …]}, …]}

Lines and columns count from 1, ends are exclusive; `definitions` is empty where the file cannot be deployed.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from connector.cli.sync_config import check_file, source_tables
from connector.definitions.model import Checked, Diagnostic


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="sync config, usually sync-config.yaml")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    tables, reason = source_tables(args.settings)
    checked = check_file(args.file, tables)
    if args.json:
        print(json.dumps(_object(args.file, checked, tables is not None), ensure_ascii=False))
    else:
        for diagnostic in (*checked.diagnostics, *checked.notices):
            print(diagnostic.report(), file=sys.stderr)
        if tables is None:
            print(f"tables and columns were not looked up: {reason}", file=sys.stderr)
        print(f"{args.file}: {_summary(checked)}")
    return 0 if checked.config is not None else 1


def _summary(checked: Checked) -> str:
    fatal = sum(diagnostic.severity == "fatal" for diagnostic in checked.diagnostics)
    warnings = len(checked.diagnostics) - fatal + len(checked.notices)
    counts = [_count(fatal, "error")] if fatal else []
    counts += [_count(warnings, "warning")] if warnings else []
    if checked.config is None:
        return f"cannot be deployed: {', '.join(counts)}"
    parts = [part for definition in checked.config.definitions for part in definition.parts]
    tables = {table for part in parts for table in part.tables}
    content = [
        _count(len(checked.config.definitions), "definition"),
        _count(len(parts), "part"),
        _count(len(tables), "table"),
    ]
    return f"can be deployed: {', '.join(content + counts)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _object(file: str, checked: Checked, source_checked: bool) -> dict[str, Any]:
    definitions = checked.config.definitions if checked.config is not None else ()
    return {
        "file": file,
        "deployable": checked.config is not None,
        "source_checked": source_checked,
        "diagnostics": [_diagnostic(one) for one in (*checked.diagnostics, *checked.notices)],
        "definitions": [
            {
                "name": definition.name,
                "priority": definition.priority,
                "parts": [
                    {"kind": part.kind, "label": part.label, "tables": list(part.tables)} for part in definition.parts
                ],
            }
            for definition in definitions
        ],
    }


def _diagnostic(diagnostic: Diagnostic) -> dict[str, Any]:
    span = diagnostic.span
    return {
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        "hint": diagnostic.hint,
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line,
        "end_column": span.end_column,
    }
