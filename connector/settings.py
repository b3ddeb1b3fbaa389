"""The settings file `syncline.yaml`: read once, frozen, found by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from connector import kafka_security
from connector.errors import BadConfig

FILE_NAME = "syncline.yaml"


@dataclass(frozen=True, slots=True)
class Settings:
    """What every command needs to know of its surroundings.

    `tables` are `schema.table` names that the connector captures; empty means every table of the schema
    `public` that has a key. `state` is the folder of this node's stores and run files. Sizes are bytes,
    times seconds.
    """

    path: Path  # the file itself; relative paths in it start at its folder
    kafka: str  # bootstrap servers
    registry: str = field(repr=False)  # Confluent API root, e.g. http://127.0.0.1:8081/apis/ccompat/v7
    connect: str = field(repr=False)  # Connect's REST root
    postgres: str = field(repr=False)  # DSN of the source database; these three may have a password
    app: str = "syncline"  # first word of every topic, group and transactional id
    connector: str = "syncline"  # the connector's name in Connect
    topic_prefix: str = "source"  # Debezium's topic.prefix
    tables: tuple[str, ...] = field(default=())
    state: Path = Path(".syncline")
    snapshot_partitions: int = 4
    max_request_size: int = 16 * 1024 * 1024  # the connector's max.request.size
    retain_removed: float = 3600.0
    max_change_log_bytes: int = 0  # 0: any number
    toast: str = "refuse"  # or "reread" (rule S10)
    manage_connector: bool = True  # a deploy may add tables to the connector and the publication
    stop_after: int = 10_000  # rejected rows of one version; 0: any number
    on_error: Mapping[str, str] = field(default_factory=dict)  # definition: "reject" or "stop"
    listen: str = "127.0.0.1:6480"  # host and port of the sync endpoint
    tls_certificate: str = ""  # PEM files; relative ones start at the settings file
    tls_key: str = ""
    audience: tuple[str, ...] = field(default=())  # `aud` of clients' tokens, one of these
    jwks: Mapping[str, Any] = field(default_factory=dict, repr=False)  # keys that sign them; may be secret
    jwks_uri: str = ""  # where such keys are published
    development_tokens: bool = False  # `syncline token` signs them too
    kafka_security: Mapping[str, str] = field(default_factory=dict, repr=False)  # librdkafka's names; has a password

    @property
    def endpoint(self) -> str:
        """The sync endpoint's URL, for clients."""
        return f"{'https' if self.tls_certificate else 'http'}://{self.listen}"


def load(path: str | None = None) -> Settings:
    """The settings of `path`, or of the nearest syncline.yaml above the working folder.

    Raises BadConfig where there is none, where a key is unknown or missing, or a value has the wrong type.
    """
    file = Path(path) if path is not None else _nearest()
    try:
        content = yaml.safe_load(file.read_text())
    except OSError as error:
        raise BadConfig(f"settings file cannot be read: {error}", where=str(file)) from error
    except yaml.YAMLError as error:  # which would show the line, and that may be a password
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark is not None else str(file)
        hint = "text that begins with one of @ % * & ! ` { [ or has `: ` or ` #` in it needs quotes"
        raise BadConfig("settings file cannot be read: it is no YAML", where=place, hint=hint) from None
    if not isinstance(content, dict):
        raise BadConfig("settings file must be a map of keys", where=str(file))
    return _from_map(file.resolve(), content)


def _nearest() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise BadConfig(
        f"no {FILE_NAME} in {here} or any folder above",
        hint="start the local stack with `syncline local up`, which writes one, or name one with --settings FILE",
    )


def _from_map(file: Path, content: dict[str, Any]) -> Settings:
    known = {f.name: f for f in fields(Settings) if f.name != "path"}
    for name in content:
        if name not in known:
            raise BadConfig(f'unknown setting "{name}"', where=str(file), hint=f"known: {', '.join(known)}")
    values = dict(content)
    for name, each in known.items():
        if name in content:
            values[name] = _checked(file, name, content[name])
        elif each.default is MISSING and each.default_factory is MISSING:
            raise BadConfig(f'setting "{name}" is missing', where=str(file))
    values["state"] = (file.parent / values.get("state", ".syncline")).resolve()
    values |= {name: str(file.parent / values[name]) for name in ("tls_certificate", "tls_key") if name in values}
    if len(values.keys() & {"tls_certificate", "tls_key"}) == 1:
        raise BadConfig("only one of tls_certificate and tls_key is set", where=str(file), hint="TLS needs both")
    if "kafka_security" in values:
        values["kafka_security"] = kafka_security.checked(file, values["kafka_security"])
    return Settings(path=file, **values)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(isinstance(one, str) and one for one in value)


def _is_url(value: Any) -> bool:
    """An http or https URL whose login, if any, is written so that every reader finds it."""
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
        rest = f"{parts.path}{parts.query}{parts.fragment}"
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in rest
    except ValueError:
        return False


def _is_key_set(value: dict[str, Any]) -> bool:
    keys = value.get("keys")
    return isinstance(keys, list) and keys != [] and all(isinstance(key, dict) for key in keys)


_LISTS = ("audience",)  # a single text will do
_SECRET = ("jwks", "kafka_security", "registry", "connect")  # never shown in an error

# What a value must be, in words, and whether it is.
_TEXT = ("text", lambda value: isinstance(value, str) and value != "")
_COUNT = ("a whole number above 0", lambda value: type(value) is int and value > 0)
_ANY_COUNT = ("a whole number, at least 0", lambda value: type(value) is int and value >= 0)
_URL = ("an http or https URL, with a login in it percent-encoded", _is_url)
_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "registry": _URL,
    "connect": _URL,
    "tables": ("a list of schema.table names", lambda v: isinstance(v, list) and all(isinstance(t, str) for t in v)),
    "snapshot_partitions": _COUNT,
    "max_request_size": _COUNT,
    "retain_removed": ("a number of seconds, at least 0", lambda v: type(v) in (int, float) and v >= 0),
    "stop_after": _ANY_COUNT,
    "max_change_log_bytes": _ANY_COUNT,
    "on_error": (
        "a map of definitions to reject or stop",
        lambda v: isinstance(v, dict) and all(isinstance(d, str) and a in ("reject", "stop") for d, a in v.items()),
    ),
    "toast": ("refuse or reread", lambda v: v in ("refuse", "reread")),
    "listen": ("host:port", lambda v: isinstance(v, str) and re.fullmatch(r"\S+:\d{1,5}", v) is not None),
    "manage_connector": ("true or false", lambda v: isinstance(v, bool)),
    "audience": ("a text or a list of texts", lambda v: _texts([v] if isinstance(v, str) else v)),
    "jwks": ("a map `keys:` to a list of JSON Web Keys", lambda v: isinstance(v, dict) and _is_key_set(v)),
    "jwks_uri": ("an http or https URL", lambda v: isinstance(v, str) and v.startswith(("https://", "http://"))),
    "development_tokens": ("true or false", lambda v: isinstance(v, bool)),
    "kafka_security": (
        "a map of librdkafka's names to texts",
        lambda v: isinstance(v, dict) and all(isinstance(one, str) and one for pair in v.items() for one in pair),
    ),
}


def _checked(file: Path, name: str, value: Any) -> Any:
    wanted, fits = _TYPES.get(name, _TEXT)
    if not fits(value):
        shown = "not" if name in _SECRET else f"{value!r}, not"
        raise BadConfig(f'setting "{name}" is {shown} {wanted}', where=str(file))
    if name in _LISTS and isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value
