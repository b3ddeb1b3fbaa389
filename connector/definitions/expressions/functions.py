"""The scalar functions of the reference's own engine, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from connector.definitions.expressions import dates, documents, geometry, texts
from connector.definitions.expressions.scalars import text_of, truth
from connector.definitions.model import Options
from connector.values import SqliteValue

Function = Callable[..., SqliteValue]

# Per function how many arguments are read; further ones are ignored, missing ones are NULL.
FUNCTIONS: dict[str, tuple[int, Function]] = {
    "upper": (1, texts.upper),
    "lower": (1, texts.lower),
    "length": (1, texts.length),
    "instr": (2, texts.instr),
    "hex": (1, texts.hexadecimal),
    "base64": (1, texts.base64_text),
    "typeof": (1, texts.type_name),
    "ifnull": (2, lambda value, other: other if value is None else value),
    "iif": (3, lambda condition, then, otherwise: then if truth(condition) else otherwise),
    "json_keys": (1, documents.object_keys),
    "json_valid": (1, documents.is_valid),
    "uuid_blob": (1, texts.uuid_blob),
    "st_asgeojson": (1, geometry.as_geojson),
    "st_astext": (1, geometry.as_text),
    "st_x": (1, geometry.x),
    "st_y": (1, geometry.y),
}
# Functions that take as many arguments as there are.
VARIADIC: dict[str, Function] = {
    "substring": texts.substring,
    "unixepoch": dates.unixepoch,
    "datetime": dates.datetime,
}


def _json_extract(source: SqliteValue, path: SqliteValue, *, fixed: bool) -> SqliteValue:
    written = text_of(path)
    return None if written is None else documents.double_arrow(written, fixed=fixed)(source)


def function_of(name: str, options: Options) -> tuple[int | None, Function] | None:
    """How many arguments a function reads (None: all), and the function; None where there is none."""
    fixed = options.fixed_json_extract
    if name == "json_extract":
        return 2, partial(_json_extract, fixed=fixed)
    if name == "json_array_length":
        return 2, partial(documents.array_length, fixed=fixed)
    if name in VARIADIC:
        return None, VARIADIC[name]
    return FUNCTIONS.get(name)
