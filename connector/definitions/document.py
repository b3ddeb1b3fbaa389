"""YAML text as a tree of nodes that know where they stand: YAML 1.2 core schema, with limits on size and nesting."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from connector.definitions.broken_yaml import worded

MAX_CHARACTERS = 4_000_000
MAX_DEPTH = 32
MAX_NODES = 400_000

# libyaml where PyYAML was built with it, ten times as fast.
_Loader = getattr(yaml, "CLoader", yaml.Loader)

_BLANKS = re.compile(r"[ \t]*")
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")
_REST_OF_LINE = re.compile(r"(?:[ \t]+(?:#[^\n]*)?)?(?:\r?\n)?")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


class Unreadable(Exception):
    """The text is no usable YAML: the reason, and the offset where it shows."""

    def __init__(self, message: str, offset: int, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.hint = hint


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """A scalar: `text` as YAML gives it, `start` and `end` offsets of its written form, quotes included.

    `outer_end` of a node: where a comment behind it and its line end, which diagnostics count in; of a key just `end`.
    """

    text: str
    style: str  # "" plain, ' " | >
    start: int
    end: int
    outer_end: int

    def value(self) -> str | int | float | bool | None:
        """The scalar by the core schema; quoted and block scalars are always text."""
        if self.style:
            return self.text
        if self.text in ("", "~", "null", "Null", "NULL"):
            return None
        if self.text in ("true", "True", "TRUE"):
            return True
        if self.text in ("false", "False", "FALSE"):
            return False
        return _number(self.text)


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    start: int
    end: int
    outer_end: int
    items: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """Keys are scalars, where nothing is wrong with it."""

    start: int
    end: int
    outer_end: int
    entries: list[tuple[Node, Node]] = field(default_factory=list)


Node = Scalar | Sequence | Map


def read(text: str) -> Node | None:
    """The tree of the first document; None where there is none. Raises Unreadable.

    Events are taken one at a time and the tree is built without recursion, so that neither nesting nor aliases
    can cost more than the limits allow: an alias is the same node again, never a copy.
    """
    if len(text) > MAX_CHARACTERS:
        raise Unreadable(
            f"the file has {len(text):,} characters, at most {MAX_CHARACTERS:,} are read", 0, "split it, or shorten it"
        )
    try:
        return _build(text, yaml.parse(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        offset = mark.index if mark else 0
        raise Unreadable(worded(text, _first_line(error), offset), offset) from error
    except yaml.reader.ReaderError as error:
        raise Unreadable(f"a character is not allowed in YAML: {error.reason}", max(0, error.position)) from error
    except yaml.YAMLError as error:
        raise Unreadable(_first_line(error), 0) from error
    except (ValueError, RecursionError) as error:  # lone surrogates cannot be encoded for the scanner
        raise Unreadable(f"the file cannot be read: {error}", 0) from error


def _build(text: str, events: Iterator[yaml.Event]) -> Node | None:
    builder = _Builder(text)
    for event in events:
        builder.take(event)
    return builder.root


class _Builder:
    """Nodes from events. An open mapping's pending key stands beside it on the stack."""

    def __init__(self, text: str) -> None:
        self.root: Node | None = None
        self._text = text
        self._open: list[tuple[Sequence | Map, list[Node]]] = []
        self._anchors: dict[str, Node] = {}
        self._nodes = 0

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._add(self._scalar(event), event)
        elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            if len(self._open) >= MAX_DEPTH:
                raise Unreadable(f"nested more than {MAX_DEPTH} levels deep", _at(event))
            kind = Sequence if isinstance(event, yaml.SequenceStartEvent) else Map
            self._open.append((kind(_at(event), _end(event), _end(event)), []))
            self._name(self._open[-1][0], event)
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            self._close(event)
        elif isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            raise Unreadable("the file holds more than one document", _at(event), "keep the first only")
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise Unreadable(f"alias *{event.anchor} has no anchor before it", _at(event))
            self._add(self._anchors[event.anchor], event)

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        style = event.style or ""
        start, end = _at(event), _end(event)
        if event.anchor or event.tag:
            start = _PROPERTIES.match(self._text, start).end()  # type: ignore[union-attr]
        if start >= end:  # nothing is written: it stands behind the blanks
            start = end = _BLANKS.match(self._text, end).end()  # type: ignore[union-attr]
            return Scalar("", style, start, end, end)
        outer_end = _block_end(self._text, start, end) if style in ("|", ">") else self._line_end(end)
        return Scalar(str(event.value), style, start, end, outer_end)

    def _close(self, event: yaml.Event) -> None:
        """A collection in brackets ends like a scalar, one without them with its last item."""
        node, _ = self._open.pop()
        end = _end(event)
        if self._text[node.start : node.start + 1] in ("[", "{") and end > _at(event):
            outer_end = self._line_end(end)
        else:
            last = (node.items if isinstance(node, Sequence) else [value for _, value in node.entries])[-1:]
            outer_end = max((child.outer_end for child in last if child.start >= node.start), default=end)
        object.__setattr__(node, "end", end)
        object.__setattr__(node, "outer_end", outer_end)
        self._put(node, event)

    def _line_end(self, end: int) -> int:
        if self._open and isinstance(self._open[-1][0], Map) and not self._open[-1][1]:
            return end  # a key
        return _REST_OF_LINE.match(self._text, end).end()  # type: ignore[union-attr]

    def _add(self, node: Node, event: yaml.Event) -> None:
        self._name(node, event)
        self._put(node, event)

    def _name(self, node: Node, event: yaml.Event) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise Unreadable(f"more than {MAX_NODES:,} values", _at(event), "split the file")
        anchor = getattr(event, "anchor", None)
        if anchor is not None and not isinstance(event, yaml.AliasEvent):
            self._anchors[anchor] = node

    def _put(self, node: Node, event: yaml.Event) -> None:
        if not self._open:
            self.root = node
            return
        parent, keys = self._open[-1]
        if isinstance(parent, Sequence):
            parent.items.append(node)
        elif keys:
            parent.entries.append((keys.pop(), node))
        else:
            keys.append(node)


def _block_end(text: str, start: int, end: int) -> int:
    """Where a literal or folded scalar ends: blank lines after it are not its own, unless it keeps them."""
    kept = text[start : text.find("\n", start, end) + 1 or end].partition("#")[0]
    return end if "+" in kept else start + len(text[start:end].rstrip()) + _one_break(text, start, end)


def _one_break(text: str, start: int, end: int) -> int:
    rest = text[start + len(text[start:end].rstrip()) : end]
    return rest.find("\n") + 1


def _at(event: yaml.Event) -> int:
    return event.start_mark.index if event.start_mark is not None else 0


def _end(event: yaml.Event) -> int:
    return event.end_mark.index if event.end_mark is not None else 0


def _number(text: str) -> str | int | float:
    if len(text) <= 40 and _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    return float(text) if len(text) <= 40 and _FLOAT.fullmatch(text) else text


def _first_line(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        return " ".join(part for part in (error.context, error.problem) if part) or "no valid YAML"
    return str(error).splitlines()[0] if str(error) else "no valid YAML"
