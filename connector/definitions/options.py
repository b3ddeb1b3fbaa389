"""The `config:` block: edition, options, what depends on what."""

from __future__ import annotations

from typing import NamedTuple, get_args

from connector.definitions.document import Node, Scalar
from connector.definitions.model import Options, Precision
from connector.definitions.reading import Findings, boolean, known_entries

_BY_EDITION = ("timestamps_iso8601", "versioned_bucket_ids", "fixed_json_extract", "custom_postgres_types")
_ENGINE = "unstable_sqlite_expression_engine"
_KEYS = ("edition", *_BY_EDITION, _ENGINE, "timestamp_max_precision", "storage_version")
_OWN_STORAGE = "Syncline has its own storage: the setting changes nothing here, and can be left out"
_PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class Config(NamedTuple):
    """The edition, and the options that follow from it and from what is written."""

    edition: int
    options: Options


def read_options(node: Node | None, findings: Findings) -> Config:
    """The options as the edition's defaults and the file say."""
    written = known_entries(node, _KEYS, findings)
    edition = _edition(written.get("edition"), findings)
    switches = {name: edition >= 2 for name in _BY_EDITION}
    for name in _BY_EDITION:
        if name in written:
            switches[name] = boolean(written[name], findings)
    _check_storage(written.get("storage_version"), findings)
    precision = _precision(written.get("timestamp_max_precision"), findings)
    if node is not None and precision is not None and not switches["timestamps_iso8601"]:
        findings.fatal_at(
            node,
            "'timestamp_max_precision' requires 'timestamps_iso8601' to be enabled.",
            "add `timestamps_iso8601: true`, or `edition: 2`",
        )
    engine = _ENGINE in written and boolean(written[_ENGINE], findings)
    if node is not None and engine:
        _check_engine(node, edition, switches, findings)
    del switches["versioned_bucket_ids"]  # accepted; bucket ids here always carry a version
    options = Options(**switches, timestamp_max_precision=precision, engine="sqlite" if engine else "js")
    return Config(edition, options)


def _check_engine(node: Node, edition: int, switches: dict[str, bool], findings: Findings) -> None:
    if edition < 3:
        findings.fatal_at(node, f"Enabling {_ENGINE} requires edition 3", "add `edition: 3`, or leave it out")
    if not switches["fixed_json_extract"]:
        findings.fatal_at(node, f"Enabling {_ENGINE} requires fixed_json_extract", "leave `fixed_json_extract` out")


def _edition(node: Node | None, findings: Findings) -> int:
    if node is None:
        return 1
    value = node.value() if isinstance(node, Scalar) else None
    if isinstance(value, bool) or not isinstance(value, int):
        findings.fatal_at(node, "must be numeric", "editions are 1, 2 and 3")
        return 1
    if not 1 <= value <= 3:
        findings.fatal_at(node, f"Unknown edition {value}", "editions are 1, 2 and 3")
    return min(max(value, 1), 3)


def _precision(node: Node | None, findings: Findings) -> Precision | None:
    if node is None:
        return None
    value = node.value() if isinstance(node, Scalar) else None
    for precision in _PRECISIONS:
        if value == precision:
            return precision
    if isinstance(value, str):
        findings.fatal_at(node, f"Unknown time precision, allowed are {', '.join(_PRECISIONS)}")
    else:
        findings.fatal_at(node, "must be a string", f"one of {', '.join(_PRECISIONS)}")
    return None


def _check_storage(node: Node | None, findings: Findings) -> None:
    if node is None:
        return
    value = node.value() if isinstance(node, Scalar) else None
    if isinstance(value, bool) or not isinstance(value, int):
        findings.fatal_at(node, "must be numeric", _OWN_STORAGE)
    elif value == 3:
        findings.warning_at(
            node,
            "Storage version 3 is unstable, and may cause unexpected behavior or stop functioning in any release",
            _OWN_STORAGE,
        )
    elif value != 2:
        findings.fatal_at(node, f"Storage version {value} is not supported", _OWN_STORAGE)
