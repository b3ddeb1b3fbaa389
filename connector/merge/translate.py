"""A record that answers by the numbers of shadows, as one of the versions that they were evaluated for (rule D6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from connector.merge.state import Evaluated, EvaluatedTable


def translated(record: Evaluated, shadows: Mapping[int, int]) -> Evaluated:
    """The record with the version in each shadow's place; itself where there are no shadows."""
    if not shadows:
        return record
    whole = record.copy()
    whole["versions"] = [{**e, "version": shadows.get(e["version"], e["version"])} for e in record["versions"]]
    whole["tables"] = [_table(table, shadows) for table in record["tables"]]
    whole["rejected"] = [{**row, "version": shadows.get(row["version"], row["version"])} for row in record["rejected"]]
    whole["hung"] = _numbers(record.get("hung", ()), shadows)
    whole["unable"] = _numbers(record.get("unable", ()), shadows)
    return whole


def _table(table: EvaluatedTable, shadows: Mapping[int, int]) -> EvaluatedTable:
    whole = table.copy()
    whole["versions"] = _numbers(table["versions"], shadows)
    whole["rows"] = [
        {**row, "outputs": [{**o, "versions": _numbers(o["versions"], shadows)} for o in row["outputs"]]}
        for row in table["rows"]
    ]
    return whole


def _numbers(numbers: Iterable[int], shadows: Mapping[int, int]) -> list[int]:
    return [shadows.get(number, number) for number in numbers]
