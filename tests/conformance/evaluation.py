"""What a config makes of a row, of a parameter row, of a request: as expected, and as got.

Both sides are values with names in them (`naming`), compared after renaming. Texts of errors differ between
implementations: where the case says so, only their number counts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from connector.values import parameters_text
from tests.conformance.cases import Case, tagged
from tests.conformance.encoding import row, value
from tests.conformance.naming import Bag, Name, bucket_name, values_of
from tests.conformance.request import answer, reasons
from tests.conformance.world import World, lookup_name, lookup_outputs


class Sides(NamedTuple):
    """`buckets` is about names of buckets, `lookups` about those of lookups: they are renamed apart."""

    buckets: Any
    lookups: Any = None


def expected(case: Case, output: dict[str, Any]) -> Sides:
    if "hydrate_error" in output:  # the reference accepts it and then fails to load it
        return Sides({"accepted": False})
    if not output.get("accepted", True) or case["kind"] == "diagnostics":
        return Sides({"accepted": output["accepted"], "diagnostics": _expected_diagnostics(case, output)})
    return _EXPECTED[case["kind"]](case, output)


def got(case: Case, output: dict[str, Any], world: World) -> Sides:
    """What comes out, told as the expected `output` is."""
    accepted = world.checked.config is not None
    if "hydrate_error" in output and not accepted:
        return Sides({"accepted": False})
    if case["kind"] == "diagnostics" or not accepted:
        return Sides({"accepted": accepted, "diagnostics": _severities_if(case, world.diagnostics())})
    if not output.get("accepted", True):
        return Sides({"accepted": True, "diagnostics": world.diagnostics()})
    return _GOT[case["kind"]](case, world)


def _expected_diagnostics(case: Case, output: dict[str, Any]) -> Bag:
    length = len(case["definition_yaml"].encode("utf-16-le")) // 2  # a range of the reference may end behind the text
    found = (
        {
            "severity": one["severity"],
            "message": one["message"],
            "start": one.get("start"),
            "end": min(one["end"], length) if "end" in one else None,
            "source": one.get("source"),
        }
        for one in output["diagnostics"]
    )
    return _severities_if(case, Bag(found))


def _severities_if(case: Case, diagnostics: Bag) -> Bag:
    """A parser's own wording and place are nobody's rule."""
    if tagged(case, "syntax_error", "error_text_not_portable"):
        return Bag(one["severity"] for one in diagnostics)
    return diagnostics


def _errors(case: Case, texts: list[str]) -> Any:
    return len(texts) if tagged(case, "error_text_not_portable") else Bag(texts)


def _expected_row(case: Case, output: dict[str, Any]) -> Sides:
    last = {(one["bucket"], one["table"], one["id"]): one for one in output["rows"]}  # two PUTs, the last wins
    rows = Bag(
        {
            "bucket": bucket_name(_unversioned(case, one["bucket"])),
            "table": one["table"],
            "id": one["id"],
            "data": one["data_json"],
            "checksum": one["put_checksum"],
        }
        for one in last.values()
    )
    return Sides({"rows": rows, "errors": _errors(case, output["errors"])})


def _got_row(case: Case, world: World) -> Sides:
    rows, errors = [], []
    for part, output in world.outputs("bucket", world.table(case["table"]), row(case["row"], world.options)):
        if isinstance(output, str):
            errors.append(output)
        else:
            rows.append(
                {
                    "bucket": bucket_name(part.label + output.bucket),
                    "table": output.type,
                    "id": output.id,
                    "data": output.data,
                    "checksum": int.from_bytes(output.hash[:4], "little"),
                }
            )
    return Sides({"rows": Bag(rows), "errors": _errors(case, errors)})


def _unversioned(case: Case, bucket: str) -> str:
    return bucket.removeprefix(f"{case['bucket_prefix_version']}#") if "bucket_prefix_version" in case else bucket


def _expected_lookups(case: Case, output: dict[str, Any]) -> Sides:
    found: dict[Name, list[Any]] = {}
    for one in output["lookups"]:
        rows = [{name: value(content) for name, content in row.items()} for row in one["outputs"]]
        found.setdefault(_lookup(one["lookup"]), []).extend(rows)
    return Sides({"errors": _errors(case, output["errors"])}, _outputs(found))


def _got_lookups(case: Case, world: World) -> Sides:
    found, errors = world.lookups([case])
    named = {lookup_name(label, key): rows for (label, key), rows in found.items()}
    return Sides({"errors": _errors(case, errors)}, _outputs(named))


def _outputs(found: dict[Name, list[Any]]) -> Bag:
    return Bag({"lookup": name, "outputs": lookup_outputs(name.label, rows)} for name, rows in found.items())


def _lookup(parts: list[Any]) -> Name:
    """`["lookup", "0", "u1"]`: what it is called, its number, its values."""
    name, number, *values = parts
    return Name("lookup", f"{name}#{number}", values_of(parameters_text(map(value, values))))


def _expected_request(case: Case, output: dict[str, Any]) -> Sides:
    buckets = {
        "static": Bag(bucket_name(text) for text in {_unversioned(case, text) for text in output["static_buckets"]}),
        "buckets": Bag(
            {
                "bucket": bucket_name(_unversioned(case, one["bucket"])),
                "definition": one["definition"],
                "priority": one["priority"],
                "reasons": one["inclusion_reasons"],
            }
            for one in output["buckets"]
        ),
        "errors": Bag(one["descriptor"] for one in output["errors"]),
    }
    asked = {_lookup(one) for one in output["lookups_queried"]}
    return Sides(buckets, {"dynamic": output["has_dynamic"], "asked": Bag(asked)})


def _got_request(case: Case, world: World) -> Sides:
    stored, _ = world.lookups(case["parameter_rows"])
    full = answer(world, case["request"], lambda label, key: stored.get((label, key), []))
    asked = {lookup_name(label, key) for label, key in full.lookups}
    static = answer(world, case["request"], lambda label, key: [])
    buckets = {
        "static": Bag(bucket_name(one.name) for one in static.buckets),
        "buckets": Bag(
            {
                "bucket": bucket_name(one.name),
                "definition": one.definition,
                "priority": one.priority,
                "reasons": reasons(one),
            }
            for one in full.buckets
        ),
        "errors": Bag(one.definition for one in full.failures),
    }
    return Sides(buckets, {"dynamic": bool(asked), "asked": Bag(asked)})


def _expected_visibility(case: Case, output: dict[str, Any]) -> Sides:
    rows = Bag({name: one[name] for name in ("table", "id", "data_json", "priority")} for one in output["visible_rows"])
    return Sides({"rows": rows, "buckets": Bag(map(bucket_name, output["buckets"])), "errors": len(output["errors"])})


def _got_visibility(case: Case, world: World) -> Sides:
    """All rows of all tables evaluated, then those in the client's buckets, each with its best priority."""
    rows = [{"table": table, "row": each} for table, content in case["dataset"].items() for each in content]
    stored, _ = world.lookups(rows)
    full = answer(world, case["request"], lambda label, key: stored.get((label, key), []))
    priorities = {one.name: one.priority for one in full.buckets}
    visible: dict[tuple[str, str, str], int] = {}
    for each in rows:
        for part, output in world.outputs("bucket", world.table(each["table"]), row(each["row"], world.options)):
            bucket = None if isinstance(output, str) else part.label + output.bucket
            if not isinstance(output, str) and bucket in priorities:
                key = (output.type, output.id, output.data)
                visible[key] = min(visible.get(key, 3), priorities[bucket])
    listed = Bag(
        {"table": table, "id": name, "data_json": text, "priority": priority}
        for (table, name, text), priority in visible.items()
    )
    return Sides({"rows": listed, "buckets": Bag(map(bucket_name, priorities)), "errors": len(full.failures)})


_EXPECTED = {
    "row": _expected_row,
    "parameter_row": _expected_lookups,
    "request": _expected_request,
    "visibility": _expected_visibility,
}
_GOT = {
    "row": _got_row,
    "parameter_row": _got_lookups,
    "request": _got_request,
    "visibility": _got_visibility,
}
