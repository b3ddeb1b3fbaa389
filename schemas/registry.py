"""The schema registry's REST interface (Confluent API), as far as Syncline needs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from connector.errors import SourceRefused, Unavailable
from connector.login import parted

FOLDER = Path(__file__).parent
NAMES = tuple(sorted(file.stem.removeprefix("syncline.") for file in FOLDER.glob("syncline.*.avsc")))


def text_of(name: str) -> str:
    """The Avro schema of one internal record, e.g. `Batch`, as compact JSON."""
    return compact(json.loads((FOLDER / f"syncline.{name}.avsc").read_text()))


def compact(schema: Any) -> str:
    """One spelling for one schema: JSON without spaces, keys in their order."""
    return json.dumps(schema, separators=(",", ":"), ensure_ascii=False)


class Registry:
    """Asks the registry; raises Unavailable where it is out of reach, SourceRefused where it says no.

    A login in its URL is not in `url`, which is what errors show.
    """

    def __init__(self, url: str, *, timeout: float = 5.0) -> None:
        self.url, self._login = parted(url)
        self._timeout = timeout

    def register(self, subject: str, schema: str) -> int:
        """The id of `schema` under `subject`, registered if it is new."""
        answer = self._ask("POST", f"/subjects/{subject}/versions", {"schema": schema})
        return int(answer["id"])

    def by_id(self, schema_id: int) -> str:
        """The text of a schema."""
        return compact(json.loads(self._ask("GET", f"/schemas/ids/{schema_id}")["schema"]))

    def subjects(self) -> list[str]:
        return list(self._ask("GET", "/subjects"))

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:  # asked so seldom that a connection of its own costs less than one to close
            answer = httpx.request(method, self.url + path, json=body, auth=self._login, timeout=self._timeout)
        except httpx.HTTPError as error:
            raise Unavailable(f"schema registry out of reach: {error!r}", where=self.url) from error
        if answer.status_code >= 500:
            raise Unavailable(f"schema registry answered {answer.status_code}", where=self.url + path)
        if answer.status_code >= 400:
            raise SourceRefused(
                f"schema registry refused with {answer.status_code}: {answer.text[:300]}",
                where=self.url + path,
            )
        return answer.json()
