"""What a Debezium row's schema says of a column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connector.definitions.model import Options
from connector.source import avro
from connector.source.values.postgres_types import BUILT_IN, PgType, Scalar, of_name

_PARAMETER = "__debezium.source.column."  # written where column.propagate.source.type is set


@dataclass(frozen=True, slots=True)
class Column:
    """A column, or the elements of an array.

    `described`: the Avro type other than null. `source`: the type in Postgres, where the connector tells it.
    """

    described: Mapping[str, Any]
    source: PgType | None
    options: Options
    known: dict[str, Any]  # named Avro types met so far

    @property
    def type(self) -> str:
        """The Avro type."""
        return str(self.described["type"])

    @property
    def semantic(self) -> str | None:
        """Connect's or Debezium's name of what the values mean."""
        return self.described.get("connect.name")

    @property
    def scalar(self) -> str | None:
        """The source type's name, unless it has parts."""
        return self.source.name if isinstance(self.source, Scalar) else None

    @property
    def is_domain(self) -> bool:
        """Whether the source type is none of Postgres' own: of numbers, booleans and times, only a domain can be."""
        return self.scalar is not None and self.scalar not in BUILT_IN

    def parameter(self, name: str) -> int:
        """A number that the schema says of the type; 0 where it says nothing."""
        parameters = self.described.get("connect.parameters", {})
        return int(self.described.get(name, parameters.get(name, 0)))

    def source_parameter(self, name: str) -> int:
        """`length` or `scale` of the column in the source."""
        return int(self.described.get("connect.parameters", {}).get(f"{_PARAMETER}{name}", 0))

    def element(self, source: PgType | None) -> Column | None:
        """An array's elements, which are of type `source`."""
        found = column(self.described["items"], self.options, self.known)
        return None if found is None else Column(found.described, source, self.options, self.known)


def column(schema: Any, options: Options, known: dict[str, Any]) -> Column | None:
    """The column of that schema; None for a union that Debezium makes of no column."""
    branches = [branch for branch in avro.branches(schema) if branch != "null"]
    if len(branches) != 1:
        return None
    described = branches[0]
    if isinstance(described, str):
        described = known.get(described, {"type": described})
    while isinstance(described.get("type"), dict):
        described = {**described["type"], **{key: described[key] for key in described if key != "type"}}
    if "name" in described:
        known.update(avro.definitions(described))
        known[str(described["name"])] = described
    name = described.get("connect.parameters", {}).get(f"{_PARAMETER}type")
    # A record's parameters are those of the first column with that record: they say nothing of this one.
    source = None if name is None or described["type"] == "record" else of_name(str(name))
    return Column(described, source, options, known)
