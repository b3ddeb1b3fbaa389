"""Writes the stack's addresses into the settings file; what a person wrote there stays."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from connector.local.parts import Addresses
from connector.settings import FILE_NAME

FIRST = """\
# Written by `syncline local up`, which keeps the five addresses right. All else is yours.
{addresses}
app: syncline
connector: syncline
topic_prefix: source
state: .syncline
development_tokens: true   # `syncline token` may be any user: for this machine only, never in production
"""


def write(project: Path, addresses: Addresses) -> Path:
    """Write or mend `<project>/syncline.yaml`. An unchanged file is not touched."""
    file = project / FILE_NAME
    lines = {name: f"{name}: {address}" for name, address in asdict(addresses).items()}
    if file.is_file():
        before = file.read_text()
        after = _mended(before, lines)
    else:
        before, after = None, FIRST.format(addresses="\n".join(lines.values()))
    if after != before:
        file.write_text(after)
    return file


def _mended(text: str, lines: dict[str, str]) -> str:
    missing = dict(lines)
    mended = [missing.pop(line.partition(":")[0], line) for line in text.splitlines()]
    return "\n".join([*mended, *missing.values()]) + "\n"
