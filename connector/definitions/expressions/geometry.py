"""The st_* functions: geometries in (E)WKB, as hexadecimal text or BLOB, to WKT, GeoJSON and coordinates."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from connector.definitions.expressions.documents import text_of_json
from connector.errors import BadRecord
from connector.values import SqliteValue, real_text

_EWKB_Z, _EWKB_M, _EWKB_SRID = 0x80000000, 0x40000000, 0x20000000
_ISO_STEP = 1_000
_DEEPEST = 20
_KINDS = {
    1: "Point",
    2: "LineString",
    3: "Polygon",
    4: "MultiPoint",
    5: "MultiLineString",
    6: "MultiPolygon",
    7: "GeometryCollection",
}
_POINT, _LINE, _POLYGON, _COLLECTION = 1, 2, 3, 7


@dataclass(frozen=True, slots=True)
class Geometry:
    """`parts` are coordinates of a point, points of a line, rings of a polygon, geometries of all others."""

    kind: int
    dimensions: str  # "", "Z", "M" or "ZM"
    parts: list[Any]


def as_text(value: SqliteValue) -> str | None:
    """st_astext: WKT."""
    geometry = _geometry(value)
    if geometry is None:
        return None
    name = _KINDS[geometry.kind].upper()
    dimensions = f" {geometry.dimensions}" if geometry.dimensions else ""
    empty = not geometry.parts
    return f"{name}{dimensions} EMPTY" if empty else f"{name}{dimensions}({_inner_text(geometry)})"


def as_geojson(value: SqliteValue) -> str | None:
    """st_asgeojson: coordinates without M."""
    geometry = _geometry(value)
    return None if geometry is None else text_of_json(_geojson(geometry))


def x(value: SqliteValue) -> SqliteValue:
    """st_x: of a point; NULL of anything else."""
    return _coordinate(value, 0)


def y(value: SqliteValue) -> SqliteValue:
    """st_y: of a point; NULL of anything else."""
    return _coordinate(value, 1)


def _coordinate(value: SqliteValue, number: int) -> SqliteValue:
    geometry = _geometry(value)
    if geometry is None or geometry.kind != _POINT or not geometry.parts:
        return None
    coordinate: float = geometry.parts[number]
    return coordinate


def _geometry(value: SqliteValue) -> Geometry | None:
    if not isinstance(value, str | bytes):
        return None
    try:
        content = value if isinstance(value, bytes) else bytes.fromhex(value)
        return _Reader(content).geometry(0)
    except (ValueError, struct.error) as error:
        raise BadRecord("the text is no geometry in hexadecimal WKB") from error


class _Reader:
    """https://libgeos.org/specifications/wkb/"""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0
        self._order = "<"

    def geometry(self, depth: int) -> Geometry:
        order = self._taken("B")
        if order not in (0, 1) or depth > _DEEPEST:
            raise ValueError("no byte order, or nested too deeply")
        self._order = "<" if order else ">"
        code = self._taken("I")
        if code & _EWKB_SRID:
            self._taken("I")
        iso, kind = divmod(code & 0x0FFFFFFF, _ISO_STEP)
        dimensions = ("Z" if code & _EWKB_Z or iso in (1, 3) else "") + ("M" if code & _EWKB_M or iso in (2, 3) else "")
        if kind not in _KINDS:
            raise ValueError(f"no geometry is of kind {kind}")
        return Geometry(kind, dimensions, self._parts(kind, 2 + len(dimensions), depth))

    def _parts(self, kind: int, width: int, depth: int) -> list[Any]:
        if kind == _POINT:
            coordinates = self._point(width)
            return coordinates if coordinates[0] == coordinates[0] else []  # an empty point is NaN
        if kind == _LINE:
            return [self._point(width) for _ in range(self._count())]
        if kind == _POLYGON:
            return [[self._point(width) for _ in range(self._count())] for _ in range(self._count())]
        return [self.geometry(depth + 1) for _ in range(self._count())]

    def _count(self) -> int:
        """How many follow; each has at least four bytes."""
        count: int = self._taken("I")
        if count * 4 > len(self._content) - self._at:
            raise ValueError("the geometry breaks off")
        return count

    def _point(self, width: int) -> list[float]:
        return [self._taken("d") for _ in range(width)]

    def _taken(self, code: str) -> Any:
        form = self._order + code
        (found,) = struct.unpack_from(form, self._content, self._at)
        self._at += struct.calcsize(form)
        return found


def _inner_text(geometry: Geometry) -> str:
    """What stands in the parentheses of WKT."""
    parts = geometry.parts
    if geometry.kind == _POINT:
        return " ".join(map(real_text, parts))
    if geometry.kind == _LINE:
        return _points_text(parts)
    if geometry.kind == _POLYGON:
        return ",".join(f"({_points_text(ring)})" for ring in parts)
    return ",".join(map(_member_text, parts) if geometry.kind != _COLLECTION else map(_named_text, parts))


def _member_text(geometry: Geometry) -> str:
    inner = _inner_text(geometry)
    return inner if geometry.kind == _POINT else f"({inner})"


def _named_text(geometry: Geometry) -> str:
    name = _KINDS[geometry.kind].upper()
    return f"{name}({_inner_text(geometry)})" if geometry.parts else f"{name} EMPTY"


def _points_text(points: list[list[float]]) -> str:
    return ",".join(" ".join(map(real_text, point)) for point in points)


def _geojson(geometry: Geometry) -> dict[str, Any]:
    name = _KINDS[geometry.kind]
    if geometry.kind == _COLLECTION:
        return {"type": name, "geometries": [_geojson(part) for part in geometry.parts]}
    return {"type": name, "coordinates": _positions(geometry)}


def _positions(geometry: Geometry) -> list[Any]:
    width = 3 if geometry.dimensions.startswith("Z") else 2
    if geometry.kind == _POINT:
        return list(geometry.parts[:width])
    if geometry.kind == _LINE:
        return [point[:width] for point in geometry.parts]
    if geometry.kind == _POLYGON:
        return [[point[:width] for point in ring] for ring in geometry.parts]
    return [_positions(part) for part in geometry.parts]
