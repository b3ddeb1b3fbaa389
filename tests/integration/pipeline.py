"""A whole pipeline on the real stack: workers as processes, the command line as a user calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil

from connector.deploy.catalog import Catalog
from connector.settings import Settings
from connector.store.buckets import View
from schemas.codec import Codec
from topologies import kafka
from topologies.catalog import read_catalog
from topologies.schemas import Schemas
from topologies.topics import Topics

T = TypeVar("T")
Rows = dict[tuple[str, str], dict[str, Any]]  # (object_type, object_id) -> row
Buckets = dict[tuple[str, str], Rows]  # (definition, bucket parameters) -> rows
LOG_LINES = 150  # of the workers, shown by pytest where a test fails
WORKERS = ("sequence", "stream", "merge", "serve")


def eventually(look: Callable[[], T], *, within: float = 150.0, what: str = "") -> T:
    """The first true answer of `look`; fails with the last one after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:.0f} s: {what or look}; last answer {found!r}")
        time.sleep(0.05)


class Pipeline:
    """`syncline run` and everything a test asks of it."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.topics = Topics(settings.app)
        self._run: subprocess.Popen[bytes] | None = None
        self.orders = folder / "orders"  # of crash points, see connector/crash.py
        self.orders.mkdir(exist_ok=True)
        self._log = (folder / "run.log").open("ab")

    def cli(self, *arguments: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """One command; its exit code is the caller's to judge."""
        return subprocess.run(
            [sys.executable, "-m", "connector", "--settings", str(self.settings.path), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def ok(self, *arguments: str, timeout: float = 120.0) -> Any:
        """One command with --json that must succeed; the object it printed."""
        done = self.cli(*arguments, "--json", timeout=timeout)
        assert done.returncode == 0, (
            f"syncline {' '.join(arguments)} exits {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return json.loads(done.stdout)

    def start(self, only: str | None = None) -> None:
        self._run = subprocess.Popen(
            # as a child that ends with this process, however that ends
            [sys.executable, "-m", "topologies.child", str(os.getpid()), "connector"]
            + ["--settings", str(self.settings.path), "run"]
            + (["--only", only] if only else []),
            env={**os.environ, "SYNCLINE_CRASH_FOLDER": str(self.orders)},
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def freeze_at(self, point: str) -> None:
        """Whoever gets to this crash point next stops there, until it is sent SIGCONT."""
        self.order(point, "stop", 0)

    def await_frozen(self) -> None:
        eventually(lambda: not any(self.orders.iterdir()), what="a process is frozen")

    def order(self, point: str, action: str, skip: int) -> Path:
        """Have a crash point kill or stop whoever gets there next, after some passes; the file is gone once it has."""
        unfinished = self.folder / f"{point}.new"
        unfinished.write_text(f"{action} {skip}")
        return unfinished.rename(self.orders / point)

    def stop(self) -> int:
        """SIGTERM; the exit code. Fails where it takes longer than 10 s."""
        assert self._run is not None
        self._run.terminate()
        code = self._run.wait(10)
        self._run = None
        return code

    def end(self) -> None:
        """Leave nothing behind, whatever the test did."""
        if self._run is not None:
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(self._run.pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        child.send_signal(signal.SIGCONT)
            with suppress(subprocess.TimeoutExpired):
                self._run.terminate()
                self._run.wait(12)
            if self._run.poll() is None:
                os.killpg(self._run.pid, signal.SIGKILL)
                self._run.wait(5)
        self._log.close()
        print("\n".join((self.folder / "run.log").read_text(errors="replace").splitlines()[-LOG_LINES:]))

    def workers(self, module: str) -> list[psutil.Process]:
        """The running processes of one worker module, e.g. `stream`."""
        assert self._run is not None
        found = []
        for child in psutil.Process(self._run.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if f"topologies.{module}" in child.cmdline():
                    found.append(child)
        return found

    def send(self, module: str, number: signal.Signals) -> int:
        """A signal to every process of one worker module; how many got it."""
        victims = self.workers(module)
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.send_signal(number)
        return len(victims)

    def deploy(self, text: str, *, name: str = "sync-config.yaml", timeout: float = 120.0) -> Any:
        file = self.folder / name
        file.write_text(text)
        return self.ok("deploy", str(file), timeout=timeout)

    def status(self) -> Any:
        return self.ok("status")

    def catalog(self) -> Catalog:
        _, codec = self._reader()
        return read_catalog(self.settings, codec) or Catalog()

    def checkpoints(self) -> list[dict[str, Any]]:
        """Every exposed commit that the topic still has, oldest first."""
        return [c for c in self._records(self.topics.checkpoints) if c["exposed"]]

    def ops(self, version: int) -> list[tuple[int, dict[str, Any]]]:
        """(offset, op) of one version, all committed ones."""
        reader, codec = self._reader()
        try:
            return [
                (m.offset(), codec.decode(m.value()))
                for m in kafka.read_all(reader, self.topics.oplog(version))
                if m.value()
            ]
        finally:
            reader.close()

    def buckets(self) -> Buckets:
        """The rows of every exposed bucket at the newest checkpoint, folded here from the op logs."""
        checkpoint = self.checkpoints()[-1]
        ends = {v["version"]: v["oplog_offset"] for v in checkpoint["versions"]}
        found: Buckets = {}
        for version in self.catalog().versions:
            if version.state == "exposed" and version.kind == "bucket":
                ops = [op for offset, op in self.ops(version.version) if offset < ends[version.version]]
                for bucket, rows in fold(ops).items():
                    found[(version.definition, bucket)] = rows
        return {bucket: rows for bucket, rows in found.items() if rows}

    def _records(self, topic: str) -> list[dict[str, Any]]:
        reader, codec = self._reader()
        try:
            return [codec.decode(m.value()) for m in kafka.read_all(reader, topic) if m.value()]
        finally:
            reader.close()

    def _reader(self) -> tuple[Any, Codec]:
        return kafka.consumer(self.settings), Codec(Schemas(self.settings, patience=10))


@contextmanager
def prepared(settings: Settings, folder: Path) -> Iterator[Pipeline]:
    """`syncline init` is done, and nothing is left behind."""
    pipeline = Pipeline(settings, folder)
    try:
        done = pipeline.cli("init")
        assert done.returncode == 0, done.stdout + done.stderr
        yield pipeline
    finally:
        pipeline.end()


def fold(ops: list[dict[str, Any]]) -> dict[str, Rows]:
    """The client's reduction (powersync.md 3.3), written again so that the product's own is not its judge."""
    buckets: dict[str, dict[tuple[str, str, str], str]] = {}
    last = -1
    for op in ops:
        assert op["op_id"] > last, f"op ids must rise: {op['op_id']} after {last}"
        last = op["op_id"]
        rows = buckets.setdefault(op["bucket"], {})
        identity = (op["object_type"], op["object_id"], op["subkey"])
        if op["op"] == "PUT":
            rows[identity] = op["data"]
        elif op["op"] == "REMOVE":
            assert identity in rows, f"REMOVE of a row that is not there: {op}"
            del rows[identity]
        elif op["op"] == "CLEAR":
            rows.clear()
    return {
        bucket: {(kind, row_id): json.loads(text) for (kind, row_id, _), text in rows.items()}
        for bucket, rows in buckets.items()
    }


def op_ids(view: View, version: int, bucket: str) -> list[int]:
    """Of all ops that a client without any would be sent."""
    portion = view.portion(version, bucket, beyond=0, count=10**9, size=10**12)
    assert not portion.more
    return [int(json.loads(text)["op_id"]) for text in portion.texts]


def at_each_checkpoint(pipeline: Pipeline, version: int) -> Iterator[tuple[dict[str, Any], dict[str, Rows]]]:
    """(checkpoint, buckets of one version at it), from the switch that exposed it on."""
    ops = pipeline.ops(version)
    deployments = pipeline.catalog().deployments
    exposed_at = min(d.commit for d in deployments if d.commit and version in d.versions())
    for checkpoint in pipeline.checkpoints():
        if checkpoint["number"] >= exposed_at:
            end = next(v["oplog_offset"] for v in checkpoint["versions"] if v["version"] == version)
            yield checkpoint, fold([op for offset, op in ops if offset < end])
