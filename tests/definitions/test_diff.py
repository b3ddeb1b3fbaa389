"""What a deploy keeps and what it builds anew, with the reason."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from connector.definitions.check import check
from connector.definitions.model import SyncConfig
from connector.deploy.diff import Deployed, PartChange, diff

USER = "SELECT request.user_id() AS u"


def config(edition: int = 1, **definitions: dict[str, Any]) -> SyncConfig:
    checked = check(
        yaml.safe_dump({"config": {"edition": edition}, "bucket_definitions": definitions}, sort_keys=False)
    )
    assert checked.config is not None, checked.diagnostics
    return checked.config


def deployed(wanted: SyncConfig, first: int = 1) -> list[Deployed]:
    parts = [part for definition in wanted.definitions for part in definition.parts]
    return [
        Deployed(version, part.kind, part.definition, part.label, part.canonical, wanted.evaluation)
        for version, part in enumerate(parts, first)
    ]


def told(changes: tuple[PartChange, ...]) -> list[tuple[str, str, str, int | None]]:
    return [(change.part.definition, change.part.label, change.kind, change.version) for change in changes]


LISTS = {"data": ["SELECT id, name FROM lists"]}
TODOS = {
    "parameters": "SELECT id AS list_id FROM lists WHERE owner_id = request.user_id()",
    "data": ["SELECT id, title FROM todos WHERE list_id = bucket.list_id"],
}


def test_the_first_deploy_is_all_new() -> None:
    changes = diff([], config(lists=LISTS, todos=TODOS))
    assert told(changes) == [
        ("lists", "lists", "new", None),
        ("todos", "todos", "new", None),
        ("todos", "todos#1", "new", None),
    ]
    assert {change.reason for change in changes} == {"added"}


def test_the_same_definitions_in_another_order_and_spelling_are_unchanged() -> None:
    spelled = {"data": ["select id,\n name -- words\nfrom public.lists"], "priority": 1}
    changes = diff(deployed(config(lists=LISTS, todos=TODOS)), config(todos=TODOS, lists=spelled))
    assert told(changes) == [
        ("todos", "todos", "unchanged", 2),
        ("todos", "todos#1", "unchanged", 3),
        ("lists", "lists", "unchanged", 1),
    ]


def test_a_changed_index_leaves_the_bucket() -> None:
    changed = TODOS | {"parameters": f"{TODOS['parameters']} AND archived = 0"}
    changes = diff(deployed(config(todos=TODOS)), config(todos=changed))
    assert told(changes) == [
        ("todos", "todos", "unchanged", 1),
        ("todos", "todos#1", "new", None),
        ("todos", "todos#1", "removed", 2),
    ]
    assert changes[1].reason == "old: filters: none\nnew: filters: archived = 0"


def test_where_a_parameter_comes_from_is_no_change_of_data() -> None:
    one = {"parameters": USER, "data": ["SELECT id FROM lists WHERE owner_id = bucket.u"]}
    other = one | {"parameters": "SELECT token_parameters.other AS u"}
    assert told(diff(deployed(config(a=one)), config(a=other))) == [("a", "a", "unchanged", 1)]


def test_a_rename_keeps_everything() -> None:
    changes = diff(deployed(config(todos=TODOS)), config(tasks=TODOS))
    assert told(changes) == [("tasks", "tasks", "unchanged", 1), ("tasks", "tasks#1", "unchanged", 2)]
    assert changes[0].reason == 'renamed from "todos"'


def test_equal_definitions_each_keep_their_own_version() -> None:
    """A version is used at most once, and by the definition of its own name first."""
    active = deployed(config(one=LISTS, two=LISTS))
    assert told(diff(active, config(two=LISTS, three=LISTS))) == [
        ("two", "two", "unchanged", 2),
        ("three", "three", "unchanged", 1),
    ]
    assert told(diff(active[:1], config(zero=LISTS, one=LISTS))) == [
        ("zero", "zero", "new", None),
        ("one", "one", "unchanged", 1),
    ]


def test_parameter_queries_in_another_order_keep_their_indexes() -> None:
    owner, member = (f"SELECT l FROM {table} WHERE u = request.user_id()" for table in ("lists", "members"))
    data = ["SELECT id FROM todos WHERE l = bucket.l"]
    one = config(a={"parameters": [owner, member], "data": data})
    other = config(a={"parameters": [USER.replace("AS u", "AS l"), member, owner], "data": data})
    assert told(diff(deployed(one), other)) == [
        ("a", "a", "unchanged", 1),
        ("a", "a#2", "unchanged", 3),
        ("a", "a#3", "unchanged", 2),
    ]


def test_another_evaluation_keeps_the_buckets_and_evaluates_everything_anew() -> None:
    """Rule D6."""
    changes = diff(deployed(config(lists=LISTS)), config(edition=2, lists=LISTS))
    assert [(change.kind, change.version) for change in changes] == [("reevaluated", 1)]
    assert changes[0].reason.startswith("old: evaluation ")


def test_a_hash_never_decides() -> None:
    """Equality is of whole texts: a version whose text differs in one character is another."""
    (one,) = deployed(config(lists=LISTS))
    lookalike = Deployed(1, "bucket", "lists", "bucket", one.canonical.replace("name", "nama"), one.evaluation)
    assert diff([lookalike], config(lists=LISTS))[0].kind == "new"
    assert (
        diff([Deployed(1, "index", "lists", "bucket", one.canonical, one.evaluation)], config(lists=LISTS))[0].kind
        == "new"
    )


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("SELECT id, name FROM t", "SELECT id, name, notes FROM t", ("columns: none", "columns: notes")),
        ("SELECT id, name FROM t", "SELECT id, name AS n FROM t", ("columns: name", "columns: name AS n")),
        ('SELECT id, a AS "not" FROM t', "SELECT id FROM t", ("columns: a AS not", "columns: none")),
        ("SELECT * FROM t", "SELECT * FROM t WHERE NOT done", ("filters: none", "filters: NOT (done)")),
        ("SELECT id FROM t WHERE a = 1", "SELECT id FROM t WHERE a = 2", ("filters: a = 1", "filters: a = 2")),
        ("SELECT id, a, b FROM t", "SELECT id, b, a FROM t", ("columns: id, a, b", "columns: id, b, a")),
        ("SELECT id FROM t", "SELECT id FROM t AS s", ("type: t", "type: s")),
        ("SELECT id, 1 AS v FROM t", "SELECT id, 1.0 AS v FROM t", ("columns: 1 AS v", "columns: 1.0 AS v")),
    ],
)
def test_the_reason_is_what_differs(old: str, new: str, reason: tuple[str, str]) -> None:
    changes = diff(deployed(config(a={"data": [old]})), config(a={"data": [new]}))
    was, now = (f"query on public.t.{side}" for side in reason)
    assert changes[0].reason == f"old: {was}\nnew: {now}"
    assert changes[1].reason == "replaced"


def test_an_added_query_is_named() -> None:
    both = {"data": ["SELECT id FROM t", "SELECT id FROM s"]}
    changes = diff(deployed(config(a={"data": ["SELECT id FROM t"]})), config(a=both))
    assert changes[0].reason == "old: no such query\nnew: query on public.s"
