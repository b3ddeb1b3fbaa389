"""A headless Chromium, driven over its DevTools protocol through a pipe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connector.local.cache import whole
from connector.local.npm import installed, node

FOLDER = Path(__file__).parent / "chromium"
PATIENCE = 30.0
FONTS = '<fontconfig><dir prefix="relative">fonts</dir><cachedir prefix="xdg">fontconfig</cachedir></fontconfig>'
UNPACK = """
const [from, to] = process.argv.slice(1)
fs.writeFileSync(to, zlib.brotliDecompressSync(fs.readFileSync(from)))
"""
# Chromium takes commands at descriptor 3 and answers at 4.
AT_3_AND_4 = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(read, 3)
os.dup2(write, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def program() -> Path:
    """Chromium, unpacked once into the cache from the npm package that `make test` fetches."""
    packed = installed(FOLDER) / "@sparticuz" / "chromium" / "bin"
    unpacked = packed.resolve().parents[3] / "chromium"
    if not unpacked.is_dir():
        with whole(unpacked) as partial:
            for name in ("chromium", "al2023.tar", "fonts.tar", "swiftshader.tar"):
                subprocess.run([node(), "-e", UNPACK, packed / f"{name}.br", partial / name], check=True)
            for name in ("al2023.tar", "fonts.tar", "swiftshader.tar"):
                shutil.unpack_archive(partial / name, partial, filter="data")
            (partial / "fonts.conf").write_text(FONTS)
            (partial / "chromium").chmod(0o755)
    return unpacked / "chromium"


class Refused(Exception):
    """The browser or the page's script said no."""


class Tab:
    """One page of it."""

    def __init__(self, commands: Any, answers: Any) -> None:
        self._commands, self._answers = commands, answers
        self._number = 0
        self._session: str | None = None
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def open(self, url: str, width: int = 1200, height: int = 800) -> None:
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._ask("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """What an expression comes to in the page."""
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise Refused(answer["exceptionDetails"])
        return answer["result"].get("value")

    def until(self, script: str, wanted: Any = True) -> None:
        """Wait until the expression comes to what is wanted."""
        deadline = time.monotonic() + PATIENCE
        while (seen := self._seen(script)) != wanted:
            assert time.monotonic() < deadline, f"{script} is {seen!r}, not {wanted!r}"
            time.sleep(0.02)

    def _seen(self, script: str) -> Any:
        """A page that is still loading lacks what is asked for."""
        try:
            return self.value(script)
        except Refused as error:
            return error

    def _ask(self, method: str, **params: Any) -> Any:
        self._number += 1
        asked = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            asked["sessionId"] = self._session
        self._commands.write(json.dumps(asked).encode() + b"\0")
        self._commands.flush()
        while (answer := self._next()).get("id") != self._number:
            pass
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]

    def _next(self) -> Any:
        read = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "the browser has ended"
            read += byte
        return json.loads(read)


@contextmanager
def browsing(folder: Path) -> Iterator[Tab]:
    """A browser with a profile of its own, until the block ends."""
    flags = ["--headless=shell", "--no-sandbox", "--no-zygote", "--disable-dev-shm-usage", "--no-first-run"]
    flags += ["--disable-background-networking", "--remote-debugging-pipe", f"--user-data-dir={folder}"]
    chromium = program()
    its_own = {
        "LD_LIBRARY_PATH": str(chromium.parent / "lib"),
        "FONTCONFIG_FILE": str(chromium.with_name("fonts.conf")),
    }
    (to_read, commands), (answers, to_write) = os.pipe(), os.pipe()
    as_it_wants = [sys.executable, "-c", AT_3_AND_4, str(to_read), str(to_write)]
    with (folder.with_suffix(".log")).open("wb") as log:
        process = subprocess.Popen(
            [*as_it_wants, str(chromium), *flags],
            pass_fds=(to_read, to_write),
            env=os.environ | its_own,
            stdout=log,
            stderr=log,
        )
    os.close(to_read)
    os.close(to_write)
    watchdog = threading.Timer(4 * PATIENCE, process.kill)
    with os.fdopen(commands, "wb") as writing, os.fdopen(answers, "rb") as reading:
        try:
            watchdog.start()
            yield Tab(writing, reading)
        finally:
            watchdog.cancel()
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
