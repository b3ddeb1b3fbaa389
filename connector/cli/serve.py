"""`syncline serve`: a serving node alone, in the foreground. Several side by side take a settings file each."""

from __future__ import annotations

import argparse

from connector.cli.run import supervise


def add(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own: where it listens and keeps its store are settings."""


def run(args: argparse.Namespace) -> int:
    return supervise(args.settings, ("serve",))
