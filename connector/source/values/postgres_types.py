"""The types of Postgres as far as their values' texts have parts: arrays, domains, composite types, ranges."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scalar:
    name: str


@dataclass(frozen=True, slots=True)
class Array:
    element: PgType


@dataclass(frozen=True, slots=True)
class Domain:
    base: PgType


@dataclass(frozen=True, slots=True)
class Composite:
    fields: tuple[tuple[str, PgType], ...]


@dataclass(frozen=True, slots=True)
class Range:
    bound: PgType


@dataclass(frozen=True, slots=True)
class Multirange:
    bound: PgType


PgType = Scalar | Array | Domain | Composite | Range | Multirange

# Those of pg_catalog whose arrays the reference has always read.
# fmt: off
BUILT_IN = frozenset((
    "aclitem", "bit", "bool", "box", "bpchar", "bytea", "char", "cid", "cidr", "circle", "date", "float4", "float8",
    "gtsvector", "inet", "int2", "int2vector", "int4", "int8", "interval", "json", "jsonb", "jsonpath", "line",
    "lseg", "macaddr", "macaddr8", "money", "name", "numeric", "oid", "oidvector", "path", "pg_lsn", "point",
    "polygon", "refcursor", "regclass", "regcollation", "regconfig", "regdictionary", "regnamespace", "regoper",
    "regoperator", "regproc", "regprocedure", "regrole", "regtype", "text", "tid", "time", "timestamp",
    "timestamptz", "timetz", "tsquery", "tsvector", "uuid", "varbit", "varchar", "xid", "xid8", "xml",
))
# fmt: on
_ALIASES = {
    "bigint": "int8",
    "bigserial": "int8",
    "bit varying": "varbit",
    "boolean": "bool",
    "character": "bpchar",
    "character varying": "varchar",
    "decimal": "numeric",
    "double precision": "float8",
    "float": "float8",
    "int": "int4",
    "integer": "int4",
    "real": "float4",
    "serial": "int4",
    "smallint": "int2",
    "smallserial": "int2",
    "time with time zone": "timetz",
    "time without time zone": "time",
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
}
_BOUNDS = {
    "int4": "int4",
    "int8": "int8",
    "num": "numeric",
    "ts": "timestamp",
    "tstz": "timestamptz",
    "date": "date",
}
_RANGES: dict[str, PgType] = {f"{name}range": Range(Scalar(bound)) for name, bound in _BOUNDS.items()}
_RANGES |= {f"{name}multirange": Multirange(Scalar(bound)) for name, bound in _BOUNDS.items()}
_MODIFIER = re.compile(r"\s*\([\d\s,-]*\)")


def of_name(name: str) -> PgType:
    """The type of that name in SQL (`varchar(20)[]`) or in pg_type (`_int4`), in any case; unknown ones are scalars."""
    plain = _MODIFIER.sub("", name.strip().lower())
    if plain.endswith("[]"):
        return Array(of_name(plain.removesuffix("[]").rstrip("[]")))
    if plain.startswith("_"):
        return Array(of_name(plain[1:]))
    return _RANGES.get(plain) or Scalar(_ALIASES.get(plain, plain))


def of_notation(text: str) -> PgType:
    """As `of_name`, and what has no name: domain_T, array_of_T, range_T, multirange_T, composite(a T, b T)."""
    for prefix, build in _NOTATION.items():
        if text.startswith(prefix):
            return build(of_notation(text.removeprefix(prefix)))
    if text.startswith("composite(") and text.endswith(")"):
        fields = (field.strip().partition(" ") for field in _split(text[len("composite(") : -1]))
        return Composite(tuple((name, of_notation(type_name.strip())) for name, _, type_name in fields))
    return of_name(text)


_NOTATION: dict[str, type[Array] | type[Domain] | type[Range] | type[Multirange]] = {
    "array_of_": Array,
    "domain_": Domain,
    "range_": Range,
    "multirange_": Multirange,
}


def _split(text: str) -> list[str]:
    """Parts between the commas that are in no brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part.strip()]


def is_custom(type_: PgType) -> bool:
    """Whether `custom_postgres_types` decides how values look: all but scalars and arrays of built-in ones."""
    if isinstance(type_, Array):
        return not (isinstance(type_.element, Scalar) and type_.element.name in BUILT_IN)
    return not isinstance(type_, Scalar)
