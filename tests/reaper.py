"""Ends a stack when the test session that started it is gone, however it went: its pipe closes.

python -m tests.reaper FOLDER
"""

from __future__ import annotations

import shutil
import sys

from connector.local.stack import Stack


def main(folder: str) -> None:
    """Wait for the pipe's end, then end the stack and remove its folder."""
    sys.stdin.buffer.read()
    Stack(folder).reset()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1])
