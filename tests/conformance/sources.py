"""Values of source databases, in each compatibility mode."""

from __future__ import annotations

from typing import Any

from connector.definitions.model import Options
from connector.source.values import convert
from tests.conformance.cases import Case
from tests.conformance.encoding import encoded

_EDITION_2 = {"timestamps_iso8601": True, "fixed_json_extract": True, "custom_postgres_types": True}
MODES = {
    "edition1": Options(),
    "edition2": Options(**_EDITION_2),
    "edition2_ms": Options(**_EDITION_2, timestamp_max_precision="milliseconds"),
    "edition2_s": Options(**_EDITION_2, timestamp_max_precision="seconds"),
}


def compare(case: Case) -> tuple[Any, Any]:
    """Expected and got per mode."""
    return case["expected"], {mode: _converted(case, MODES[mode]) for mode in case["expected"]}


def _converted(case: Case, options: Options) -> Any:
    return encoded(convert(case["source"], case.get("type"), _input(case), options))


def _input(case: Case) -> Any:
    """What the source's own driver gives: a text, a driver's value, a document's field `v`."""
    if "input_extended_json" in case:
        return case["input_extended_json"]["v"]
    given = case["input_text"] if "input_text" in case else case["input_driver_value"]
    return bytes.fromhex(given["$bytes"]) if isinstance(given, dict) and "$bytes" in given else given
