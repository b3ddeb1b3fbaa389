"""Every character of a YAML scalar is found again where the file wrote it, whatever the style."""

from __future__ import annotations

import textwrap

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from connector.definitions.document import Map, Node, Scalar, Sequence, read
from connector.definitions.positions import origins

MARKS = r"""SELECT id , ( ) 'it''s' "Q" a.b é 🐘 # -- : %x \ {} [] & * ! |"""
WORDS = st.lists(st.sampled_from([*MARKS.split(" "), "\n", "\n\n", "  "]), min_size=1)
TEXTS = WORDS.map(" ".join).map(lambda text: textwrap.dedent(text).strip()).filter(bool)
ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "é": "\\xE9", "🐘": "\\U0001F418"}


def scalars(node: Node | None) -> list[Scalar]:
    if isinstance(node, Scalar):
        return [node]
    children = node.items if isinstance(node, Sequence) else [value for _, value in node.entries] if node else []
    return [scalar for child in children for scalar in scalars(child)]


def only(text: str) -> Scalar:
    (scalar,) = scalars(read(text))
    return scalar


def found_again(file: str, scalar: Scalar) -> None:
    """Each character stands at its origin, as itself, as its escape, or doubled; the places rise."""
    places = origins(file, scalar)
    assert len(places) == len(scalar.text) + 1
    assert places == sorted(places)
    assert all(scalar.start <= place <= scalar.end for place in places)
    for character, place in zip(scalar.text, places, strict=False):
        if not character.isspace():
            written = file[place : place + 12]
            assert written.startswith((character, ESCAPES.get(character, character))), (character, written)


@settings(deadline=None)
@given(TEXTS, st.sampled_from(["'", '"', "|", ">", None]), st.integers(10, 80), st.booleans())
def test_any_style(text: str, style: str | None, width: int, unicode: bool) -> None:
    written = yaml.dump({"a": {"query": text}}, default_style=style, width=width, allow_unicode=unicode)
    scalar = only(written)
    assume(scalar.text == text)
    found_again(written, scalar)


@settings(deadline=None)
@given(
    TEXTS,
    st.sampled_from(["|", "|-", "|+", ">", ">-", "|2", "|1-"]),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(0, 3),
)
def test_block_scalars(text: str, header: str, line_end: str, deeper: int) -> None:
    indent = int(header[1]) if header[1:2].isdigit() else 2 + deeper
    body = textwrap.indent(text, " " * indent)
    file = f"a: {header}  # a comment\n{body}\n\n\nb: 1\n".replace("\n", line_end)
    scalar = scalars(read(file))[0]
    found_again(file, scalar)


@pytest.mark.parametrize(
    ("file", "value", "outer"),
    [
        ("a: 4 # why\nb: 1\n", "4", "4 # why\n"),
        ("a: 'x'  \n", "x", "'x'  \n"),
        ("a: 4", "4", "4"),
        ("a: 4\r\nb: 1\r\n", "4", "4\r\n"),
        ("a:  # none\n  4\n\n# later\nb: 1\n", "4", "4\n"),
        ("a: |\n  x\n\n\nb: 1\n", "x\n", "|\n  x\n"),
        ("a: |+\n  x\n\nb: 1\n", "x\n\n", "|+\n  x\n\n"),
        ("a: &n x\nb: 1\n", "x", "x\n"),
        ("a: [x , y]\n", "x", "x "),
    ],
)
def test_where_a_value_ends(file: str, value: str, outer: str) -> None:
    """With the comment behind it and its line end; without the blank lines after that."""
    scalar = scalars(read(file))[0]
    assert (scalar.text, file[scalar.start : scalar.outer_end]) == (value, outer)


@pytest.mark.parametrize(
    ("file", "outer"),
    [
        ("a:\n  b: 1\n  c: 2 # x\n\nd: 3\n", "b: 1\n  c: 2 # x\n"),
        ("a: {b: 1}  # x\nd: 3\n", "{b: 1}  # x\n"),
        ("a:\n  - 1\n  - 2\nd: 3\n", "- 1\n  - 2\n"),
        ("a:\n- 1\nd: 3\n", "- 1\n"),
        ("a:\n  b:\nd: 3\n", "b:"),
        ("a: []\nd: 3\n", "[]\n"),
    ],
)
def test_where_a_collection_ends(file: str, outer: str) -> None:
    root = read(file)
    assert isinstance(root, Map)
    node = root.entries[0][1]
    assert file[node.start : node.outer_end] == outer
