"""Geometric values as Postgres prints them, from Debezium's records of them.

`Point`, `Circle` and `Line` carry numbers, all others well-known binary; `extensions` tells the shapes of Postgres from
each other and from PostGIS.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from connector.source.printed import float8

Pairs = list[tuple[float, float]]
_LINE_STRING = 2  # well-known binary: then the number of points; a polygon has one ring here, with its number


def point(value: Mapping[str, Any]) -> str:
    return _pair((value["x"], value["y"]))


def circle(value: Mapping[str, Any]) -> str:
    return f"<{point(value['center'])},{float8(value['radius'])}>"


def line(value: Mapping[str, Any]) -> str:
    return f"{{{','.join(float8(value[name]) for name in 'abc')}}}"


def geometry(value: Mapping[str, Any]) -> str:
    """Shapes of Postgres; of PostGIS the extended well-known binary in the hexadecimal text that it prints."""
    well_known = bytes(value["wkb"])
    extensions = value.get("extensions") or {}
    match extensions.get("type"):
        case "box":
            corners = _points(well_known)
            return _pairs((corners[0], corners[2]))
        case "lseg":
            return f"[{_pairs(_points(well_known))}]"
        case "path":
            inner = _pairs(_points(well_known))
            return f"({inner})" if extensions.get("closed") == "true" else f"[{inner}]"
        case "polygon":
            return f"({_pairs(_points(well_known)[:-1])})"  # the ring ends where it begins
    return well_known.hex().upper()


def vector(value: Iterable[float]) -> str:
    """pgvector's `vector` and `halfvec`."""
    return f"[{','.join(map(_vector_number, value))}]"


def sparse_vector(value: Mapping[str, Any]) -> str:
    """pgvector's `sparsevec`. Avro has maps of numbers as lists of pairs."""
    pairs = value["vector"]
    items = pairs.items() if isinstance(pairs, Mapping) else [(each["key"], each["value"]) for each in pairs]
    return f"{{{','.join(f'{index}:{_vector_number(number)}' for index, number in items)}}}/{value['dimensions']}"


def _vector_number(value: float) -> str:
    """Debezium has read the digits of a 4-byte float as a double, so that they are the shortest already."""
    return float8(value)


def _pairs(points: Iterable[tuple[float, float]]) -> str:
    return ",".join(map(_pair, points))


def _pair(point: tuple[float, float]) -> str:
    return f"({float8(point[0])},{float8(point[1])})"


def _points(well_known: bytes) -> Pairs:
    """The points of a line string, or of a polygon's one ring."""
    order = "<" if well_known[0] else ">"
    (kind,) = struct.unpack_from(f"{order}I", well_known, 1)
    start = 5 if kind == _LINE_STRING else 9
    (count,) = struct.unpack_from(f"{order}I", well_known, start)
    numbers = struct.unpack_from(f"{order}{2 * count}d", well_known, start + 4)
    return list(zip(numbers[::2], numbers[1::2], strict=True))
