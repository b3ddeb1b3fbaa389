"""Kafka Connect's REST interface, as far as Syncline needs it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from connector.errors import SourceRefused, Unavailable
from connector.login import parted
from connector.settings import Settings

REACHED_WITHIN = 5.0  # seconds for a connection, and for an answer where nobody has more patience
PATIENCE = 30.0  # seconds of a command, which has no later look
LOOK = 0.2


@dataclass(frozen=True, slots=True)
class SourceOffset:
    """The connector's committed source offset: what Kafka has acknowledged all of."""

    commit: int  # lsn_commit: the last transaction that is behind it; 0 where there is none yet
    snapshot: bool  # a snapshot is in progress, initial or incremental
    initial: bool  # it is the initial one


class Connect:
    """Asks Connect about one connector; raises Unavailable where it is out of reach or rebalancing.

    `patience`: how many seconds it may be busy with connectors, anybody's: what starts, stops and moves them is what
    answers too, and a connector alone has 5 s to stop. A login in its URL is not in `url`, which is what errors show.
    """

    def __init__(self, settings: Settings, *, patience: float = 0.0) -> None:
        self.url, login = parted(settings.connect)
        self._name = settings.connector
        self._patience = patience
        timeout = httpx.Timeout(max(REACHED_WITHIN, patience), connect=REACHED_WITHIN)
        self._client = httpx.Client(auth=login, timeout=timeout, trust_env=False)

    def config(self) -> dict[str, str] | None:
        """The connector's settings; None where there is no such connector."""
        answer = self._ask("GET", "/config")
        return None if answer is None else dict(answer)

    def configure(self, config: Mapping[str, str]) -> None:
        """Create the connector or change its settings. Raises SourceRefused where Connect says what is wrong."""
        self._ask("PUT", "/config", dict(config))

    def failure(self) -> str | None:
        """Why connector or task has failed; None where both run or are about to."""
        trace = self._trace()
        return trace[:600] if trace is not None else None

    def fell_over_itself(self) -> bool:
        """Whether the task has failed as its threads met in an incremental snapshot: restarted, it goes on."""
        return "ConcurrentModificationException" in (self._trace() or "")

    def restart_failed(self) -> None:
        """Start the failed parts of the connector again."""
        self._ask("POST", "/restart?includeTasks=true&onlyFailed=true")

    def _trace(self) -> str | None:
        status = self._ask("GET", "/status") or {}
        parts = [status.get("connector", {}), *status.get("tasks", [])]
        return next((part.get("trace", "no trace") for part in parts if part.get("state") == "FAILED"), None)

    def running(self) -> bool:
        """Whether connector and task run."""
        status = self._ask("GET", "/status") or {"connector": {"state": "MISSING"}, "tasks": []}
        states = [status["connector"]["state"], *(task["state"] for task in status["tasks"])]
        return len(states) > 1 and all(state == "RUNNING" for state in states)

    def offset(self) -> SourceOffset | None:
        """The committed source offset; None where there is none yet."""
        answer = self._ask("GET", "/offsets")
        offsets = [entry["offset"] for entry in (answer or {}).get("offsets", []) if entry.get("offset")]
        if not offsets:
            return None
        offset = offsets[0]
        initial = _in_initial_snapshot(offset)
        snapshot = initial or bool(offset.get("incremental_snapshot_collections"))
        return SourceOffset(commit=int(offset.get("lsn_commit") or 0), snapshot=snapshot, initial=initial)

    def close(self) -> None:
        self._client.close()

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        url = f"{self.url}/connectors/{self._name}{path}"
        deadline = time.monotonic() + self._patience
        answer = self._request(method, url, body)
        while _is_busy(answer) and time.monotonic() < deadline:
            time.sleep(LOOK)
            answer = self._request(method, url, body)
        if answer.status_code == 404:
            return None
        if answer.status_code in (409, 500, 503):
            raise Unavailable(f"Kafka Connect answered {answer.status_code}: {answer.text[:200]}", where=url)
        if answer.status_code >= 400:
            raise SourceRefused(f"Kafka Connect refused with {answer.status_code}: {answer.text[:800]}", where=url)
        return answer.json() if answer.content else {}

    def _request(self, method: str, url: str, body: Mapping[str, Any] | None) -> httpx.Response:
        try:
            return self._client.request(method, url, json=body)
        except httpx.HTTPError as error:
            hint = "is it up? `syncline local status`"
            raise Unavailable(f"Kafka Connect out of reach: {error!r}", where=self.url, hint=hint) from error


def _is_busy(answer: httpx.Response) -> bool:
    """It rebalances, or starts. Some of that it says with 500, as it says what it will never do."""
    return answer.status_code in (409, 503) or (answer.status_code == 500 and "rebalance" in answer.text)


def _in_initial_snapshot(offset: Mapping[str, Any]) -> bool:
    return "snapshot" in offset and not offset.get("snapshot_completed", offset.get("last_snapshot_record", False))
