"""A case's sync config under test: checked once, its parts compiled once, its names as the cases write them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from connector.definitions.check import check
from connector.definitions.evaluate import Evaluator, Output, compile_part
from connector.definitions.model import Checked, Diagnostic, Options, Part, SyncConfig
from connector.values import Row
from tests.conformance.encoding import row
from tests.conformance.naming import Bag, Name, Outputs, values_of


class World:
    """`schema`: the source's as the cases give it, None where nothing is known of it."""

    def __init__(self, text: str, default_schema: str, schema: list[Any] | None = None) -> None:
        self.text = text
        self.default_schema = default_schema
        self.checked: Checked = check(
            text, default_schema=default_schema, tables=_tables(schema) if schema else None, unknown="warning"
        )

    @property
    def config(self) -> SyncConfig:
        assert self.checked.config is not None
        return self.checked.config

    @property
    def options(self) -> Options:
        return self.config.options

    @property
    def parts(self) -> list[Part]:
        """Every part once, though streams may share it."""
        return list({id(part): part for definition in self.config.definitions for part in definition.parts}.values())

    @cached_property
    def evaluators(self) -> list[tuple[Part, Evaluator]]:
        """The parts compiled from their plans as they are stored."""
        return [(part, compile_part(json.loads(json.dumps(part.plan)))) for part in self.parts]

    def refusal(self) -> dict[str, Any]:
        return {"accepted": False, "diagnostics": self.diagnostics()}

    def diagnostics(self) -> Bag:
        return Bag(_diagnostic(one, self.text) for one in self.checked.diagnostics)

    def table(self, named: str | dict[str, str]) -> str:
        """A table of a case as `schema.table`, before it the connection's tag where it is not the default one."""
        if isinstance(named, str):
            return f"{self.default_schema}.{named}"
        tag = named.get("connection_tag", "default")
        return f"{'' if tag == 'default' else tag + '.'}{named['schema']}.{named['name']}"

    def outputs(self, kind: str, table: str, content: Row) -> Iterator[tuple[Part, Output | str]]:
        """What a row gives in the parts of a kind: outputs, of equal bucket, type and id the last; errors as texts."""
        for part, evaluator in self.evaluators:
            if part.kind == kind:
                outputs, errors = evaluator(table, content)
                yield from ((part, output) for output in {each[:3]: each for each in outputs}.values())
                yield from ((part, error) for error in errors)

    def lookups(self, rows: list[dict[str, Any]]) -> tuple[dict[tuple[str, str], list[Any]], list[str]]:
        """The lookups that rows of a case give, (label, key) to outputs, and the errors."""
        found: dict[tuple[str, str], list[Any]] = {}
        errors = []
        for each in rows:
            for part, output in self.outputs("index", self.table(each["table"]), row(each["row"], self.options)):
                if isinstance(output, str):
                    errors.append(output)
                else:
                    found.setdefault((part.label, output.bucket), []).extend(json.loads(output.data))
        return found, errors

    def bucket_sizes(self) -> dict[str, int]:
        """Per bucket part the number of its parameters."""
        return {
            part.label: len(part.plan["queries"][0]["alternatives"][0]["keys"])
            for part in self.parts
            if part.kind == "bucket"
        }

    def lookup_sizes(self) -> dict[str, tuple[int, int]]:
        return {
            part.label: (len(part.plan["inputs"]), len(part.plan["outputs"]))
            for part in self.parts
            if part.kind == "index"
        }


def lookup_name(label: str, key: str) -> Name:
    return Name("lookup", label, values_of(key))


def lookup_outputs(label: str, rows: list[Mapping[str, Any]]) -> Outputs:
    """Outputs as parsed from the text of an index part."""
    return Outputs(label, tuple(tuple((name, _number(content)) for name, content in row.items()) for row in rows))


def _number(content: Any) -> Any:
    """Integral REALs and INTEGERs are one value to a bucket's name."""
    return int(content) if isinstance(content, float) and content.is_integer() else content


def _tables(schema: list[Any]) -> dict[str, set[str]]:
    return {
        f"{'' if connection['tag'] == 'default' else connection['tag'] + '.'}{each['name']}.{table['name']}": {
            column["name"] for column in table["columns"]
        }
        for connection in schema
        for each in connection["schemas"]
        for table in each["tables"]
    }


def _diagnostic(one: Diagnostic, text: str) -> dict[str, Any]:
    """With offsets in the file, counted as the reference counts them: in UTF-16 units."""
    lines = text.split("\n")
    start, end = (
        sum(len(each) + 1 for each in lines[: line - 1]) + column - 1
        for line, column in ((one.span.line, one.span.column), (one.span.end_line, one.span.end_column))
    )
    return {
        "severity": one.severity,
        "message": one.message,
        "start": _units(text[:start]),
        "end": _units(text[:end]),
        "source": text[start:end],
    }


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
